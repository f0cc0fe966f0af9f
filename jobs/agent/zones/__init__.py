"""The zones of a node's phases: when they are built and closed, and what tasks find in them."""
