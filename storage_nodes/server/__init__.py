"""The node's listener: calls in, volume operations out."""
