"""The catalog over tables: scripts and methods shared by SQLite and PostgreSQL."""
