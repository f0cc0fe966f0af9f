"""Containers for tasks: mount broker, zone, fork server. There is no unsandboxed mode."""

from jobs.sandbox.driver import open_sandbox

__all__ = ["open_sandbox"]
