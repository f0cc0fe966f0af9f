"""What login sessions cost their accounts: charged as they go on, so that little is forgotten when a gateway dies."""

import asyncio
import contextlib
import logging

from manta.catalog.job_store import JobStore
from manta.core.clock import Clock
from manta.core.errands import spawn
from manta.core.errors import MantaError
from manta.core.limits import LOGIN_CHARGE_S

_LOG = logging.getLogger("manta.gateway")


class Meter:
    """One session: its time, and the memory it holds all of that time, since it was made."""

    def __init__(self, jobs: JobStore, clock: Clock, account_id: str, memory_bytes: int) -> None:
        self._jobs = jobs
        self._clock = clock
        self._account_id = account_id
        self._memory_bytes = memory_bytes
        self._charged_s = clock.monotonic_s()
        self._ended_s: float | None = None
        self._ended = asyncio.Event()

    def end(self) -> None:
        if self._ended_s is None:
            self._ended_s = self._clock.monotonic_s()
            self._ended.set()

    async def run(self) -> None:
        """Until the end. What cannot be charged now is charged with what follows; what remains at the end, never."""
        ended = False
        while not ended:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOGIN_CHARGE_S):
                    ended = await self._ended.wait()
            await self._charge()

    async def _charge(self) -> None:
        until_s = self._ended_s if self._ended_s is not None else self._clock.monotonic_s()
        spent_s = until_s - self._charged_s
        try:
            await self._jobs.charge(self._account_id, round(spent_s * 1000), round(self._memory_bytes * spent_s))
        except (MantaError, OSError) as error:
            _LOG.warning("%.0f s of a session of account %s could not be charged: %s", spent_s, self._account_id, error)
        else:
            self._charged_s = until_s


class Meters:
    """Those of a gateway; as few as it has sessions."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[None]] = set()

    def begin(self, meter: Meter) -> Meter:
        spawn(self._running, meter.run())
        return meter

    async def settled(self) -> None:
        """Once every session that has ended is charged; to be called when none is left."""
        await asyncio.gather(*self._running, return_exceptions=True)
