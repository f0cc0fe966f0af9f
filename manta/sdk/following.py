"""Lines of a stream that is gone on with where it broke off: at another gateway, or once the store is back."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from manta.core.errors import MantaError
from manta.sdk.transport import AWAY_S, pauses

Line = dict[str, Any]


class Following:
    """The lines up to the one that says `over`, none twice. `begin` opens the stream behind a place, "" for its start.

    Lines count once the `reached` behind them has come. A store that says nothing for AWAY_S is not waited for any
    longer: its last error is raised.
    """

    def __init__(
        self,
        begin: Callable[[str], Iterator[bytes]],
        now_s: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._begin = begin
        self._now_s = now_s
        self._sleep = sleep
        self._reached: dict[str, int] = {}
        self._heard_s = now_s()
        self._pauses = pauses()
        self._is_over = False

    def __iter__(self) -> Iterator[Line]:
        while True:
            try:
                yield from self._stream()
            except MantaError as error:
                if not error.retryable or self._now_s() - self._heard_s > AWAY_S:
                    raise
            if self._is_over:
                return
            self._sleep(next(self._pauses))

    def _stream(self) -> Iterator[Line]:
        """To the end of one stream, whatever ended it."""
        said: list[Line] = []
        for line in self._lines():
            if "reached" in line:
                self._reached[line["reached"]] = line["number"]
                yield from said
                said = []
            elif "over" in line:
                self._is_over = True
                yield from said
            elif "refused" in line:
                yield line
            else:
                said.append(line)

    def _lines(self) -> Iterator[Line]:
        rest = b""
        for piece in self._begin(",".join(f"{node}:{number}" for node, number in self._reached.items())):
            self._heard_s, self._pauses = self._now_s(), pauses()
            *lines, rest = (rest + piece).split(b"\n")
            yield from (msgspec.json.decode(line) for line in lines if line)
            self._heard_s = self._now_s()  # the store was not asked while somebody was slow to take these
