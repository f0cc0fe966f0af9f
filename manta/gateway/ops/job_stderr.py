"""What a task says on stderr: `GET /jobs/{id}/tasks/{task}/stderr`, at once, as it is said, or piece by piece.

    (nothing)                   the last 64 KiB
    ?follow=1                   one body, from what is kept on until the task has ended
    ?wait=SECONDS&after=PLACE   what it said beyond that place, as soon as there is something

A place is `attempt:bytes`. The header X-Manta-Next names the one to go on from, at whatever gateway; it is missing once
the task says no more. A further attempt begins anew. NodeUnavailable while what a task said last lies on a node that is
away: a body that follows breaks off then.
"""

import asyncio
import contextlib
import re
from collections.abc import AsyncGenerator, Callable

import msgspec

from jobs.model.questions import StderrTail
from jobs.model.states import JobState, TaskState
from jobs.model.units import parse_duration
from manta.catalog.job_scripts.attempts import earlier_attempts
from manta.catalog.task_records import TaskRow
from manta.core import limits
from manta.core.errors import InvalidArgument, NodeUnavailable, NoSuchJob
from manta.gateway.context import Context
from manta.gateway.http.request import Request
from manta.gateway.http.responses import ChunkedResponse, Response
from manta.gateway.jobs import read_stderr
from manta.gateway.long_requests import Streams, counted, must_end
from manta.gateway.ops.job_common import find_job

TEXT = "text/plain; charset=utf-8"
NEXT_HEADER = "X-Manta-Next"
_LOOK_S = 0.25
_PLACE = re.compile(r"([0-9]{1,9}):([0-9]{1,18})", re.ASCII)


class Place(msgspec.Struct, frozen=True):
    """How far a task was heard: that many bytes of that attempt."""

    attempt: int = 0
    said: int = 0

    def __str__(self) -> str:
        return f"{self.attempt}:{self.said}"

    def beyond(self, tail: StderrTail) -> tuple[bytes, "Place"]:
        """What of the tail was not heard, and the place behind it. What moved out of it unheard is gone."""
        attempt = tail.attempt or self.attempt
        heard = self.said if attempt == self.attempt else 0
        if tail.said <= heard:
            return b"", self
        return tail.data[-(tail.said - heard) :], Place(attempt, tail.said)


async def task_stderr(context: Context, request: Request) -> Response:
    """See above; read from the node that ran the task. NodeUnavailable while that is away; SlowDown when this gateway
    serves as many as it can that follow or wait."""
    view = await find_job(context, request)
    number = request.params["task"]
    if not (number.isascii() and number.isdigit() and len(number) < 19):
        raise InvalidArgument(f"A task has a number, not {number[:40]!r}.")
    task = await context.catalog.jobs.get_task(view.job_id, int(number))
    if request.query.get("follow", "0") not in ("", "0", "false"):
        return ChunkedResponse(200, {"Content-Type": TEXT}, counted(context, request, _follow(context, task)))
    if "wait" in request.query:
        return await _next_piece(context, request, task)
    if not task.node_id:
        raise NoSuchJob(f"Task {task.task_id} of job {view.job_id} has not run: it has said nothing.")
    return Response(200, None, (await read_stderr(context, task.node_id, view.job_id, task.task_id)).data, TEXT)


async def _next_piece(context: Context, request: Request, task: TaskRow) -> Response:
    until_s = context.clock.monotonic_s() + min(parse_duration(request.query["wait"], "wait"), limits.JOB_WAIT_MAX_S)
    place = _parse_place(request.query.get("after", ""))

    def is_over() -> bool:
        return must_end(context, until_s) or request.is_abandoned()

    with context.shared(Streams).taken(request.account_id):
        said, behind, ended = await _listen(context, task, place, is_over)
    return Response(200, None if ended else {NEXT_HEADER: str(behind)}, said, TEXT)


async def _follow(context: Context, task: TaskRow) -> AsyncGenerator[bytes, None]:
    until_s = context.clock.monotonic_s() + limits.EVENT_STREAM_S
    place, ended = Place(), False
    while not ended and not must_end(context, until_s):
        said, place, ended = await _listen(context, task, place, lambda: must_end(context, until_s))
        if said:
            yield said


async def _listen(
    context: Context, task: TaskRow, place: Place, is_over: Callable[[], bool]
) -> tuple[bytes, Place, bool]:
    """Like `_look`, once the task says something or no more; or once `is_over`."""
    while True:
        said, behind, ended = await _look(context, task, place)
        if said or ended or is_over():
            return said, behind, ended
        await asyncio.sleep(_LOOK_S)


async def _look(context: Context, task: TaskRow, place: Place) -> tuple[bytes, Place, bool]:
    """What the task has said beyond that place, the place behind it, and whether it says no more. NodeUnavailable where
    the rest of what it said lies on a node that is away."""
    try:
        task = await context.catalog.jobs.get_task(task.job_id, task.task_id)
        job = await context.catalog.jobs.get_job(task.job_id)
    except NoSuchJob:
        return b"", place, True
    ended = TaskState(task.state).ended or JobState(job.state).ended
    rest, place = await _rest_of_attempt(context, task, place)
    if not task.node_id:
        return rest, place, ended
    try:
        tail = await read_stderr(context, task.node_id, task.job_id, task.task_id)
    except NodeUnavailable:
        if ended and not rest:
            raise
        return rest, place, False
    said, behind = place.beyond(tail)
    return rest + said, behind, ended


async def _rest_of_attempt(context: Context, task: TaskRow, place: Place) -> tuple[bytes, Place]:
    """What the attempt that was heard last said at its end, where it is not the one in the row any more."""
    for one in earlier_attempts(task):
        if one.attempt == place.attempt:
            with contextlib.suppress(NodeUnavailable):
                return place.beyond(await read_stderr(context, one.node_id, task.job_id, task.task_id, one.attempt))
    return b"", place


def _parse_place(text: str) -> Place:
    if not text:
        return Place()
    if (parts := _PLACE.fullmatch(text)) is None:
        raise InvalidArgument(f"`after` is a place as {NEXT_HEADER} names it, not {text[:40]!r}.")
    return Place(int(parts[1]), int(parts[2]))
