"""The job store over any engine that can run a script: `write` in one durable transaction, `read` what is committed.

What one `read` sees may have moved between two of its statements: it reads first what the rest depends on.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TypeVar

from jobs.model.document import JobPlan
from jobs.model.inputs import InputSpec
from jobs.model.states import NODE_LOST, TaskState
from jobs.model.wire import AttemptRef, StoppedAttempt, TaskResult
from manta.catalog.job_records import (
    ANY_NODE,
    Choose,
    FoundInputs,
    Granted,
    JobView,
    Line,
    LinePage,
    NewJob,
    QueuePlace,
    ShuffleRow,
    Stirred,
    Stranded,
    UsageDay,
    WrittenInputs,
    take_all,
)
from manta.catalog.job_scripts import (
    create,
    double,
    expire,
    explain,
    lease,
    loss,
    report,
    retry,
    stopped,
    tend,
    turns,
    usage,
    views,
    written,
)
from manta.catalog.ops import Op, Row, Script
from manta.catalog.rules import now_ms
from manta.catalog.task_records import TaskPage, TaskRow
from manta.core.clock import Clock
from manta.core.names import new_id

T = TypeVar("T")


class ScriptedJobs(ABC):
    """Implements `job_store.JobStore`. Scripts are made anew for each try of a transaction."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    @abstractmethod
    async def write(self, make: Callable[[], Script[T]]) -> T: ...

    @abstractmethod
    async def read(self, make: Callable[[], Script[T]]) -> T: ...

    def _now(self) -> int:
        return now_ms(self._clock)

    def _new_id(self) -> str:
        return new_id(self._now())

    async def create_job(self, job: NewJob) -> JobView:
        return await self.write(lambda: create.create_job(job))

    async def get_job(self, job_id: str) -> JobView:
        return await self.read(lambda: views.view_job(job_id))

    async def list_jobs(
        self, owner_id: str | None, *, state: str = "", name: str = "", after: str = "", limit: int = 1000
    ) -> list[JobView]:
        return await self.read(lambda: views.list_jobs(owner_id, state, name, after, limit))

    async def add_inputs(
        self, job_id: str, chunks: Sequence[tuple[bytes, int]], *, end: bool = False, once: str | None = None
    ) -> None:
        await self.write(lambda: create.add_inputs(job_id, chunks, self._now(), end=end, once=once))

    async def find_inputs(
        self, owner_id: str, plan: JobPlan, specs: Sequence[InputSpec], position: int, after: str
    ) -> FoundInputs:
        return await self.read(lambda: explain.find_inputs(owner_id, plan, specs, position, after, self._now()))

    async def cancel_job(self, job_id: str, reason: str) -> Stirred:
        return await self.write(lambda: tend.cancel(job_id, reason, self._now()))

    async def retry_job(self, job_id: str) -> Stirred:
        return await self.write(lambda: retry.begin_retry(job_id, self._now()))

    async def delete_job(self, job_id: str) -> Stirred:
        return await self.write(lambda: tend.delete(job_id, self._now()))

    async def tend(self, job_id: str) -> Stirred:
        return await self.write(lambda: tend.tend(job_id, self._now()))

    async def jobs_to_tend(self, limit: int) -> list[str]:
        return [row[0] for row in await self._rows("jobs_to_tend", tend.told_by(self._now()), limit)]

    async def expired_jobs(self, ended_before_ms: int, limit: int) -> list[str]:
        return [row[0] for row in await self._rows("jobs_expired", ended_before_ms, limit)]

    async def ended_jobs(self, job_ids: Sequence[str]) -> list[str]:
        live = {row[0] for row in await self._rows("jobs_live", list(job_ids))}
        return [job_id for job_id in job_ids if job_id not in live]

    async def gone_jobs(self, job_ids: Sequence[str]) -> list[str]:
        known = {row[0] for row in await self._rows("jobs_known", list(job_ids))}
        return [job_id for job_id in job_ids if job_id not in known]

    async def renew(self, node_id: str, epoch: str, until_ms: int, *, begins: bool = True) -> Stirred:
        return await self.write(lambda: loss.renew(node_id, epoch, until_ms, self._now(), begins=begins))

    async def has_ready(self, node_id: str) -> bool:
        return bool(await self._rows("ready_any", node_id, ANY_NODE))

    async def has_idle(self, node_id: str) -> bool:
        return bool(await self.read(lambda: turns.idle_claims(node_id)))

    async def lease(
        self,
        node_id: str,
        epoch: str,
        slots: Sequence[str],
        *,
        idle_jobs_only: bool = False,
        without: Collection[str] = (),
        choose: Choose = take_all,
    ) -> list[Granted]:
        take = lease.lease_idle if idle_jobs_only else lease.lease
        return await self.write(lambda: take(node_id, epoch, slots, self._now(), without, choose))

    async def lease_second(
        self, node_id: str, epoch: str, straggler: AttemptRef, slot: str, *, choose: Choose = take_all
    ) -> Granted | None:
        return await self.write(lambda: double.lease_second(node_id, epoch, straggler, slot, self._now(), choose))

    async def running(self, node_id: str) -> list[AttemptRef]:
        return [AttemptRef(*row) for row in await self._rows("attempts_of_node", node_id)]

    async def set_slot(self, node_id: str, attempt: AttemptRef, slot: str) -> None:
        await self.write(lambda: lease.set_slot(node_id, attempt, slot, self._now()))

    async def report(self, node_id: str, results: Sequence[TaskResult]) -> Stirred:
        return await self.write(lambda: report.report(node_id, results, self._now(), self._new_id))

    async def release(
        self, node_id: str, attempts: Sequence[AttemptRef], *, delivered: bool, why: str | None = None
    ) -> Stirred:
        code = (NODE_LOST if delivered else "") if why is None else why
        return await self.write(lambda: loss.release(node_id, attempts, self._now(), delivered=delivered, why=code))

    async def agents(self) -> list[tuple[str, str, int]]:
        return await self.read(expire.known_agents)

    async def stranded(
        self, queue: str, after: QueuePlace, alive: Collection[str], dead: Mapping[str, float]
    ) -> Stranded:
        return await self.read(lambda: expire.stranded(queue, after, alive, dead, self._now()))

    async def requeue(
        self, job_id: str, since: Mapping[int, int], alive: Collection[str], dead: Mapping[str, float]
    ) -> Stirred:
        return await self.write(lambda: expire.requeue(job_id, since, alive, dead, self._now()))

    async def late_reducers(self) -> dict[str, dict[int, int]]:
        return await self.read(lambda: expire.late_reducers(self._now()))

    async def free_reducers(self, job_id: str, since: Mapping[int, int]) -> Stirred:
        return await self.write(lambda: expire.free_reducers(job_id, since, self._now()))

    async def reducer_inputs(self, node_id: str, attempt: AttemptRef, after: int, limit: int) -> list[ShuffleRow]:
        return await self.read(lambda: views.reducer_inputs(node_id, attempt, after, limit))

    async def attempt_rights(self, node_id: str, attempt: AttemptRef) -> tuple[TaskRow, str, JobPlan]:
        return await self.read(lambda: views.attempt_rights(node_id, attempt))

    async def get_task(self, job_id: str, task_id: int) -> TaskRow:
        return await self.read(lambda: views.get_task(job_id, task_id))

    async def tasks(self, job_id: str, after: int, limit: int, state: TaskState | None = None) -> TaskPage:
        return await self.read(lambda: views.tasks_page(job_id, after, limit, state))

    async def usage(self, owner_id: str, first_day: int, last_day: int) -> list[UsageDay]:
        return [UsageDay(*row) for row in await self._rows("usage_of", owner_id, first_day, last_day)]

    async def charge(self, owner_id: str, task_ms: int, byte_seconds: int) -> None:
        await self.write(lambda: usage.charge_time(owner_id, task_ms, byte_seconds, self._now()))

    async def charge_stopped(self, node_id: str, attempts: Sequence[StoppedAttempt]) -> None:
        await self.write(lambda: stopped.stopped(node_id, attempts, self._now()))

    async def forget_usage(self, owner_id: str) -> None:
        await self.write(lambda: _single("usage_forget", (owner_id,)))

    async def prune_usage(self, before_day: int) -> None:
        await self.write(lambda: _single("usage_prune", (before_day,)))

    async def first_inputs(self, job_id: str, limit: int) -> WrittenInputs:
        return await self.read(lambda: written.first_inputs(job_id, limit))

    async def inputs(self, job_id: str, after: int, limit: int) -> list[Line]:
        found: list[Line] = []
        while True:
            page = await self._inputs_page(job_id, after, limit - len(found))
            found += page.lines
            if page.reached is None or len(found) == limit:
                return found
            after = page.reached
            await asyncio.sleep(0)  # the embedded catalog reads without a pause, and requests wait

    async def _inputs_page(self, job_id: str, after: int, limit: int) -> LinePage:
        return await self.read(lambda: views.inputs_page(job_id, after, limit))

    async def outputs(self, job_id: str, after: int, limit: int) -> list[Line]:
        return await self.read(lambda: views.outputs_page(job_id, after, limit))

    async def errors(self, job_id: str, after: int, limit: int) -> list[Line]:
        return await self.read(lambda: views.errors_page(job_id, after, limit))

    async def _rows(self, name: str, *args: object) -> list[Row]:
        return await self.read(lambda: _single(name, args))


def _single(name: str, args: tuple[object, ...]) -> Script[list[Row]]:
    return (yield Op(name, args))
