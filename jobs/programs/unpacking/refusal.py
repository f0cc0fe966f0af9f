"""Why an archive is not unpacked."""

from __future__ import annotations


class Bad(Exception):
    """What is wrong with the archive, as the end of a sentence."""


class NotHere(Exception):
    """What this machine lacks for it, in the same form."""
