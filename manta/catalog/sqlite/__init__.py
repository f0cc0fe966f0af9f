"""The catalog in one SQLite file, owned by one gateway process."""
