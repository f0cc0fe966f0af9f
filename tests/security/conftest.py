"""Fixtures of the security tests."""

from tests.support.sandbox import hostile, sandbox_state, workshop

__all__ = ["hostile", "sandbox_state", "workshop"]
