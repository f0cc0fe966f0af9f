"""Turns job documents into tasks, hands tasks to nodes that hold their input, and commits what comes back."""
