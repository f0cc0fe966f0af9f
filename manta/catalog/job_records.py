"""What the catalog records of jobs: rows as they come from any engine, and the values callers get. Times are ms."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, NamedTuple

from jobs.model.document import JobPlan
from jobs.model.inputs import InputSpec
from jobs.model.resources import Needs
from jobs.model.wire import TaskKind
from manta.catalog.task_records import TaskRow


class Choice(Enum):
    """What becomes of a ready task once a node that may run it asks for some."""

    HERE = auto()
    LATER = auto()
    """It stays ready: another node could begin it at once, and this one could not."""
    ELSEWHERE = auto()
    """It never fits here, and fits another node."""


Choose = Callable[[Needs, Sequence[str], bool], Choice]
"""Decides for one node on a task of such needs, which these nodes (any node, if none is named) may run; and whether
nothing of its job runs."""
ANY_NODE = ""
"""In the ready queue: a task that any node may take."""


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


def take_all(_needs: Needs, _hosts: Sequence[str], _is_idle: bool) -> Choice:
    """Of who takes whatever there is."""
    return Choice.HERE


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
class LinePage:
    """Lines in the order of their numbers. The next page begins after `reached`; None at the end."""

    lines: tuple[Line, ...]
    reached: int | None


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
