"""The first process of a zone, a fork server in C and in Python: how it is built, and what it is told."""
