"""A module of the user's own, such as lies beside a script: nodes do not have it."""

from dataclasses import dataclass
from enum import Enum
from functools import cache

STOP = frozenset({"the", "of"})


class Length(Enum):
    SHORT = "short"
    LONG = "long"


@dataclass(frozen=True)
class Word:
    text: str

    @property
    def length(self) -> Length:
        return Length.SHORT if len(self.text) < 4 else Length.LONG


def words(text: str) -> list[Word]:
    return [Word(word) for word in text.lower().split() if word not in STOP]


@cache
def shout(word: str) -> str:
    return f"{word.upper()}!"
