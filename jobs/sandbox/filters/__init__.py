"""Which system calls a task may make."""
