"""Containers for tasks: mount broker, zone, fork server. There is no unsandboxed mode."""

from jobs.sandbox.driver import NamespaceSandbox
from jobs.sandbox.probe import Finding, probe

__all__ = ["Finding", "NamespaceSandbox", "probe"]
