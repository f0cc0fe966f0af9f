"""Globs over object keys: `*` and `?` do not cross `/`, `**` does, `[a-z]` and `[!a-z]` are sets.

Matching follows all readings of the glob at once, one bit each, so that no glob and key take more than
length of key steps: a client cannot send a glob that keeps the catalog busy.
"""

import re
from functools import lru_cache

_SPECIAL = re.compile(r"[*?\[]")
_MASKS_MAX = 4096


def literal_prefix(glob: str) -> str:
    """What stands before the first special character."""
    special = _SPECIAL.search(glob)
    return glob[: special.start()] if special else glob


@lru_cache(maxsize=64)
def compile_glob(glob: str) -> "Glob":
    return Glob(glob)


class Glob:
    """A compiled glob: bit i of a state says that the first i pieces have been matched."""

    def __init__(self, glob: str) -> None:
        self._single: list[tuple[int, str, bool]] = []
        self._star = 0
        self._starstar = 0
        self._masks: dict[str, tuple[int, int]] = {}
        self._accept = 1 << self._compile(glob)

    def matches(self, text: str) -> bool:
        state = self._skip_stars(1)
        for char in text:
            single, stay = self._mask(char)
            state = self._skip_stars((state & single) << 1 | (state & stay))
            if not state:
                return False
        return bool(state & self._accept)

    def _skip_stars(self, state: int) -> int:
        """A star may match nothing. Two stars never follow one another, so one step is enough."""
        return state | (state & (self._star | self._starstar)) << 1

    def _mask(self, char: str) -> tuple[int, int]:
        """The pieces that `char` satisfies and moves past, and the stars it is swallowed by."""
        mask = self._masks.get(char)
        if mask is None:
            single = 0
            for bit, members, negated in self._single:
                if (char in members) != negated and (char != "/" or (members == "/" and not negated)):
                    single |= bit
            mask = single, self._starstar | (0 if char == "/" else self._star)
            if len(self._masks) < _MASKS_MAX:
                self._masks[char] = mask
        return mask

    def _compile(self, glob: str) -> int:
        """How many pieces the glob has."""
        at = pieces = 0
        while at < len(glob):
            bit = 1 << pieces
            pieces += 1
            end = _set_end(glob, at)
            if glob[at] == "*":
                stars = len(glob) - at - len(glob[at:].lstrip("*"))
                self._star |= bit if stars == 1 else 0
                self._starstar |= bit if stars > 1 else 0
                at += stars
            elif end:
                self._single.append((bit, *_read_set(glob[at + 1 : end])))
                at = end + 1
            else:
                self._single.append((bit, "", True) if glob[at] == "?" else (bit, glob[at], False))
                at += 1
        return pieces


def _set_end(glob: str, at: int) -> int:
    """Where the set that begins at `at` ends, or 0: a `[` without its `]` is a literal character."""
    if glob[at] != "[":
        return 0
    first = at + 2 if glob[at + 1 : at + 2] == "!" else at + 1
    return max(0, glob.find("]", first + 1))


def _read_set(body: str) -> tuple[str, bool]:
    """(members, whether negated). A range that runs backwards, or over 1,000 characters, is read literally."""
    negated = body.startswith("!")
    body = body[1:] if negated else body
    members: list[str] = []
    at = 0
    while at < len(body):
        low, high = ord(body[at]), ord(body[at + 2]) if body[at + 1 : at + 2] == "-" and at + 2 < len(body) else 0
        if low <= high <= low + 1000:
            members.extend(chr(code) for code in range(low, high + 1))
            at += 3
        else:
            members.append(body[at])
            at += 1
    return "".join(members), negated
