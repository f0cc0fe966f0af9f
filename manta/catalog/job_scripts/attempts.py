"""What the catalog remembers of a task's attempts that were not committed: a few, as JSON in the task's row. Pure.

Nothing is written for a commit: the row itself has the last attempt. How the last one ended otherwise stands here too.
"""

import json
from typing import Final

from jobs.model.wire import Usage
from manta.catalog.task_records import AttemptTimes, Elder, TaskRow
from manta.core.limits import EARLIER_ATTEMPTS_MAX

CANCELLED: Final = "JobCancelled"
OVERTAKEN: Final = "Overtaken"
"""Ended because the task's other attempt had."""


def with_attempt(task: TaskRow, usage: Usage | None, now_ms: int, why: str) -> str:
    """The task's `earlier` with its current attempt behind the others; without `usage` it ran from its lease to now."""
    started_ms = usage.started_ms if usage is not None else task.leased_ms
    ended_ms = usage.ended_ms if usage is not None else max(task.leased_ms, now_ms)
    kept = json.loads(task.earlier) if task.earlier else []
    kept.append([task.attempt, task.node_id, started_ms, ended_ms, why])
    return json.dumps(kept[-EARLIER_ATTEMPTS_MAX:], separators=(",", ":"))


def earlier_attempts(task: TaskRow, elder: Elder | None = None) -> list[AttemptTimes]:
    """All but the one in the row, in the order of their numbers; the oldest of many are forgotten.

    `elder`: the first of the task's two attempts, if it has two now.
    """
    found = [one for one in _remembered(task) if not _is_last(task, one)]
    if elder is not None and elder.node_id:
        found.append(AttemptTimes(elder.attempt, elder.node_id, elder.leased_ms, None, ""))
    return sorted(found, key=lambda one: one.attempt)


def last_end(task: TaskRow) -> str:
    """The code of what ended the attempt in the row; "" for a commit, and for one that was cancelled with its job."""
    return next((one.why for one in _remembered(task) if _is_last(task, one)), "")


def _remembered(task: TaskRow) -> list[AttemptTimes]:
    return [AttemptTimes(*one) for one in json.loads(task.earlier)] if task.earlier else []


def _is_last(task: TaskRow, one: AttemptTimes) -> bool:
    return bool(task.node_id) and (one.attempt, one.node_id) == (task.attempt, task.node_id)
