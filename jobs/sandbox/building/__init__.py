"""How a zone is built and started, from one description, by bubblewrap or by an OCI runtime."""
