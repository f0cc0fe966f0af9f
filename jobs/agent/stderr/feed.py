"""What all tasks of a job say on stderr on this node, as they say it, for those who follow the job.

Nothing is gathered for a job that nobody follows. A feed is bounded: who reads too slowly is told that pieces are
missing.
"""

import asyncio
import codecs
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final, Protocol

from jobs.model.questions import StderrNews, StderrPiece
from manta.core.clock import Clock
from manta.core.errors import SlowDown
from manta.core.limits import FEED_BYTES, FEED_IDLE_S, FEED_QUIET_S, FEED_WAIT_S, FEEDS_ACCOUNT_MAX, FEEDS_MAX

_LOOK_S: Final = 0.2
_REPLY_BYTES: Final = 256 * 1024
_LETTER_BYTES: Final = 4


class Saying(Protocol):
    """A task's stderr: `said` counts its bytes, of which `tail` has the last."""

    @property
    def said(self) -> int: ...

    def tail(self) -> bytes: ...


class Said:
    """The same of a task that has ended: what was kept of it."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.said = len(data)

    def tail(self) -> bytes:
        return self._data


def _begun_letter(data: bytes) -> int:
    """How many bytes at the end begin a letter of UTF-8 without ending it."""
    last = data[-_LETTER_BYTES:]
    return len(last) - codecs.utf_8_decode(last, "replace", False)[1]


class Feed:
    """Pieces of one job of that account, numbered from `first` on."""

    def __init__(self, account: str, first: int) -> None:
        self.account = account
        self._pieces: deque[tuple[int, StderrPiece]] = deque()
        self._bytes = 0
        self._next = first
        self._dropped = first - 1
        """The last number that went for want of room."""
        self._told: dict[int, int] = {}
        self.asked_s = 0.0

    def begin(self, task_id: int, saying: Saying) -> None:
        """A task that runs already: its tail is all of it that is told."""
        self._told[task_id] = saying.said - len(saying.tail())

    def take(self, task_id: int, saying: Saying, *, ended: bool) -> None:
        """What the task has said since the last time; a letter of which a part is said waits for the rest."""
        told = self._told.pop(task_id, 0)
        fresh = saying.said - told
        data = saying.tail()[-fresh:] if fresh > 0 else b""
        if len(data) < fresh:
            self._next += 1  # the number that is left out tells that something is missing
        begun = 0 if ended else _begun_letter(data)
        if not ended:
            self._told[task_id] = saying.said - begun
        if len(data) > begun or (ended and told):
            self._add(StderrPiece(task_id, data[: len(data) - begun], ended))

    def forget(self, task_id: int) -> None:
        """Its attempt is gone; another one begins anew."""
        self._told.pop(task_id, None)

    def news(self, after: int) -> StderrNews:
        """Pieces behind that number, as many as fit a reply."""
        found: list[StderrPiece] = []
        last, size, missing = max(after, self._dropped), 0, 0 < after < self._dropped
        for number, piece in self._pieces:
            if number > after and (not found or size + len(piece.data) <= _REPLY_BYTES):
                missing |= last < number - 1
                found.append(piece)
                last, size = number, size + len(piece.data)
            elif number > after:
                break
        return StderrNews(tuple(found), last, missing)

    def _add(self, piece: StderrPiece) -> None:
        self._pieces.append((self._next, piece))
        self._next += 1
        self._bytes += len(piece.data) + 1
        while self._bytes > FEED_BYTES:
            self._dropped, oldest = self._pieces.popleft()
            self._bytes -= len(oldest.data) + 1


class Feeds:
    """The feeds of a node. `live` gives a job's running tasks, `recent` what those said that ended lately."""

    def __init__(
        self,
        clock: Clock,
        live: Callable[[str], Iterable[tuple[int, Saying]]],
        recent: Callable[[str], Iterable[tuple[int, bytes]]],
    ) -> None:
        self._clock = clock
        self._live = live
        self._recent = recent
        self._feeds: dict[str, Feed] = {}

    def ended(self, job_id: str, task_id: int, saying: Saying) -> None:
        if (feed := self._feeds.get(job_id)) is not None:
            feed.take(task_id, saying, ended=True)

    def forget(self, job_id: str, task_id: int) -> None:
        if (feed := self._feeds.get(job_id)) is not None:
            feed.forget(task_id)

    async def news(self, job_id: str, account: str, after: int, *, wait: bool) -> StderrNews:
        """What was said behind that number, with `wait` as soon as there is something.

        SlowDown beyond FEEDS_MAX, and beyond FEEDS_ACCOUNT_MAX jobs of the account.
        """
        until_s = self._clock.monotonic_s() + FEED_WAIT_S
        feed = self._open(job_id, account)
        while True:
            feed.asked_s = self._clock.monotonic_s()
            for task_id, saying in self._live(job_id):
                feed.take(task_id, saying, ended=False)
            news = feed.news(after)
            if news.pieces or not wait or self._clock.monotonic_s() > until_s:
                return news
            await asyncio.sleep(_LOOK_S)

    def _open(self, job_id: str, account: str) -> Feed:
        now_s = self._clock.monotonic_s()
        self._feeds = {name: feed for name, feed in self._feeds.items() if feed.asked_s > now_s - FEED_IDLE_S}
        feed = self._feeds.get(job_id)
        if feed is None:
            self._make_place(account, now_s)
            feed = self._feeds[job_id] = Feed(account, int(self._clock.wall_s() * 1000) * 1000)
            for task_id, data in self._recent(job_id):
                feed.take(task_id, Said(data), ended=True)
            for task_id, saying in self._live(job_id):
                feed.begin(task_id, saying)
        return feed

    def _make_place(self, account: str, now_s: float) -> None:
        """One feed goes where nobody seems to follow the job any more. SlowDown when there is none."""
        own = [(feed.asked_s, name) for name, feed in self._feeds.items() if feed.account == account]
        if len(own) >= FEEDS_ACCOUNT_MAX:
            refusal = f"{FEEDS_ACCOUNT_MAX} jobs of the account are followed there already: stop following one."
            self._drop_quiet(own, now_s, refusal)
        elif len(self._feeds) >= FEEDS_MAX:
            refusal = f"{FEEDS_MAX} jobs are followed there already: it is tried again until there is a place."
            self._drop_quiet([(feed.asked_s, name) for name, feed in self._feeds.items()], now_s, refusal)

    def _drop_quiet(self, feeds: list[tuple[float, str]], now_s: float, refusal: str) -> None:
        asked_s, name = min(feeds)
        if asked_s > now_s - FEED_QUIET_S:
            raise SlowDown(refusal)
        del self._feeds[name]
