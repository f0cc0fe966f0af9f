"""Bytes into a task and out of it: pipes, inputs from here or elsewhere, outputs made durable."""
