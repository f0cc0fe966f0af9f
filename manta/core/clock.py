"""Time as a value that is passed in, so that tests own it."""

import time
from typing import Protocol


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
