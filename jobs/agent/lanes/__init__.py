"""Which of the waiting tasks runs next on this node, and how many are held ahead."""
