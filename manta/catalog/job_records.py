"""What the catalog records of jobs: rows as they come from any engine, and the values callers get. Times are ms."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec

from jobs.model.document import JobPlan
from jobs.model.inputs import InputSpec
from jobs.model.ranges import Range
from jobs.model.resources import Needs
from jobs.model.states import Progress, TaskState
from jobs.model.wire import TaskKind

Leaves = Callable[[Needs, Sequence[str]], bool]
"""Whether a task of such needs, which these nodes (any node, if none is named) may run, is left to another node."""
ANY_NODE = ""
"""In the ready queue: a task that any node may take."""


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

    `started_ms` and `ended_ms` are of the last attempt, by its node's clock; none while it runs.
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


class UsageDay(NamedTuple):
    """What an account's tasks cost on one day (days since 1970, UTC): those that were reported then."""

    day: int
    tasks: int
    task_ms: int
    byte_seconds: int
    in_place_bytes: int
    moved_bytes: int
    shuffled_bytes: int
    copied_bytes: int


class FoundObject(NamedTuple):
    """An object as input resolution sees it; `modified_ms` and `attributes` (packed) in listings only."""

    key: str
    version_id: str
    size: int
    blob_id: str | None
    holders: str
    modified_ms: int = 0
    attributes: bytes = b""


class ShuffleRow(NamedTuple):
    """One input of a reducer. `inline` is the whole of one that is in no blob."""

    seq: int
    bucket: str
    key: str
    size: int
    blob_id: str | None
    holders: str
    inline: bytes | None = None


@dataclass(frozen=True, slots=True)
class NewJob:
    """`chunks` are encoded lists of inputs, `manta.catalog.job_chunks`, each with how many specs it has."""

    job_id: str
    owner_id: str
    plan: JobPlan
    created_ms: int
    chunks: tuple[tuple[bytes, int], ...] = ()
    ended: bool = False
    idempotency: str | None = None
    clone_of: str | None = None
    """A job whose inputs are to be copied as they were written."""


@dataclass(frozen=True, slots=True)
class PhaseView:
    """`complete`: no more tasks will be added."""

    kind: TaskKind
    exec: str
    tasks: dict[str, int]
    complete: bool
    program: str | None = None
    """The name of a Python function."""


@dataclass(frozen=True, slots=True)
class JobView:
    """A job as its owner sees it."""

    job_id: str
    owner_id: str
    name: str
    state: str
    created_ms: int
    ended_ms: int | None
    input_ended: bool
    cancel_reason: str | None
    plan: JobPlan
    phases: tuple[PhaseView, ...]
    inputs: int
    outputs: int
    errors: int
    in_place_bytes: int
    moved_bytes: int
    shuffled_bytes: int
    copied_bytes: int
    task_seconds: float
    byte_seconds: int
    """Memory that its tasks had reserved, times how long they ran."""


def leave_nothing(_needs: Needs, _holders: Sequence[str]) -> bool:
    """The Leaves of who takes whatever there is."""
    return False


@dataclass(frozen=True, slots=True)
class Granted:
    """A leased task: the row as it is now, and its phase's place in the job's plan."""

    task: TaskRow
    owner_id: str
    plan: JobPlan


@dataclass(frozen=True, slots=True)
class Stirred:
    """What a change woke: nodes with new ready tasks (ANY_NODE: all), nodes that lost attempts, jobs that moved."""

    ready: frozenset[str] = frozenset()
    lost: frozenset[str] = frozenset()
    jobs: frozenset[str] = frozenset()
    more: frozenset[str] = frozenset()
    """Jobs with work left for `tend`."""
    stale: tuple[tuple[str, int, int], ...] = ()
    """(job id, task id, attempt) of what was not committed."""


QueuePlace = tuple[str, str, int]
"""(owner, job, task): a place in the queue of a node."""
QUEUE_BEGIN: QueuePlace = ("", "", 0)


@dataclass(frozen=True, slots=True)
class Stranded:
    """What a page of a dead node's queue has that nobody can take: job → task → since when it is ready (wall ms).

    `after`: where the next page begins, None behind the last one.
    """

    jobs: dict[str, dict[int, int]]
    after: QueuePlace | None


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a job's inputs, outputs or errors."""

    seq: int
    fields: dict[str, Any]


@dataclass(frozen=True, slots=True)
class WrittenInputs:
    """The first inputs of a job as its owner wrote them; `more`: there are others."""

    specs: tuple[InputSpec, ...]
    more: bool


@dataclass(frozen=True, slots=True)
class FoundInputs:
    """A page of inputs as a job would find them, and how many it could not read.

    `tasks` of a map phase: (bytes it reads, nodes that hold them, inputs that begin in it).

    The next page begins at spec number `position`, behind the key `after`.
    """

    tasks: tuple[tuple[int, tuple[str, ...], int], ...]
    unreadable: dict[str, int]
    position: int
    after: str
