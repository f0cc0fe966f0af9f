"""Where attempts read and write: sources of their inputs and slots for their outputs, with the tokens that allow it."""

from collections.abc import Callable, Collection, Sequence
from typing import Protocol

from jobs.model.questions import InputsReply, InputsRequest, SlotsReply, SlotsRequest
from jobs.model.wire import BatchInput, InputRef, OutputSlot, TaskLease
from manta.catalog.job_records import Granted, ShuffleRow
from manta.catalog.job_store import JobStore
from manta.catalog.task_records import TaskRow
from manta.core import limits
from manta.core.clock import Clock
from manta.core.peers import PeerSource


class Placement(Protocol):
    """Where outputs go and inputs come from, with the tokens that allow it: composed by the gateway."""

    def copies(self, blob_id: str, node_id: str, ttl_s: float, avoid: Collection[str] = ()) -> tuple[PeerSource, ...]:
        """The further copies of a blob that is first written on `node_id`; on one to `avoid` only if there are too few
        others. NotEnoughNodes, SlowDown."""
        ...

    def takes_tasks(self, node_id: str) -> bool:
        """Whether outputs that are first written on that node would get their copies just now."""
        ...

    def sources(self, blob_id: str, nodes: Sequence[str], ttl_s: float) -> tuple[PeerSource, ...]:
        """Where that blob can be read."""
        ...


class Places:
    """A slot's id carries its birth time, and so how long the sweeper spares what is written there."""

    def __init__(self, jobs: JobStore, placement: Placement, clock: Clock, make_id: Callable[[int], str]) -> None:
        self._jobs = jobs
        self._placement = placement
        self._clock = clock
        self._make_id = make_id

    def new_ids(self, count: int, ahead_s: float = 0.0) -> list[str]:
        """Of slots that are born so far ahead."""
        born_ms = int((self._clock.wall_s() + ahead_s) * 1000)
        return [self._make_id(born_ms) for _ in range(count)]

    def takes_tasks(self, node_id: str) -> bool:
        """Whether outputs would get their copies: while not, ready tasks wait, and polls are answered all the same."""
        return self._placement.takes_tasks(node_id)

    def lease_of(self, grant: Granted, node_id: str, timeout_s: float) -> TaskLease:
        """A batch gets a slot for each input: the first is its own, the others are further ones (see `slots`)."""
        task = grant.task
        batch: tuple[BatchInput, ...] = ()
        slots = [task.slot or ""]
        if task.members is not None:
            slots += self.new_ids(task.weight - 1, timeout_s)
            batch = tuple(
                BatchInput(one.task_id, _input_of(one), self._slot(slot, node_id, timeout_s))
                for one, slot in zip(task.inputs, slots, strict=True)
            )
        reads = batch[0].input if batch else _input_of(task) if task.bucket else None
        slot = self._slot(slots[0], node_id, timeout_s)
        return TaskLease(task.job_id, task.phase, task.task_id, task.attempt, slot, reads, task.reducer, batch)

    async def inputs(self, request: InputsRequest) -> InputsReply:
        """A page of what a reducer reads."""
        limit = min(max(request.limit, 1), limits.JOB_PAGE_LINES_MAX)
        rows = await self._jobs.reducer_inputs(request.node_id, request.attempt, request.after, limit)
        view = await self._jobs.get_job(request.attempt.job_id)
        ttl_s = _ttl_s(max(phase.timeout_s for phase in view.plan.phases))
        inputs = tuple(self._input(row, ttl_s) for row in rows)
        return InputsReply(inputs, rows[-1].seq if len(rows) == limit else None)

    async def slots(self, request: SlotsRequest) -> SlotsReply:
        """New places for the attempt's outputs; only the last one asked for is protected by the task's row.

        Further ones protect themselves from the sweeper: they are born at the end of the task's time.
        """
        count = min(max(request.count, 1), limits.LEASE_BATCH_MAX)
        if request.further:
            task, _, plan = await self._jobs.attempt_rights(request.node_id, request.attempt)
            timeout_s = plan.phases[task.phase].task_timeout_s
            ids = self.new_ids(count, timeout_s)
            return SlotsReply(tuple(self._slot(one, request.node_id, timeout_s, request.avoid) for one in ids))
        slots: list[OutputSlot] = []
        for _ in range(count):
            (blob_id,) = self.new_ids(1)
            await self._jobs.set_slot(request.node_id, request.attempt, blob_id)
            slots.append(self._slot(blob_id, request.node_id, limits.TASK_TIMEOUT_DEFAULT_S, request.avoid))
        return SlotsReply(tuple(slots))

    def _slot(self, blob_id: str, node_id: str, timeout_s: float, avoid: Collection[str] = ()) -> OutputSlot:
        return OutputSlot(blob_id, self._placement.copies(blob_id, node_id, _ttl_s(timeout_s), avoid))

    def _input(self, row: ShuffleRow, ttl_s: float) -> InputRef:
        sources: tuple[PeerSource, ...] = ()
        if row.blob_id is not None:
            sources = self._placement.sources(row.blob_id, row.holders.split(","), ttl_s)
        return InputRef(row.bucket, row.key, row.size, row.blob_id, sources, inline=row.inline)


def _input_of(task: TaskRow) -> InputRef:
    return InputRef(task.bucket, task.key, task.size, task.blob_id, range=task.range)


def _ttl_s(timeout_s: float) -> float:
    """A token outlives the task that uses it."""
    return timeout_s + limits.NODE_TOKEN_TTL_S
