"""One task, or a batch of them, in a zone: from its start to its result, with what its programs ask meanwhile."""
