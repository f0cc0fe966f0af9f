"""Time as a value that is passed in, so that tests own it."""

import time
from typing import Protocol

_DAY_MS = 86_400_000


def day_of(epoch_ms: int) -> int:
    """Days since 1970, UTC."""
    return epoch_ms // _DAY_MS


class Clock(Protocol):
    def wall_s(self) -> float:
        """Seconds since the epoch: for what is stored or shown."""
        ...

    def monotonic_s(self) -> float:
        """Seconds of a clock that never goes back: for leases and timeouts."""
        ...


class SystemClock:
    def wall_s(self) -> float:
        return time.time()

    def monotonic_s(self) -> float:
        return time.monotonic()
