"""The job and task state machines: events in, decisions out. Nothing here reads a clock, a table or a socket.

A task goes waiting → ready → running → one of committed, failed, cancelled; a lost or retried attempt goes back from
running to ready. The attempt number grows with each lease and fences every earlier holder off (J1, J2).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from heapq import heapify, heapreplace
from statistics import median
from typing import Final

from jobs.model.wire import Failure, TaskKind, TaskResult
from manta.core import limits

NODE_LOST: Final = "NodeLost"
NODE_STOPPED: Final = "NodeStopped"
"""Codes of what ended an attempt that its node did not report: it fell silent, or its agent was told to end."""


class JobState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        return self in (JobState.DONE, JobState.CANCELLED)


class TaskState(IntEnum):
    """Stored as numbers: the task table is hot."""

    WAITING = 0
    READY = 1
    RUNNING = 2
    COMMITTED = 3
    FAILED = 4
    CANCELLED = 5

    @property
    def ended(self) -> bool:
        return self >= TaskState.COMMITTED


@dataclass(frozen=True, slots=True)
class Progress:
    """What a task has behind it. `faults`: the store's; `losses`: leases lost; `failures`: the user's."""

    state: TaskState
    attempt: int = 0
    node_id: str = ""
    faults: int = 0
    losses: int = 0
    failures: int = 0


@dataclass(frozen=True, slots=True)
class Stale:
    """The attempt is not the current one: nothing of it is kept."""


@dataclass(frozen=True, slots=True)
class Repeat:
    """This very attempt was committed before and its answer got lost: nothing to do, and nothing to throw away."""


@dataclass(frozen=True, slots=True)
class Commit:
    """The outputs and the task become visible in one transaction."""


@dataclass(frozen=True, slots=True)
class Again:
    """The task is ready once more; `avoid` is the node that had it, if another may have more luck.

    `why`: the code of what ended the attempt, "" for one that never ran.
    """

    progress: Progress
    avoid: str
    why: str = ""


@dataclass(frozen=True, slots=True)
class Fail:
    """The task ends with this error."""

    failure: Failure


Outcome = Stale | Repeat | Commit | Again | Fail


def grant(task: Progress, node_id: str) -> Progress:
    """The task as leased to that node: a new attempt. Only a ready task can be leased."""
    if task.state is not TaskState.READY:
        raise ValueError(f"A {task.state.name} task cannot be leased.")
    return Progress(TaskState.RUNNING, task.attempt + 1, node_id, task.faults, task.losses, task.failures)


def double(task: Progress, node_id: str) -> Progress:
    """The task as leased to that node besides the one that runs it: the newer of two attempts."""
    if task.state is not TaskState.RUNNING or not task.node_id or task.node_id == node_id:
        raise ValueError(f"A {task.state.name} task of node {task.node_id!r} gets no second attempt on {node_id}.")
    return Progress(TaskState.RUNNING, task.attempt + 1, node_id, task.faults, task.losses, task.failures)


def is_straggler(ran_s: float, finished_s: Sequence[float]) -> bool:
    """Whether a task that has run so long may get a second attempt; `finished_s` are times of its phase's ended tasks.

    It has run for STRAGGLER_FACTOR times their median and STRAGGLER_MIN_S, and STRAGGLER_SAMPLE_MIN have ended.
    """
    if ran_s < limits.STRAGGLER_MIN_S or len(finished_s) < limits.STRAGGLER_SAMPLE_MIN:
        return False
    return ran_s > limits.STRAGGLER_FACTOR * median(finished_s)


def second_attempts_max(ended: int) -> int:
    """How many second attempts a job may have had, when so many of its tasks have ended."""
    return limits.SECOND_ATTEMPTS_MIN + int(ended * limits.SECOND_ATTEMPTS_FRACTION)


def holds(task: Progress, node_id: str, attempt: int) -> bool:
    """Whether that node's attempt is the current one."""
    return task.state is TaskState.RUNNING and task.attempt == attempt and task.node_id == node_id


def settle(task: Progress, node_id: str, result: TaskResult, retries: int) -> Outcome:
    """What a node's report does to its task; `retries` are the phase's own, for the user's failures."""
    attempt = result.attempt.attempt
    if task.state is TaskState.COMMITTED and task.attempt == attempt and task.node_id == node_id:
        return Repeat()
    if not holds(task, node_id, attempt):
        return Stale()
    return Commit() if result.failure is None else _fail(task, node_id, result.failure, retries)


def _fail(task: Progress, node_id: str, failure: Failure, retries: int) -> Again | Fail:
    if failure.retryable:
        if task.faults < limits.INFRASTRUCTURE_RETRIES:
            return Again(_again(task, faults=1), avoid=node_id, why=failure.code)
        return Fail(failure)
    if task.failures < retries:
        return Again(_again(task, failures=1), avoid="", why=failure.code)
    return Fail(failure)


