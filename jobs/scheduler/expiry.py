"""Takes from dead nodes what they ran and what waits for them, job by job, a few pages a round."""

from collections.abc import AsyncIterator, Awaitable, Collection, Mapping
from itertools import groupby

from jobs.scheduler.complaints import complain
from manta.catalog.job_records import QUEUE_BEGIN, QueuePlace, Stirred
from manta.catalog.job_store import JobStore
from manta.core import limits


class Expiry:
    """A job that fails is told in the log, and the others go on. A long queue goes on where the last round stopped."""

    def __init__(self, jobs: JobStore) -> None:
        self._jobs = jobs
        self._after: dict[str, QueuePlace] = {}

    async def round(self, alive: Collection[str], dead: Mapping[str, float]) -> AsyncIterator[Stirred]:
        """What changed, a job at a time."""
        for node_id in sorted(dead):
            # Those that it had when it was found dead: it may be back, and be given others, before all are taken.
            ran = sorted(await self._jobs.running(node_id), key=lambda attempt: attempt.job_id)
            for job_id, attempts in groupby(ran, key=lambda attempt: attempt.job_id):
                yield await _of_job(job_id, self._jobs.release(node_id, list(attempts), delivered=True))
        for node_id in self._after.keys() - dead.keys():
            del self._after[node_id]
        for node_id in sorted(dead):
            async for stirred in self._queue(node_id, alive, dead):
                yield stirred
        for job_id, since in (await self._jobs.late_reducers()).items():
            yield await _of_job(job_id, self._jobs.free_reducers(job_id, since))

    async def _queue(self, node_id: str, alive: Collection[str], dead: Mapping[str, float]) -> AsyncIterator[Stirred]:
        for _ in range(limits.EXPIRY_PAGES):
            page = await self._jobs.stranded(node_id, self._after.get(node_id, QUEUE_BEGIN), alive, dead)
            for job_id, since in page.jobs.items():
                yield await _of_job(job_id, self._jobs.requeue(job_id, since, alive, dead))
            if page.after is None:
                self._after.pop(node_id, None)
                return
            self._after[node_id] = page.after
            yield Stirred()


async def _of_job(job_id: str, work: Awaitable[Stirred]) -> Stirred:
    try:
        return await work
    except Exception as error:
        complain(error, "Tasks of job %s on a dead node could not be offered to others", job_id)
        return Stirred()
