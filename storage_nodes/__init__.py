"""Object files on one machine: the volume, the node's server and its client."""
