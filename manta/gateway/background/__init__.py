"""Named workers beside the requests: garbage, sweeping of orphans, expiry."""
