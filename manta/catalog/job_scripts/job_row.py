"""A job and its phases as their rows are read."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from jobs.model.document import JobPlan, decode_plan
from jobs.model.states import JobState, PhaseCounts
from jobs.model.wire import TaskKind
from manta.core.limits import PLANS_REMEMBERED_MAX


@dataclass(slots=True)
class JobRow:
    """The job's row. `cursor`: how far cancelling has come; `tend`: pages of work are left; `doomed`: to be deleted.

    `retry`: 0, or the first phase that is done anew plus 1 while failed tasks are looked for, up to `retry_until`.
    `outputs_gone` and `errors_gone` count lines that a retry took back: numbers of lines only grow. `doubled`: second
    attempts that its tasks have had. `clone_of`: the job whose inputs are being copied, up to its chunk `clone_after`.
    `ending`: see `job_scripts.ending`.
    """

    job_id: str
    owner_id: str
    name: str
    state: str
    created_ms: int
    ended_ms: int | None
    plan: bytes
    input_ended: int
    cancel_reason: str | None
    cursor: int
    next_task: int
    inputs: int
    outputs: int
    errors: int
    running: int
    in_place: int
    moved: int
    shuffled: int
    task_ms: int
    tend: int
    doomed: int
    retry: int = 0
    outputs_gone: int = 0
    errors_gone: int = 0
    byte_seconds: int = 0
    doubled: int = 0
    clone_of: str | None = None
    clone_after: int = 0
    ending: str = ""
    retry_until: int = 0
    copied: int = 0

    @property
    def ended(self) -> bool:
        return JobState(self.state).ended

    def may_be_owed(self, told_ms: int) -> bool:
        """Whether it is being deleted, and nodes may have more to tell of what they stopped: it ended after then."""
        just_ended = self.ended_ms is not None and self.ended_ms > told_ms
        return bool(self.doomed) and self.cancel_reason is not None and just_ended


@lru_cache(maxsize=PLANS_REMEMBERED_MAX)
def read_plan(data: bytes) -> JobPlan:
    return decode_plan(data)


def read_phase(row: Sequence[Any]) -> PhaseCounts:
    number, kind, reducers, waiting, ready, running, committed, failed, cancelled, complete, opened, dealt = row
    return PhaseCounts(
        number, TaskKind(kind), reducers, waiting, ready, running, committed, failed, cancelled, bool(complete),
        bool(opened), dealt,
    )  # fmt: skip
