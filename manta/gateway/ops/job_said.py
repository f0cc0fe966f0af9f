"""What all tasks of a job say on stderr, as they say it: `GET /jobs/{id}/stderr?follow=1`, NDJSON.

    {"task": 7, "text": "…", "ended": false}     a piece, not always a whole line; `ended`: the attempt says no more
    {"reached": "node-1", "number": 17}          what came so far of that node
    {"missing": "node-1"}                        pieces of that node may be gone: too fast, or it restarted or is away
    {"refused": "node-1", "message": "…"}        too many jobs are followed on that node now; it is asked again
    {"over": true}                               nobody says anything any more: the last line

An empty line says that the stream lives. One that ends without `over` is gone on with at any gateway, with
`after=node-1:17,node-2:4`: the last number reached of each node. What it had sent behind those numbers comes again.
"""

import asyncio
import contextlib
import re
from collections.abc import AsyncGenerator, Mapping

import msgspec

from jobs.model.questions import StderrNews
from jobs.model.states import JobState
from manta.catalog.job_records import JobView
from manta.core import limits
from manta.core.errands import give_up
from manta.core.errors import InvalidArgument, MantaError, NoSuchJob, SlowDown
from manta.gateway.context import Context
from manta.gateway.http.request import Request
from manta.gateway.http.responses import NDJSON, ChunkedResponse, Response
from manta.gateway.jobs import read_news
from manta.gateway.long_requests import counted, must_end
from manta.gateway.ops.job_common import find_job

_AGAIN_S = 1.0
_LAST_TRIES = 5
"""Of a job that has ended, until there is a place for it, or its node is back: more than limits.FEED_QUIET_S."""
_SILENCE_S = 0.5
_LOOK_S = 2.0
"""How often new nodes are looked for while there is always something to tell."""
_QUEUED = 16
_REACHED = re.compile(r"([^:,]+):([0-9]{1,18})", re.ASCII)
_encode = msgspec.json.Encoder().encode


async def job_stderr(context: Context, request: Request) -> Response:
    """The stream. SlowDown when this gateway has limits.EVENT_STREAMS_MAX of them."""
    view = await find_job(context, request)
    if request.query.get("follow", "0") in ("", "0", "false"):
        raise InvalidArgument("Say `follow=1`, or ask for one task's: /jobs/{id}/tasks/{task}/stderr.")
    reached = _parse_reached(request.query.get("after", ""))
    return ChunkedResponse(200, {"Content-Type": NDJSON}, counted(context, request, _said(context, view, reached)))


async def _said(context: Context, view: JobView, reached: Mapping[str, int]) -> AsyncGenerator[bytes, None]:
    """One listener for each node, one queue for all; at the job's end each node is asked once more."""
    until_s = context.clock.monotonic_s() + limits.EVENT_STREAM_S
    queue: asyncio.Queue[bytes] = asyncio.Queue(_QUEUED)
    ended = asyncio.Event()
    listeners: dict[str, asyncio.Task[None]] = {}
    try:
        while True:
            for node in await context.catalog.list_nodes():
                if node.node_id not in listeners:
                    work = _listen(context, node.node_id, view, reached.get(node.node_id, 0), queue, ended)
                    listeners[node.node_id] = asyncio.create_task(work, name=f"stderr-{node.node_id}")
            look_s = min(until_s, context.clock.monotonic_s() + _LOOK_S)
            with contextlib.suppress(TimeoutError):
                while not must_end(context, look_s):
                    async with asyncio.timeout(_SILENCE_S):
                        chunk = await queue.get()
                    yield chunk
            yield b"\n"
            if all(task.done() for task in listeners.values()) and queue.empty():
                yield _line({"over": True})
                return
            if must_end(context, until_s):
                return
            if not ended.is_set() and await _is_over(context, view.job_id):
                ended.set()
    finally:
        await give_up(listeners.values())


async def _is_over(context: Context, job_id: str) -> bool:
    try:
        return JobState((await context.catalog.jobs.get_job(job_id)).state).ended
    except NoSuchJob:
        return True


async def _listen(
    context: Context, node_id: str, view: JobView, after: int, queue: asyncio.Queue[bytes], ended: asyncio.Event
) -> None:
    """A node that does not answer, or has no place for one more, is asked again, until the job has ended; then for a
    while if it was heard before: what it said last is missing otherwise."""
    refused, tries, heard = False, 0, after > 0
    while True:
        last = ended.is_set()
        try:
            news = await read_news(context, node_id, view, after, wait=not last)
        except MantaError as error:
            if isinstance(error, SlowDown) and not refused:
                refused = True
                await queue.put(_line({"refused": node_id, "message": error.message}))
            tries += last
            if last and (tries > _LAST_TRIES or not (refused or heard)):
                if heard:
                    await queue.put(_line({"missing": node_id}))
                return
            await asyncio.sleep(_AGAIN_S)
            continue
        refused = False
        heard = heard or bool(news.pieces)
        if news.pieces or (news.missing and heard):
            await queue.put(_lines(node_id, news))
        elif last:
            return
        after = news.last


def _lines(node_id: str, news: StderrNews) -> bytes:
    lines: list[object] = [{"missing": node_id}] if news.missing else []
    lines += [
        {"task": one.task_id, "text": one.data.decode("utf-8", "replace"), "ended": one.ended} for one in news.pieces
    ]
    lines.append({"reached": node_id, "number": news.last})
    return b"".join(_line(line) for line in lines)


def _line(value: object) -> bytes:
    return _encode(value) + b"\n"


def _parse_reached(text: str) -> dict[str, int]:
    """The number of each node. Nodes that are not there are none of ours."""
    parts = [_REACHED.fullmatch(part) for part in text.split(",") if part]
    if not all(parts):
        raise InvalidArgument(f"`after` names nodes and numbers, `node-1:17,node-2:4`, not {text[:40]!r}.")
    return {part[1]: int(part[2]) for part in parts if part is not None}
