"""Containers for tasks: mount broker, zone, fork server. There is no unsandboxed mode."""

from jobs.sandbox.driver import open_sandbox
from jobs.sandbox.probe import Finding, probe

__all__ = ["Finding", "open_sandbox", "probe"]
