"""Takes attempts away from nodes that poll but never end them: a node's own timers are not all that holds a timeout."""

from collections.abc import Callable

from jobs.model.wire import Failure, TaskResult, Usage
from jobs.scheduler.attempts import Attempts, Followed
from jobs.scheduler.complaints import complain
from manta.catalog.job_records import Stirred
from manta.catalog.job_store import JobStore
from manta.core.clock import Clock
from manta.core.errors import NoSuchJob


class Overdue:
    """One round is `check`. What it takes counts as the store's fault: it is tried again, elsewhere if possible."""

    def __init__(self, jobs: JobStore, clock: Clock, attempts: Attempts, stir: Callable[[Stirred], None]) -> None:
        self._jobs = jobs
        self._clock = clock
        self._attempts = attempts
        self._stir = stir

    async def check(self) -> None:
        now_s = self._clock.monotonic_s()
        for one in [one for one in self._attempts if one.is_suspect(now_s)]:
            await self.look_up(one)
        for one in self._attempts.overdue(now_s):
            await self._take(one)
            one.since_s = now_s

    async def _take(self, one: Followed) -> None:
        try:
            self._stir(await self._jobs.report(one.node_id, [self._result(one)]))
        except Exception as error:
            complain(
                error, "Task %d of job %s is overdue, and could not be taken back", one.ref.task_id, one.ref.job_id
            )

    async def look_up(self, one: Followed) -> None:
        """Learn its phase and timeout; those of a job that is gone stay unknown: its node will hear of that."""
        if one.timeout_s is not None:
            return
        try:
            one.phase = (await self._jobs.get_task(one.ref.job_id, one.ref.task_id)).phase
            one.timeout_s = (await self._jobs.get_job(one.ref.job_id)).plan.phases[one.phase].task_timeout_s
        except NoSuchJob:
            one.since_s = self._clock.monotonic_s()

    def _result(self, one: Followed) -> TaskResult:
        now_ms = int(self._clock.wall_s() * 1000)
        why = f"Node {one.node_id} did not end the task within its timeout of {one.timeout_s:g} s, nor report it."
        return TaskResult(one.ref, Usage(now_ms, now_ms, 0.0), failure=Failure("InternalError", why, retryable=True))
