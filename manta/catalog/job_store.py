"""The catalog's protocol for jobs, tasks, leases and results. Each method is one transaction, as in `store`.

A change of a job happens under its row's lock, so that two gateways on one catalog never decide at the same time.
Whatever may be long (resolving inputs, cancelling, cleaning, deleting) goes in pages through `tend`.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from jobs.model.document import JobPlan
from jobs.model.inputs import InputSpec
from jobs.model.states import TaskState
from jobs.model.wire import AttemptRef, StoppedAttempt, TaskResult
from manta.catalog.job_records import (
    Choose,
    FoundInputs,
    Granted,
    JobView,
    Line,
    NewJob,
    QueuePlace,
    ShuffleRow,
    Stirred,
    Stranded,
    UsageDay,
    WrittenInputs,
    take_all,
)
from manta.catalog.task_records import TaskPage, TaskRow


class JobStore(Protocol):
    async def create_job(self, job: NewJob) -> JobView:
        """The new job; the earlier one of the same owner and idempotency key, if there is one. IdempotencyKeyReused."""
        ...

    async def get_job(self, job_id: str) -> JobView:
        """NoSuchJob."""
        ...

    async def list_jobs(
        self, owner_id: str | None, *, state: str = "", name: str = "", after: str = "", limit: int = 1000
    ) -> list[JobView]:
        """The newest first, those older than `after`; of every owner with None."""
        ...

    async def add_inputs(
        self, job_id: str, chunks: Sequence[tuple[bytes, int]], *, end: bool = False, once: str | None = None
    ) -> None:
        """More encoded inputs, or their end. NoSuchJob; JobClosed after the end (ending twice is fine).

        The same inputs under the same key `once` are added once; IdempotencyKeyReused for others.
        """
        ...

    async def find_inputs(
        self, owner_id: str, plan: JobPlan, specs: Sequence[InputSpec], position: int, after: str
    ) -> FoundInputs:
        """A page of what a job of that owner would find; nothing is written."""
        ...

    async def cancel_job(self, job_id: str, reason: str) -> Stirred:
        """No more leases; each unfinished input becomes a JobCancelled error, in pages. Fine when it has ended."""
        ...

    async def retry_job(self, job_id: str) -> Stirred:
        """A job that is done runs again for its failed inputs only; nothing happens without any. JobNotRetried for one
        that goes on or was cancelled, NoSuchJob."""
        ...

    async def delete_job(self, job_id: str) -> Stirred:
        """Hidden at once, cancelled if need be, removed in pages with its outputs. NoSuchJob."""
        ...

    async def tend(self, job_id: str) -> Stirred:
        """One page of what the job needs: resolve inputs, cancel, clean, delete. `more` names it if more is left."""
        ...

    async def jobs_to_tend(self, limit: int) -> list[str]:
        """But for those that are deleted, and wait for what nodes have to tell."""
        ...

    async def expired_jobs(self, ended_before_ms: int, limit: int) -> list[str]: ...

    async def ended_jobs(self, job_ids: Sequence[str]) -> list[str]:
        """Those that have ended or do not exist."""
        ...

    async def gone_jobs(self, job_ids: Sequence[str]) -> list[str]:
        """Those that do not exist, or are being removed."""
        ...

    async def renew(self, node_id: str, epoch: str, until_ms: int, *, begins: bool = True) -> Stirred:
        """The node lives until then. A new epoch loses the attempts of the one before.

        `begins`: a call has just come in. An old call that still waits never brings its own epoch back.
        """
        ...

    async def has_ready(self, node_id: str) -> bool:
        """Whether `lease` may find something: a cheap read."""
        ...

    async def has_idle(self, node_id: str) -> bool:
        """Whether a job that has no task running has some for that node: a cheap read."""
        ...

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
        """As many tasks as there are `slots` (blob ids for their outputs), shared fairly among accounts, then jobs.

        `idle_jobs_only`: at most one of each job, and only of jobs that have no task running (J8). Nothing of the jobs
        in `without`, and no task that `choose` has for another node.
        """
        ...

    async def lease_second(
        self, node_id: str, epoch: str, straggler: AttemptRef, slot: str, *, choose: Choose = take_all
    ) -> Granted | None:
        """A second attempt of that attempt's task, on this other node. None where it may not have one (now)."""
        ...

    async def running(self, node_id: str) -> list[AttemptRef]:
        """The attempts that are the node's now."""
        ...

    async def set_slot(self, node_id: str, attempt: AttemptRef, slot: str) -> None:
        """Another blob id for the output. StaleAttempt."""
        ...

    async def report(self, node_id: str, results: Sequence[TaskResult]) -> Stirred:
        """Commit results of current attempts, name the others in `stale` (J1, J2)."""
        ...

    async def release(
        self, node_id: str, attempts: Sequence[AttemptRef], *, delivered: bool, why: str | None = None
    ) -> Stirred:
        """Offer attempts again whose node does not work on them. `delivered`: each counts as a loss of its task.

        `why`: the code by which the task remembers them; what was never delivered is not remembered without one.
        """
        ...

    async def agents(self) -> list[tuple[str, str, int]]:
        """(node, epoch, until when its lease was renewed) of each node that ever polled or has tasks waiting for it."""
        ...

    async def stranded(
        self, queue: str, after: QueuePlace, alive: Collection[str], dead: Mapping[str, float]
    ) -> Stranded:
        """A page of the queue of a dead node, from behind that place on: tasks for `requeue`. Who lives, and for how
        many seconds the others have been dead, is the caller's to know (`jobs.scheduler.liveness`): no wall clock
        decides on it."""
        ...

    async def requeue(
        self, job_id: str, since: Mapping[int, int], alive: Collection[str], dead: Mapping[str, float]
    ) -> Stirred:
        """Give what is `stranded` to others, or end it as failed after HOLDER_WAIT_S."""
        ...

    async def late_reducers(self) -> dict[str, dict[int, int]]:
        """Job → reducer's task → since when it is ready: those that waited REDUCER_PATIENCE_S for their node."""
        ...

    async def free_reducers(self, job_id: str, since: Mapping[int, int]) -> Stirred:
        """Let any node take them."""
        ...

    async def reducer_inputs(self, node_id: str, attempt: AttemptRef, after: int, limit: int) -> list[ShuffleRow]:
        """In order of `seq`. StaleAttempt; AccessDenied when the job's owner may not read one of them any more."""
        ...

    async def attempt_rights(self, node_id: str, attempt: AttemptRef) -> tuple[TaskRow, str, JobPlan]:
        """The task, its job's owner and plan, for as long as the attempt is the node's current one. StaleAttempt."""
        ...

    async def get_task(self, job_id: str, task_id: int) -> TaskRow:
        """NoSuchJob."""
        ...

    async def tasks(self, job_id: str, after: int, limit: int, state: TaskState | None = None) -> TaskPage:
        """Tasks with numbers behind `after`, in whatever state with None. A page may be short, or empty, although more
        follow. NoSuchJob."""
        ...

    async def usage(self, owner_id: str, first_day: int, last_day: int) -> list[UsageDay]:
        """What an account's tasks cost, in the order of days (since 1970, UTC); days without any are left out."""
        ...

    async def charge(self, owner_id: str, task_ms: int, byte_seconds: int) -> None:
        """Add what an account used outside of jobs to its usage of today."""
        ...

    async def charge_stopped(self, node_id: str, attempts: Sequence[StoppedAttempt]) -> None:
        """What attempts used that ended with their job, by a cancel say; others, and what is told again, are free."""
        ...

    async def forget_usage(self, owner_id: str) -> None: ...

    async def prune_usage(self, before_day: int) -> None:
        """Forget what every account used before that day."""
        ...

    async def first_inputs(self, job_id: str, limit: int) -> WrittenInputs: ...

    async def inputs(self, job_id: str, after: int, limit: int) -> list[Line]:
        """Fewer than `limit` only at the end. Read in windows, not in one transaction."""
        ...

    async def outputs(self, job_id: str, after: int, limit: int) -> list[Line]: ...

    async def errors(self, job_id: str, after: int, limit: int) -> list[Line]: ...
