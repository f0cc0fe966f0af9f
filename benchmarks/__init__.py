"""One file per question; each prints JSON to a file (or stdout with --json) and a table for people."""
