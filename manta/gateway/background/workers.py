"""Background workers: each has a name, an interval and progress to be asked for; none can take the process down."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from manta.core.clock import Clock
from manta.core.errands import give_up
from manta.core.errors import MantaError
from manta.core.placement import Uniform

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Progress:
    """What a worker has done since this process began. `handled` counts its own things (blobs, uploads)."""

    name: str
    rounds: int = 0
    handled: int = 0
    failures: int = 0
    last_error: str = ""
    last_round_ms: int = 0


Round = Callable[[Progress], Awaitable[None]]
"""One pass over everything there is to do; it may be repeated and interrupted at any point."""


class Worker:
    """Runs a round, waits about `interval_s`, and so on, until it is closed."""

    def __init__(
        self, name: str, work: Round, interval_s: float, clock: Clock, uniform: Uniform = random.random
    ) -> None:
        self.progress = Progress(name)
        self._work = work
        self._interval_s = interval_s
        self._clock = clock
        self._uniform = uniform
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name=f"worker-{self.progress.name}")

    async def close(self) -> None:
        if self._task is not None:
            await give_up([self._task])

    async def round(self) -> None:
        """One round now. What goes wrong is counted and logged: the next round tries again."""
        progress = self.progress
        try:
            await self._work(progress)
        except (MantaError, OSError) as error:
            progress.failures += 1
            progress.last_error = str(error)
        except Exception as error:
            progress.failures += 1
            progress.last_error = f"{type(error).__name__}: {error}"
            _log.exception("The worker %s failed; it goes on with its next round.", progress.name)
        progress.rounds += 1
        progress.last_round_ms = int(self._clock.wall_s() * 1000)

    async def _run(self) -> None:
        while True:
            # Spread out, so that several gateways do not do the same at the same moment.
            await asyncio.sleep(self._interval_s * (0.5 + self._uniform()))
            await self.round()
