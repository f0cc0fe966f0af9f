"""The scheduler's background work: pages of jobs that need tending, and the sweep that catches what was missed."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable

from jobs.scheduler.complaints import complain
from jobs.scheduler.expiry import Expiry
from jobs.scheduler.liveness import Liveness
from manta.catalog.job_records import Stirred
from manta.catalog.job_store import JobStore
from manta.core import limits
from manta.core.clock import Clock, day_of
from manta.core.errands import give_up, spawn
from manta.core.errors import NoSuchJob


class Housekeeper:
    """Tends jobs as soon as they ask for it, sweeps every SWEEP_S. A failed round is logged, the next one follows.

    One job that always fails keeps none of the others waiting, nor does what no one foresaw end the sweep (J4).
    """

    def __init__(
        self,
        jobs: JobStore,
        clock: Clock,
        stir: Callable[[Stirred], None],
        liveness: Liveness,
        swept: Callable[[], Awaitable[None]],
        job_expiry_s: float = limits.JOB_EXPIRY_S,
    ) -> None:
        self._jobs = jobs
        self._expiry = Expiry(jobs)
        self._clock = clock
        self._stir = stir
        self._liveness = liveness
        self._swept = swept
        self._job_expiry_ms = int(job_expiry_s * 1000)
        self._waiting: dict[str, None] = {}
        self._tending: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._pruned_day = 0

    def start(self) -> None:
        spawn(self._tasks, self._sweep_for_ever())

    async def close(self) -> None:
        self._waiting.clear()
        await give_up(self._tasks)

    def tend(self, job_ids: Iterable[str]) -> None:
        """These have work; beyond a bound they wait for the sweep, since their rows say so too."""
        for job_id in job_ids:
            if len(self._waiting) < limits.TENDED_MAX:
                self._waiting[job_id] = None
        self._fill()

    def _fill(self) -> None:
        for job_id in list(self._waiting):
            if len(self._tending) >= limits.TENDING_MAX:
                return
            if job_id not in self._tending:
                del self._waiting[job_id]
                self._tending.add(job_id)
                spawn(self._tasks, self._tend(job_id))

    async def _tend(self, job_id: str) -> None:
        try:
            stirred = await self._jobs.tend(job_id)
        except Exception as error:
            complain(error, "Job %s could not be tended", job_id)
            stirred = Stirred()
        finally:
            self._tending.discard(job_id)
        self._stir(stirred)
        self._fill()

    async def _sweep_for_ever(self) -> None:
        while True:
            await asyncio.sleep(limits.SWEEP_S)
            try:
                await self.sweep()
            except Exception as error:
                complain(error, "The sweep of jobs failed")

    async def sweep(self) -> None:
        """One round."""
        now_s = self._clock.monotonic_s()
        self._liveness.seen(await self._jobs.agents(), now_s)
        async for stirred in self._expiry.round(self._liveness.alive(now_s), self._liveness.dead(now_s)):
            self._stir(stirred)
            await asyncio.sleep(0)  # the embedded catalog reads without a pause, and requests wait
        now_ms = int(self._clock.wall_s() * 1000)
        for job_id in await self._jobs.expired_jobs(now_ms - self._job_expiry_ms, limits.TENDING_MAX):
            await self._delete(job_id)
        self.tend(await self._jobs.jobs_to_tend(limits.TENDED_MAX))
        await self._swept()
        if (day := day_of(now_ms)) != self._pruned_day:
            await self._jobs.prune_usage(day - limits.USAGE_KEEP_DAYS)
            self._pruned_day = day

    async def _delete(self, job_id: str) -> None:
        try:
            self._stir(await self._jobs.delete_job(job_id))
        except NoSuchJob:
            return  # another gateway's sweep, or the owner, was faster
        except Exception as error:
            complain(error, "Job %s could not be deleted after its time", job_id)
