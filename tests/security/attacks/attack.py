"""One attack: what a task does, and what stops it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Attack:
    """`code` is Python with harness.py's names at hand; it reaches its end only if the attack went through.

    `ends` is what stops it, alternatives separated by `|`: an errno's name, a signal's, or the attack's own word.
    """

    name: str
    code: str
    ends: str

    def is_held(self, outcomes: set[str]) -> bool:
        """Whether it was tried, and each time ended as it has to."""
        return bool(outcomes) and outcomes <= set(self.ends.split("|"))
