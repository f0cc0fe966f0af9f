"""What all tasks of a job say on stderr, as they say it: `GET /jobs/{id}/stderr?follow=1`, NDJSON.

    {"task": 7, "text": "…", "ended": false}     a piece, not always a whole line; `ended`: the attempt says no more
    {"missing": "node-1"}                        some pieces of that node are gone, since they came too fast
    {"refused": "node-1", "message": "…"}        too many jobs are followed on that node now; it is asked again

An empty line says that the stream lives.
"""

import asyncio
import codecs
import contextlib
from collections.abc import AsyncGenerator

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
from manta.gateway.ops.job_common import find_job
from manta.gateway.ops.job_events import counted

_AGAIN_S = 1.0
_LAST_TRIES = 5
"""Of a job that has ended, until there is a place for it: more than limits.FEED_QUIET_S."""
_SILENCE_S = 0.5
_QUEUED = 16
_UTF8 = codecs.getincrementaldecoder("utf-8")
_encode = msgspec.json.Encoder().encode


async def job_stderr(context: Context, request: Request) -> Response:
    """The stream. SlowDown when this gateway has limits.EVENT_STREAMS_MAX of them."""
    view = await find_job(context, request)
    if request.query.get("follow", "0") in ("", "0", "false"):
        raise InvalidArgument("Say `follow=1`, or ask for one task's: /jobs/{id}/tasks/{task}/stderr.")
    return ChunkedResponse(200, {"Content-Type": NDJSON}, counted(context, request, _said(context, view)))


async def _said(context: Context, view: JobView) -> AsyncGenerator[bytes, None]:
    """One listener for each node, one queue for all; at the job's end each node is asked once more."""
    until_s = context.clock.monotonic_s() + limits.EVENT_STREAM_S
    queue: asyncio.Queue[bytes] = asyncio.Queue(_QUEUED)
    ended = asyncio.Event()
    listeners: dict[str, asyncio.Task[None]] = {}
    try:
        while True:
            for node in await context.catalog.list_nodes():
                if node.node_id not in listeners:
                    work = _listen(context, node.node_id, view, queue, ended)
                    listeners[node.node_id] = asyncio.create_task(work, name=f"stderr-{node.node_id}")
            with contextlib.suppress(TimeoutError):
                while True:
                    async with asyncio.timeout(_SILENCE_S):
                        chunk = await queue.get()
                    yield chunk
            yield b"\n"
            if all(task.done() for task in listeners.values()) and queue.empty():
                return
            if context.draining.is_set() or context.clock.monotonic_s() > until_s:
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
    context: Context, node_id: str, view: JobView, queue: asyncio.Queue[bytes], ended: asyncio.Event
) -> None:
    """A node that does not answer, or has no place for one more, is asked again, until the job has ended."""
    after, refused, tries = 0, False, 0
    texts = _Texts(node_id)
    while True:
        last = ended.is_set()
        try:
            news = await read_news(context, node_id, view, after, wait=not last)
        except MantaError as error:
            if isinstance(error, SlowDown) and not refused:
                refused = True
                await queue.put(_encode({"refused": node_id, "message": error.message}) + b"\n")
            tries += last
            if last and (not refused or tries > _LAST_TRIES):
                return
            await asyncio.sleep(_AGAIN_S)
            continue
        refused = False
        if news.pieces:
            await queue.put(texts.lines(news))
        elif last:
            return
        after = news.last


class _Texts:
    """Pieces of bytes as text: a letter may lie across two of them."""

    def __init__(self, node_id: str) -> None:
        self._node_id = node_id
        self._decoders: dict[int, codecs.IncrementalDecoder] = {}

    def lines(self, news: StderrNews) -> bytes:
        lines: list[object] = [{"missing": self._node_id}] if news.missing else []
        lines += [
            {"task": one.task_id, "text": self._text(one.task_id, one.data, one.ended), "ended": one.ended}
            for one in news.pieces
        ]
        return b"".join(_encode(line) + b"\n" for line in lines)

    def _text(self, task_id: int, data: bytes, ended: bool) -> str:
        decoder = self._decoders.pop(task_id, None) or _UTF8("replace")
        if not ended:
            self._decoders[task_id] = decoder
        return decoder.decode(data, ended)
