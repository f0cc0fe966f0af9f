"""Map/reduce jobs: model (pure), scheduler (in the gateway), agent and sandbox (on the nodes)."""
