"""Containers for tasks: mount broker, zone, fork server. There is no unsandboxed mode."""