def lose(task: Progress, node_id: str, attempt: int, *, delivered: bool) -> Outcome:
    """What the end of a lease does. One that never reached its node is nobody's fault and is not counted."""
    if not holds(task, node_id, attempt):
        return Stale()
    if not delivered:
        return Again(_again(task), avoid="")
    if task.losses < limits.LOST_LEASES_MAX:
        return Again(_again(task, losses=1), avoid=node_id, why=NODE_LOST)
    return Fail(
        Failure(
            "InternalError",
            f"The task's node was lost {task.losses + 1} times while the task ran, the last time {node_id}.",
        )
    )


def _again(task: Progress, *, faults: int = 0, losses: int = 0, failures: int = 0) -> Progress:
    return Progress(
        TaskState.READY,
        task.attempt,
        "",
        task.faults + faults,
        task.losses + losses,
        task.failures + failures,
    )


def offer_to(holders: Sequence[str], avoid: str, alive: Iterable[str]) -> list[str]:
    """The holders a task is offered to: without `avoid` while another one lives."""
    others = [node for node in holders if node != avoid]
    return others if set(others) & set(alive) else list(holders)


@dataclass(slots=True)
class PhaseCounts:
    """A phase and its tasks by state. `complete`: no more inputs will come. `opened`: its reducers exist."""

    number: int
    kind: TaskKind
    reducers: int
    waiting: int = 0
    ready: int = 0
    running: int = 0
    committed: int = 0
    failed: int = 0
    cancelled: int = 0
    complete: bool = False
    opened: bool = False
    dealt: int = 0

    def move(self, old: TaskState | None, new: TaskState, count: int = 1) -> None:
        """`count` tasks go from one state to another; from None when they are new."""
        if old is not None:
            name = old.name.lower()
            setattr(self, name, getattr(self, name) - count)
        name = new.name.lower()
        setattr(self, name, getattr(self, name) + count)

    @property
    def finished(self) -> bool:
        return self.complete and self.waiting == self.ready == self.running == 0

    def deal(self, wanted: int | None) -> int:
        """The reducer an input goes to: the one its task asked for, else the next in turn."""
        if wanted is not None:
            return wanted % self.reducers
        self.dealt += 1
        return (self.dealt - 1) % self.reducers


@dataclass(frozen=True, slots=True)
class OpenReducers:
    phase: int


@dataclass(frozen=True, slots=True)
class EndJob:
    state: JobState


def advance(phases: Sequence[PhaseCounts], *, cancelled: bool) -> list[OpenReducers | EndJob]:
    """What may happen now that some counts changed; marks phases complete as the one before finishes."""
    steps: list[OpenReducers | EndJob] = []
    for phase in phases:
        if phase.number > 0 and phases[phase.number - 1].finished:
            phase.complete = True
        if phase.complete and phase.kind is TaskKind.REDUCE and not phase.opened and not cancelled:
            phase.opened = True
            steps.append(OpenReducers(phase.number))
            return steps
        if not phase.finished:
            return steps
    steps.append(EndJob(JobState.CANCELLED if cancelled else JobState.DONE))
    return steps


@dataclass(frozen=True, slots=True)
class Claim:
    """A job that has tasks for a node: whose it is, and how many of its tasks run anywhere."""

    job_id: str
    owner_id: str
    running: int


def share(lanes: int, claims: Sequence[Claim], accounts: Mapping[str, int]) -> dict[str, int]:
    """How many of `lanes` each job may take at most, in the order to serve them (J8). `accounts`: what each runs.

    Lane by lane to the account with the fewest running tasks, in it to the job with the fewest. The rest of what a job
    could not use is for a second round, so the ask may go beyond what it has ready.
    """
    jobs: dict[str, list[tuple[int, str]]] = {}
    for claim in claims:
        jobs.setdefault(claim.owner_id, []).append((claim.running, claim.job_id))
    for queue in jobs.values():
        heapify(queue)
    turns = [(accounts[owner_id], *queue[0], owner_id) for owner_id, queue in jobs.items()]
    heapify(turns)
    shares: dict[str, int] = {}
    for _ in range(lanes if turns else 0):
        busy, running, job_id, owner_id = turns[0]
        shares[job_id] = shares.get(job_id, 0) + 1
        heapreplace(jobs[owner_id], (running + 1, job_id))
        heapreplace(turns, (busy + 1, *jobs[owner_id][0], owner_id))
    return shares


def place_reducers(count: int, weights: dict[int, dict[str, int]], alive: Sequence[str]) -> list[str]:
    """For each reducer the living node where most of its input lies, ties and unknowns dealt in turn; "" for any."""
    nodes = sorted(alive)
    if not nodes:
        return [""] * count
    placed: list[str] = []
    for reducer in range(count):
        own = weights.get(reducer, {})
        turned = nodes[reducer % len(nodes) :] + nodes[: reducer % len(nodes)]
        best = max(turned, key=lambda node: own.get(node, 0))
        placed.append(best if own.get(best, 0) > 0 else "")
    return placed
