"""One job under its row's lock: what is read of it, what changes, and the flush that writes all changes at once."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from jobs.model.document import JobPlan
from jobs.model.states import PhaseCounts, TaskState
from jobs.model.wire import Failure, Usage
from manta.catalog.job_records import ANY_NODE, FoundObject, Stirred
from manta.catalog.job_scripts.job_row import JobRow, read_phase, read_plan
from manta.catalog.ops import Many, Op, Script
from manta.catalog.records import ObjectVersion
from manta.catalog.task_records import Elder, Member, TaskRow
from manta.core.errors import NoSuchJob
from manta.core.limits import (
    BATCH_ROWS,
    BYTE_SECONDS_MAX,
    FAILURE_MESSAGE_MAX_CHARS,
    RESOLVE_PAGE,
    STDERR_IN_ERROR_BYTES,
)


@dataclass(slots=True)
class Unit:
    """Changes are gathered here and written by `flush`; a script that raises before has changed nothing."""

    job: JobRow
    phases: list[PhaseCounts]
    now_ms: int
    alive: Sequence[str] = ()
    all_cancelled: bool = False
    ran: int = 0
    """Attempts whose usage was counted here."""
    cut_room: int | None = None
    """Tasks that are made of inputs' ranges in this transaction, where that is bounded: a page of work makes the rest
    (`map_tasks.cut_page`)."""
    new_tasks: list[TaskRow] = field(default_factory=list)
    saves: list[tuple[Any, ...]] = field(default_factory=list)
    ready: list[tuple[str, str, str, int, int]] = field(default_factory=list)
    unready: list[tuple[str, str, str, int]] = field(default_factory=list)
    errors: list[tuple[str, int, bytes]] = field(default_factory=list)
    outputs: list[tuple[Any, ...]] = field(default_factory=list)
    shuffles: list[tuple[Any, ...]] = field(default_factory=list)
    objects: list[tuple[str, ObjectVersion]] = field(default_factory=list)
    links: list[tuple[str, ObjectVersion]] = field(default_factory=list)
    """Objects whose blobs are recorded already, or are in `add_blobs`."""
    add_blobs: list[tuple[str, int, str]] = field(default_factory=list)
    retain: list[tuple[str]] = field(default_factory=list)
    release: list[tuple[str]] = field(default_factory=list)
    input_ends: list[tuple[int, str, int]] = field(default_factory=list)
    """(state, job, number) of inputs of a first phase that reduces."""
    lost: set[str] = field(default_factory=set)
    elders: dict[int, Elder] = field(default_factory=dict)
    """By task: the first attempts of those that have two. As few as there are lanes."""
    elder_saves: list[tuple[Any, ...]] = field(default_factory=list)
    elders_gone: list[tuple[str, int]] = field(default_factory=list)
    gathered: dict[tuple[int, str], list[Member]] = field(default_factory=dict)
    """Small inputs that wait for others of their phase on the same nodes: `map_tasks` makes batches of them."""
    shrinks: list[tuple[Any, ...]] = field(default_factory=list)
    gone: list[tuple[str, int]] = field(default_factory=list)
    """(job, number) of batches of which nothing is left."""

    @property
    def plan(self) -> JobPlan:
        return read_plan(self.job.plan)

    @property
    def page(self) -> int:
        """Inputs that one page of work changes, about."""
        return RESOLVE_PAGE

    @property
    def rows(self) -> int:
        """Tasks that are read at a time: fewer where each may have many inputs."""
        batched = any(phase.batch > 1 for phase in self.plan.phases)
        return min(BATCH_ROWS, RESOLVE_PAGE) if batched else RESOLVE_PAGE

    @property
    def stopped(self) -> bool:
        return self.job.cancel_reason is not None or self.job.ended

    def stirred(self, stale: Sequence[tuple[str, int, int]] = ()) -> Stirred:
        job_id = self.job.job_id
        return Stirred(
            ready=frozenset(row[0] for row in self.ready),
            lost=frozenset(self.lost),
            jobs=frozenset([job_id]),
            more=frozenset([job_id]) if self.job.tend else frozenset(),
            stale=tuple(stale),
        )

    def begin_cancel(self, reason: str) -> None:
        """Nothing is leased or added from here on; `tend` ends what is unfinished, page by page."""
        self.job.cancel_reason = reason
        self.job.input_ended = 1
        self.job.tend = 1

    def new_task(self, phase: int, state: TaskState, **fields: Any) -> TaskRow:
        """A task of that phase, numbered and counted; what it offers itself by is up to the caller."""
        self.job.next_task += 1
        task = TaskRow(
            job_id=self.job.job_id, task_id=self.job.next_task, phase=phase, state=state, attempt=0, node_id="",
            epoch="", leased_ms=0, faults=0, losses=0, failures=0, **{**_NO_INPUT, **fields},
        )  # fmt: skip
        self.new_tasks.append(task)
        if phase >= 0:
            self.phases[phase].move(None, state, task.weight)
        return task

    def add_shuffle(
        self, phase: int, wanted: int | None, bucket: str, found: FoundObject, inline: bytes | None = None
    ) -> int:
        """One more input of that reduce phase; which reducer gets it. The caller sees to the blob's reference."""
        reducer = self.phases[phase].deal(wanted)
        self.job.next_task += 1
        self.shuffles.append(
            (
                self.job.job_id, phase, reducer, self.job.next_task, bucket, found.key, found.size, found.blob_id,
                found.holders, inline,
            )
        )  # fmt: skip
        return reducer

    def offer(self, task: TaskRow, nodes: Sequence[str]) -> None:
        """Into the ready queue of each of `nodes`; of any node for an empty input."""
        self.offer_since(task, nodes or (ANY_NODE,), self.now_ms)

    def offer_since(self, task: TaskRow, nodes: Sequence[str], since_ms: int) -> None:
        """Into further queues, ready since then."""
        self.ready.extend((node, self.job.owner_id, task.job_id, task.task_id, since_ms) for node in nodes)

    def withdraw(self, task: TaskRow) -> None:
        """Out of every queue it may stand in."""
        for node in (*task.nodes, ANY_NODE):
            self.unready.append((node, self.job.owner_id, task.job_id, task.task_id))

    def change(self, task: TaskRow, **fields: Any) -> TaskRow:
        """The task with these fields, counted and to be saved; its input is let go when it has ended.

        A failed task keeps it, for a retry, until the job is removed.
        """
        changed = task._replace(**fields)
        before, after = TaskState(task.state), TaskState(changed.state)
        if before is not after:
            if task.phase >= 0:
                self.phases[task.phase].move(before, after, task.weight)
            self.job.running += (after is TaskState.RUNNING) - (before is TaskState.RUNNING)
            if task.task_id in self.elders:
                self._drop_elder(task.task_id)
            if after.ended and after is not TaskState.FAILED:
                self.release += [(one.blob_id,) for one in task.inputs if one.blob_id is not None]
        epoch, holders = changed.epoch, changed.holders
        if after.ended:  # an ended task's row is kept small; only a failed one may want its holders again
            holders = holders if after is TaskState.FAILED else ""
            epoch = epoch if after is TaskState.CANCELLED else ""  # see `job_scripts.stopped`
        self.saves.append(
            (
                int(changed.state), changed.attempt, changed.node_id, epoch, changed.leased_ms, changed.faults,
                changed.losses, changed.failures, changed.slot, holders, changed.started_ms, changed.ended_ms,
                changed.earlier, task.job_id, task.task_id,
            )
        )  # fmt: skip
        return changed

    def count_usage(self, task: TaskRow, usage: Usage) -> None:
        """What an attempt of the task cost, for the job."""
        job = self.job
        self.ran += 1
        job.task_ms += round(usage.task_seconds * 1000)
        byte_seconds = round(self.plan.phases[task.phase].memory_bytes * usage.task_seconds)
        job.byte_seconds = min(job.byte_seconds + byte_seconds, BYTE_SECONDS_MAX)
        job.in_place += usage.in_place_bytes
        job.moved += usage.moved_bytes
        job.shuffled += usage.shuffled_bytes
        job.copied += usage.copied_bytes

    def save_elder(self, elder: Elder) -> None:
        self.elders[elder.task_id] = elder
        self.elder_saves.append((self.job.job_id, *elder))

    def _drop_elder(self, task_id: int) -> None:
        """The task ended or waits anew: its node is told that the attempt is over."""
        elder = self.elders.pop(task_id)
        self.elders_gone.append((self.job.job_id, task_id))
        if elder.node_id:
            self.lost.add(elder.node_id)

    def error(self, task: TaskRow, failure: Failure, usage: Usage | None = None, stderr: bytes = b"") -> None:
        """One line of the job's errors (docs/jobs.md lists the fields)."""
        self.job.errors += 1
        record = {
            "phase": task.phase,
            "task": task.task_id,
            "attempt": task.attempt,
            "input": task.input_name,
            "first_input": task.first_input,
            "range": None if task.range is None else str(task.range),
            "code": failure.code[:FAILURE_MESSAGE_MAX_CHARS],
            "message": failure.message[:FAILURE_MESSAGE_MAX_CHARS],
            "exit_status": failure.exit_status,
            "signal": failure.signal,
            "stderr": stderr[-STDERR_IN_ERROR_BYTES:].decode("utf-8", "replace"),
            "node": task.node_id,
            "started": usage.started_ms if usage else None,
            "ended": usage.ended_ms if usage else self.now_ms,
        }
        seq = self.job.errors + self.job.errors_gone
        self.errors.append((self.job.job_id, seq, msgspec.json.encode(record)))

    def flush(self) -> Script[None]:
        """Everything gathered, in batches; blobs gain references before any is let go."""
        yield from _many("blob_add", self.add_blobs)
        yield from _many("blob_retain", self.retain)
        yield from _many("object_put", self.objects)
        yield from _many("object_link", self.links)
        yield from _many("task_insert", self.new_tasks)
        yield from _many("task_save", self.saves)
        yield from _many("elder_save", self.elder_saves)
        yield from _many("elder_delete", self.elders_gone)
        yield from _many("task_shrink", self.shrinks)
        yield from _many("task_delete", self.gone)
        yield from _many("input_end", self.input_ends)
        yield from _many("ready_delete", self.unready)
        yield from _many("ready_insert", self.ready)
        yield from _many("shuffle_insert", self.shuffles)
        yield from _many("output_insert", self.outputs)
        yield from _many("error_insert", self.errors)
        yield from _many("blob_release", self.release)
        yield from self.save_job()

    def save_job(self) -> Script[None]:
        job = self.job
        yield Many(
            "phase_save",
            [
                (
                    p.waiting, p.ready, p.running, p.committed, p.failed, p.cancelled, int(p.complete), int(p.opened),
                    p.dealt, job.job_id, p.number,
                )
                for p in self.phases
            ],
        )  # fmt: skip
        yield Op(
            "job_save",
            (
                job.state, job.ended_ms, job.input_ended, job.cancel_reason, job.cursor, job.next_task, job.inputs,
                job.outputs, job.errors, job.running, job.in_place, job.moved, job.shuffled, job.task_ms, job.tend,
                job.doomed, job.retry, job.outputs_gone, job.errors_gone, job.byte_seconds, job.doubled,
                job.clone_of, job.clone_after, job.ending, job.retry_until, job.copied,
                job.job_id,
            ),
        )  # fmt: skip


