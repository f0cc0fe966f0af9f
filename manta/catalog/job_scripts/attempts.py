"""What the catalog remembers of a task's attempts before its last one: a few, as JSON in the task's row. Pure."""

import json

from jobs.model.wire import Usage
from manta.catalog.job_records import AttemptTimes, TaskRow
from manta.core.limits import EARLIER_ATTEMPTS_MAX


def with_attempt(task: TaskRow, usage: Usage | None, now_ms: int, why: str) -> str:
    """The task's `earlier` with its current attempt behind the others; without `usage` it began when it was leased."""
    started_ms = usage.started_ms if usage is not None else task.leased_ms
    ended_ms = usage.ended_ms if usage is not None else now_ms
    kept = json.loads(task.earlier) if task.earlier else []
    kept.append([task.attempt, task.node_id, started_ms, ended_ms, why])
    return json.dumps(kept[-EARLIER_ATTEMPTS_MAX:], separators=(",", ":"))


def earlier_attempts(task: TaskRow) -> list[AttemptTimes]:
    """In their order; the oldest of many are forgotten."""
    return [AttemptTimes(*one) for one in json.loads(task.earlier)] if task.earlier else []
