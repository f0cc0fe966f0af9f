"""The catalog in PostgreSQL, shared by any number of gateways."""
