"""The `manta` command: `serve`, `gateway` and `node` compose the floors below; all others use manta.sdk only."""
