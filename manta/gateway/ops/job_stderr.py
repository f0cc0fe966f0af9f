"""What a task says on stderr: `GET /jobs/{id}/tasks/{task}/stderr`, at once or, with `follow`, to its end."""

import asyncio
from collections.abc import AsyncGenerator

from jobs.model.states import JobState, TaskState
from manta.catalog.job_records import JobView
from manta.catalog.task_records import TaskRow
from manta.core import limits
from manta.core.errors import InvalidArgument, NodeUnavailable, NoSuchJob
from manta.gateway.context import Context
from manta.gateway.http.request import Request
from manta.gateway.http.responses import ChunkedResponse, Response
from manta.gateway.jobs import read_stderr
from manta.gateway.ops.job_common import find_job
from manta.gateway.ops.job_events import counted

TEXT = "text/plain; charset=utf-8"
_LOOK_S = 0.25
_MARK_BYTES = 1024


async def task_stderr(context: Context, request: Request) -> Response:
    """The last 64 KiB that the task said on stderr, from the node that ran it. NodeUnavailable while that is away."""
    view = await find_job(context, request)
    number = request.params["task"]
    if not (number.isascii() and number.isdigit() and len(number) < 19):
        raise InvalidArgument(f"A task has a number, not {number[:40]!r}.")
    task = await context.catalog.jobs.get_task(view.job_id, int(number))
    if request.query.get("follow", "0") not in ("", "0", "false"):
        return ChunkedResponse(200, {"Content-Type": TEXT}, counted(context, request, _follow(context, view, task)))
    if not task.node_id:
        raise NoSuchJob(f"Task {task.task_id} of job {view.job_id} has not run: it has said nothing.")
    return Response(200, None, await read_stderr(context, task.node_id, view.job_id, task.task_id), TEXT)


async def _follow(context: Context, view: JobView, task: TaskRow) -> AsyncGenerator[bytes, None]:
    """What it says from now on, beginning with what is kept. A further attempt begins anew."""
    until_s = context.clock.monotonic_s() + limits.EVENT_STREAM_S
    said, attempt = b"", task.attempt
    while True:
        ended = TaskState(task.state).ended
        if task.attempt != attempt:
            said, attempt = b"", task.attempt
        if task.node_id:
            try:
                now = await read_stderr(context, task.node_id, view.job_id, task.task_id)
            except NodeUnavailable:
                now = said
            if news := fresh(said, now):
                yield news
            said = now
        if ended or context.draining.is_set() or context.clock.monotonic_s() > until_s:
            return
        await asyncio.sleep(_LOOK_S)
        try:
            task = await context.catalog.jobs.get_task(view.job_id, task.task_id)
            view = await context.catalog.jobs.get_job(view.job_id)
        except NoSuchJob:
            return
        if JobState(view.state).ended and not TaskState(task.state).ended:
            return


def fresh(before: bytes, now: bytes) -> bytes:
    """What `now` says beyond `before`. Of a tail that moved on, what follows the end of the last one; all if that is
    gone: then some of it was never seen."""
    if now.startswith(before):
        return now[len(before) :]
    mark = before[-_MARK_BYTES:]
    at = now.rfind(mark)
    return now if at < 0 else now[at + len(mark) :]
