"""Mounts made by processes that do nothing else: objects, read-only, and folders that a zone is shown."""
