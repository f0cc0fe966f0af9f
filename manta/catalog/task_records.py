"""What the catalog records of tasks: rows as they come from any engine, and what is packed in them. Times are ms."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from jobs.model.ranges import Range
from jobs.model.states import Progress, TaskState

INPUT_ONLY = -1
"""The phase of rows that only record an input, where the first phase reduces."""


class Member(msgspec.Struct, frozen=True, array_like=True):
    """An input of a batch. `number` is kept for it: the task's number, should it get a task of its own."""

    number: int
    bucket: str
    key: str
    version_id: str
    size: int
    blob_id: str | None
    first_input: str


_MEMBERS = msgspec.msgpack.Decoder(list[Member])


def unpack_members(members: bytes) -> list[Member]:
    return _MEMBERS.decode(members)


def pack_members(members: Sequence["Member | TaskRow"]) -> bytes:
    return msgspec.msgpack.encode(
        [
            (
                one.number if isinstance(one, Member) else one.task_id, one.bucket, one.key, one.version_id, one.size,
                one.blob_id, one.first_input,
            )
            for one in members
        ]
    )  # fmt: skip


class TaskRow(NamedTuple):
    """A task. `holders` are node ids joined by commas; `slot` is the blob id its running attempt may write.

    `started_ms` and `ended_ms` are of the last attempt, by its node's clock; none while it runs. `epoch` is of the
    attempt that runs, or that a cancel stopped and whose node has not told what it used (`job_scripts.stopped`).
    A task with a `range_end` reads that nominal range of its input; `size` is the whole input's.
    """

    job_id: str
    task_id: int
    phase: int
    state: int
    attempt: int
    node_id: str
    epoch: str
    leased_ms: int
    faults: int
    losses: int
    failures: int
    slot: str | None
    reducer: int
    bucket: str
    key: str
    version_id: str
    size: int
    blob_id: str | None
    holders: str
    first_input: str
    started_ms: int | None = None
    ended_ms: int | None = None
    earlier: str = ""
    """JSON, see `job_scripts.attempts`."""
    range_start: int = 0
    range_end: int = 0
    members: bytes | None = None
    """The inputs of a batch, packed; its own input is the first of them."""

    @property
    def hosts(self) -> list[str]:
        """The nodes that may run it; none for any."""
        return [] if self.blob_id is None else self.nodes

    @property
    def inputs(self) -> "list[TaskRow]":
        """One row for each input; those of a batch as if each had a task of its own."""
        if self.members is None:
            return [self]
        return [
            self._replace(
                task_id=one.number, bucket=one.bucket, key=one.key, version_id=one.version_id, size=one.size,
                blob_id=one.blob_id, first_input=one.first_input, members=None,
            )
            for one in unpack_members(self.members)
        ]  # fmt: skip

    @property
    def weight(self) -> int:
        """How many inputs it counts for."""
        return 1 if self.members is None else len(unpack_members(self.members))

    @property
    def progress(self) -> Progress:
        return Progress(TaskState(self.state), self.attempt, self.node_id, self.faults, self.losses, self.failures)

    @property
    def nodes(self) -> list[str]:
        return self.holders.split(",") if self.holders else []

    @property
    def input_name(self) -> str:
        """`bucket/key`, or what was written in its place and names nothing; "" for a reducer."""
        return f"{self.bucket}/{self.key}" if self.bucket else self.key

    @property
    def range(self) -> Range | None:
        """The nominal range that the task reads; None for the whole input."""
        return Range(self.range_start, self.range_end) if self.range_end else None


class AttemptTimes(NamedTuple):
    """An attempt that was not committed; `why` is the code of what ended it, "" while it runs."""

    attempt: int
    node_id: str
    started_ms: int
    ended_ms: int | None
    why: str


class Elder(NamedTuple):
    """The first of a task's two attempts. The task's own row has the second; a `node_id` of "" says that it ended."""

    task_id: int
    attempt: int
    node_id: str
    epoch: str
    leased_ms: int
    slot: str | None

    def seen_as(self, task: TaskRow) -> TaskRow:
        """The task as if this were its only attempt."""
        return task._replace(
            attempt=self.attempt, node_id=self.node_id, epoch=self.epoch, leased_ms=self.leased_ms, slot=self.slot
        )


@dataclass(frozen=True, slots=True)
class TaskPage:
    """Tasks in the order of their numbers. The next page begins after `reached`; None at the end."""

    tasks: tuple[TaskRow, ...]
    reached: int | None
    elders: tuple[Elder, ...] = ()
    """The first attempts of those of the job's tasks that have two now."""
