"""Pure: the job document, the job and task state machines, the messages between scheduler and agent."""
