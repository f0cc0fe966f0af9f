"""The way to a node, for gateways and for other nodes: api.BlobNode over HTTP, by Unix socket or TCP."""
