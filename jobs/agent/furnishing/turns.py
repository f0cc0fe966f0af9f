"""Whose image is unpacked next: accounts take turns, so that one's many do not keep another's one waiting. Pure."""

import itertools
from collections import Counter
from dataclasses import dataclass

from manta.core.limits import IMAGE_ACCOUNT_UNPACKS_MAX, IMAGE_UNPACKS_MAX


@dataclass(frozen=True, slots=True, eq=False)
class Turn:
    """One image's, from when it is asked for to when it is unpacked or given up."""

    account: str
    number: int


class Turns:
    """At most IMAGE_UNPACKS_MAX at a time, of one account IMAGE_ACCOUNT_UNPACKS_MAX."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._waiting: list[Turn] = []
        self._going: list[Turn] = []
        self._served: dict[str, int] = {}
        """When, by the numbers of turns, an account with turns here was last given one."""

    def join(self, account: str) -> Turn:
        turn = Turn(account, next(self._numbers))
        self._waiting.append(turn)
        return turn

    def next(self, *, room: bool) -> Turn | None:
        """Who may begin, if there is `room` beside those that go on; alone, one may in any case."""
        if self._going and (not room or len(self._going) >= IMAGE_UNPACKS_MAX):
            return None
        going = Counter(turn.account for turn in self._going)
        fit = [turn for turn in self._waiting if going[turn.account] < IMAGE_ACCOUNT_UNPACKS_MAX]
        return min(fit, key=lambda turn: (going[turn.account], self._since(turn), turn.number), default=None)

    def begin(self, turn: Turn) -> None:
        self._waiting.remove(turn)
        self._going.append(turn)
        self._served[turn.account] = next(self._numbers)

    def leave(self, turn: Turn) -> None:
        """It ended, or was given up."""
        for turns in (self._waiting, self._going):
            if turn in turns:
                turns.remove(turn)
        if not any(one.account == turn.account for one in (*self._waiting, *self._going)):
            self._served.pop(turn.account, None)

    def _since(self, turn: Turn) -> int:
        """Since when it waits with nothing of its account's begun."""
        return max(turn.number, self._served.get(turn.account, 0))
