"""A job's events as they happen: `GET /jobs/{id}/events`, server-sent events (WHATWG HTML, section 9.2).

    event: job       the job as `GET /jobs/{id}` shows it, at the start and whenever it has moved
    event: failure   one line of its errors
    event: end       the job once it has ended; the stream ends then

The id of an event is the number of the last failure sent. A client that comes back names it in `Last-Event-ID` and
gets the failures since then, none twice.
"""

from collections import Counter
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field

import msgspec

from jobs.scheduler.scheduler import Scheduler
from manta.catalog.job_records import JobView
from manta.core import limits
from manta.core.errors import InvalidArgument, NoSuchJob, SlowDown
from manta.gateway.context import Context
from manta.gateway.http.request import Request
from manta.gateway.http.responses import ChunkedResponse, Response
from manta.gateway.ops.job_common import find_job, shown_error, shown_job

_encode = msgspec.json.Encoder().encode


@dataclass(slots=True)
class Streams:
    """How many streams of events, or of stderr, this gateway serves now, by account; who waits for a piece of stderr
    counts as one."""

    open: Counter[str] = field(default_factory=Counter)


async def job_events(context: Context, request: Request) -> Response:
    """The stream. SlowDown when this gateway has limits.EVENT_STREAMS_MAX of them, or too many of the account's."""
    view = await find_job(context, request)
    after = _last_event_id(request)
    headers = {"Content-Type": "text/event-stream", "Cache-Control": "no-cache"}
    return ChunkedResponse(200, headers, counted(context, request, _events(context, view, after)))


def counted(context: Context, request: Request, chunks: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """`chunks` as one of the gateway's streams. SlowDown when it has no room for one more."""
    return _counted(_with_room(context, request), request.account_id, chunks)


@contextmanager
def stream_place(context: Context, request: Request) -> Iterator[None]:
    """The block is one of the gateway's streams. SlowDown when it has no room for one more."""
    with _one_more(_with_room(context, request), request.account_id):
        yield


def _with_room(context: Context, request: Request) -> Streams:
    streams = context.shared(Streams)
    if streams.open.total() >= limits.EVENT_STREAMS_MAX:
        raise SlowDown("This gateway serves as many streams as it can: ask again, or ask without following.")
    if streams.open[request.account_id] >= limits.EVENT_STREAMS_ACCOUNT_MAX:
        raise SlowDown(f"The account has {limits.EVENT_STREAMS_ACCOUNT_MAX} streams here: end some of them.")
    return streams


@contextmanager
def _one_more(streams: Streams, account_id: str) -> Iterator[None]:
    streams.open[account_id] += 1
    try:
        yield
    finally:
        streams.open[account_id] -= 1
        streams.open += Counter()  # forgets accounts without streams


def must_end(context: Context, until_s: float) -> bool:
    """Whether a stream, or who waits, is answered with what there is: the time is up, or the gateway is to end."""
    return context.draining.is_set() or context.clock.monotonic_s() >= until_s


def _last_event_id(request: Request) -> int:
    text = request.headers.get("last-event-id", "0")
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise InvalidArgument(f"Last-Event-ID is the number of a failure, not {text[:40]!r}.")
    return int(text)


async def _counted(
    streams: Streams, account_id: str, chunks: AsyncGenerator[bytes, None]
) -> AsyncGenerator[bytes, None]:
    with _one_more(streams, account_id):
        async with aclosing(chunks):
            async for chunk in chunks:
                yield chunk


async def _events(context: Context, view: JobView, after: int) -> AsyncGenerator[bytes, None]:
    """Failures come before the job that counts them, so that its numbers are never ahead of what was told."""
    scheduler = context.extra(Scheduler)
    until_s = context.clock.monotonic_s() + limits.EVENT_STREAM_S
    shown: JobView | None = None
    while True:
        lines = await context.catalog.jobs.errors(view.job_id, after, limits.JOB_PAGE_LINES)
        for line in lines:
            after = line.seq
            yield event("failure", after, shown_error(line))
        if len(lines) == limits.JOB_PAGE_LINES:
            continue
        if view.ended_ms is not None:
            yield event("end", after, shown_job(context, view))
            return
        yield event("job", after, shown_job(context, view)) if view != shown else b": alive\n\n"
        shown = view
        if must_end(context, until_s):
            return
        try:
            view = await scheduler.wait(view, limits.EVENT_SILENCE_S)
        except NoSuchJob:
            return


def event(name: str, number: int, value: object) -> bytes:
    """One event. JSON has no line ends, so its data is one line."""
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (number, name.encode(), _encode(value))
