"""The programs that tasks find on their PATH, and the protocol by which they reach the agent of their node."""
