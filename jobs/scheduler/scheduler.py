"""The scheduler of one gateway: what clients ask of jobs, what nodes ask for, and the work that jobs need between them.

Everything that must be right is in the catalog's transactions; several gateways may run a scheduler on one catalog.
What is kept in this process are hints and wake-ups, and what it alone can know.
"""

from collections.abc import Callable, Sequence

from jobs.model.wire import LeaseReply, LeaseRequest, ReportReply, ReportRequest
from jobs.scheduler.housekeeping import Housekeeper
from jobs.scheduler.nodes import Nodes
from jobs.scheduler.places import Placement, Places
from jobs.scheduler.wakes import Wakes, wait_for
from manta.catalog.job_records import JobView, NewJob, Stirred
from manta.catalog.job_store import JobStore
from manta.core import limits
from manta.core.clock import Clock
from manta.core.names import new_id

_PROGRESS_S = 0.25
"""A client that waits for progress is answered no sooner, unless the job ends."""


class Scheduler:
    """One per gateway process; `start` and `close` frame its life."""

    def __init__(
        self,
        jobs: JobStore,
        clock: Clock,
        placement: Placement,
        make_id: Callable[[int], str] = new_id,
        job_expiry_s: float = limits.JOB_EXPIRY_S,
    ) -> None:
        self.jobs = jobs
        self._clock = clock
        self.places = Places(jobs, placement, clock, make_id)
        self._nodes = Nodes(jobs, clock, self.places, self.stir)
        self._watchers = Wakes()
        self._keeper = Housekeeper(jobs, clock, self.stir, self._nodes.liveness, self._nodes.sweep, job_expiry_s)
        self._draining = False

    async def start(self) -> None:
        self._keeper.start()

    def drain(self) -> None:
        """Answer every long poll now, and each new one at once: the process is to end."""
        self._draining = True
        self._nodes.drain()
        self._watchers.wake_all()

    async def close(self) -> None:
        self.drain()
        await self._keeper.close()

    @property
    def waiting_nodes(self) -> int:
        """How many nodes have a poll that waits here."""
        return self._nodes.waiting

    # --- for clients

    async def create(self, job: NewJob) -> JobView:
        view = await self.jobs.create_job(job)
        self._keeper.tend([view.job_id])
        return view

    async def add_inputs(
        self, job_id: str, chunks: Sequence[tuple[bytes, int]], *, end: bool, once: str | None = None
    ) -> None:
        await self.jobs.add_inputs(job_id, chunks, end=end, once=once)
        self._keeper.tend([job_id])

    async def cancel(self, job_id: str, reason: str) -> None:
        self.stir(await self.jobs.cancel_job(job_id, reason))

    async def retry(self, job_id: str) -> None:
        """A finished job runs again for its failed inputs. JobNotRetried, NoSuchJob."""
        self.stir(await self.jobs.retry_job(job_id))

    async def delete(self, job_id: str) -> None:
        self.stir(await self.jobs.delete_job(job_id))

    def as_started(self, view: JobView) -> JobView:
        """The job with those tasks as running alone that run: what only waits on a node is ready."""
        return self._nodes.as_started(view)

    async def wait(
        self,
        seen: JobView,
        timeout_s: float,
        *,
        for_end: bool = False,
        is_abandoned: Callable[[], bool] = lambda: False,
    ) -> JobView:
        """The job once it has ended, or that time has passed, or it is not as it was `seen` any more. NoSuchJob.

        With `for_end` that it is not as it was is no reason to return. Who is gone is not waited for.
        """
        started_s = self._clock.monotonic_s()
        event = self._watchers.enter(seen.job_id)
        try:
            while True:
                event.clear()
                view = await self.jobs.get_job(seen.job_id)
                waited_s = self._clock.monotonic_s() - started_s
                until_s = timeout_s if for_end or view == seen else min(timeout_s, _PROGRESS_S)
                if view.ended_ms is not None or waited_s >= until_s or self._draining or is_abandoned():
                    return view
                await wait_for(event, min(until_s - waited_s, limits.SWEEP_S))
        finally:
            self._watchers.leave(seen.job_id, event)

    # --- for nodes

    async def lease(self, request: LeaseRequest, is_abandoned: Callable[[], bool] = lambda: False) -> LeaseReply:
        """Tasks for a node that polls, as soon as there are some; Nodes.lease says when else."""
        return await self._nodes.lease(request, is_abandoned)

    async def report(self, request: ReportRequest) -> ReportReply:
        """Commits what is current of a node's results, names what is not. BadRequest for too many."""
        return await self._nodes.report(request)

    # --- between the two

    async def sweep(self) -> None:
        """One round of what is done each second."""
        await self._keeper.sweep()

    def stir(self, stirred: Stirred) -> None:
        """Wake who waits for what changed."""
        self._nodes.wake(stirred)
        self._watchers.wake(stirred.jobs)
        self._keeper.tend(stirred.more)
