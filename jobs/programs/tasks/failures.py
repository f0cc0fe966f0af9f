"""How a program ends when it cannot do what it was asked."""


class Failed(Exception):
    """What went wrong, in one sentence."""


class Misused(Exception):
    """The arguments make no sense."""