_NO_INPUT: dict[str, Any] = {
    "slot": None,
    "reducer": 0,
    "bucket": "",
    "key": "",
    "version_id": "",
    "size": 0,
    "blob_id": None,
    "holders": "",
    "first_input": "",
    "range_start": 0,
    "range_end": 0,
    "members": None,
}


def _many(name: str, rows: Sequence[tuple[Any, ...]]) -> Script[None]:
    if rows:
        yield Many(name, rows)


def find_unit(job_id: str, now_ms: int, *, wait: bool = True) -> Script[Unit | None]:
    """The job, locked; None when there is none, or, without `wait`, when another transaction has it."""
    rows = yield Op("job_lock" if wait else "job_try_lock", (job_id,))
    if not rows:
        return None
    job = JobRow(*rows[0])
    phases = yield Op("phases", (job_id,))
    unit = Unit(job, [read_phase(row) for row in phases], now_ms)
    if job.doubled and not job.ended:
        elders = yield Op("elders", (job_id,))
        unit.elders = {row[0]: Elder(*row) for row in elders}
    return unit


def get_unit(job_id: str, now_ms: int) -> Script[Unit]:
    """The job, locked; NoSuchJob, also for one being deleted."""
    unit = yield from find_unit(job_id, now_ms)
    if unit is None or unit.job.doomed:
        raise NoSuchJob(f"The job {job_id} does not exist.")
    return unit
