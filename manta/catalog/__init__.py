"""The only record of what exists: one protocol (store), kept by SQLite, PostgreSQL and an in-memory oracle."""
