"""A job's tasks, where and when each attempt ran: `GET /jobs/{id}/tasks`, NDJSON, pageable while the job runs."""

import asyncio

from jobs.model.states import TaskState
from manta.catalog.job_scripts.attempts import CANCELLED, earlier_attempts, last_end
from manta.catalog.task_records import AttemptTimes, Elder, TaskRow
from manta.core.errors import InvalidArgument
from manta.gateway.context import Context
from manta.gateway.http.request import Request
from manta.gateway.http.responses import Response
from manta.gateway.http.xml import timestamp
from manta.gateway.ops.job_common import job_and_page, ndjson


async def job_tasks(context: Context, request: Request) -> Response:
    """Lines of tasks in the order of their numbers; fewer than `limit` only at the end."""
    view, after, limit = await job_and_page(context, request)
    state = _state(request.query.get("state", ""))
    found: list[dict[str, object]] = []
    start: int | None = after
    while start is not None and len(found) < limit:
        page = await context.catalog.jobs.tasks(view.job_id, start, limit - len(found), state)
        elders = {one.task_id: one for one in page.elders}
        found += [shown_task(task, elders.get(task.task_id)) for task in page.tasks]
        start = page.reached
        await asyncio.sleep(0)
    return ndjson(found)


def _state(name: str) -> TaskState | None:
    if not name:
        return None
    try:
        return TaskState[name.upper()]
    except KeyError:
        known = ", ".join(state.name.lower() for state in TaskState)
        raise InvalidArgument(f"`state` is one of {known}, not {name[:40]!r}.") from None


def shown_task(task: TaskRow, elder: Elder | None = None) -> dict[str, object]:
    """The task as JSON values, with its last attempt; its others are `earlier`, `elder` among them if it has two now.

    `leased`: when the attempt was given to its node, by the gateway's clock. `why`: the code of what ended it, null for
    none and for a commit.
    """
    return {
        "seq": task.task_id,
        "task": task.task_id,
        "phase": task.phase,
        "state": TaskState(task.state).name.lower(),
        "attempt": task.attempt,
        "node": task.node_id or None,
        "input": task.input_name or None,
        "inputs": task.weight,
        "range": None if task.range is None else str(task.range),
        "size": max(0, task.size),  # the catalog notes below zero what an input that was not found was written as
        "leased": _time(task.leased_ms if task.node_id else None),
        "started": _time(task.started_ms),
        "ended": _time(task.ended_ms),
        "why": _end(task) or None,
        "earlier": [_shown_attempt(one) for one in earlier_attempts(task, elder)],
    }


def _end(task: TaskRow) -> str:
    return last_end(task) or (CANCELLED if task.state == TaskState.CANCELLED and task.node_id else "")


def _shown_attempt(attempt: AttemptTimes) -> dict[str, object]:
    return {
        "attempt": attempt.attempt,
        "node": attempt.node_id,
        "started": _time(attempt.started_ms),
        "ended": _time(attempt.ended_ms),
        "why": attempt.why or None,
    }


def _time(epoch_ms: int | None) -> str | None:
    return None if epoch_ms is None else timestamp(epoch_ms)
