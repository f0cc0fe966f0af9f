"""A job's events as they happen: `GET /jobs/{id}/events`, server-sent events (WHATWG HTML, section 9.2).

    event: job       the job as `GET /jobs/{id}` shows it, at the start and whenever it has moved
    event: failure   one line of its errors
    event: end       the job once it has ended; the stream ends then

The id of an event is the number of the last failure sent. A client that comes back names it in `Last-Event-ID` and
gets the failures since then, none twice.
"""

from collections.abc import AsyncGenerator

import msgspec

from jobs.scheduler.scheduler import Scheduler
from manta.catalog.job_records import JobView
from manta.core import limits
from manta.core.errors import InvalidArgument, NoSuchJob
from manta.gateway.context import Context
from manta.gateway.http.request import Request
from manta.gateway.http.responses import ChunkedResponse, Response
from manta.gateway.long_requests import counted, must_end
from manta.gateway.ops.job_common import find_job, shown_error, shown_job, waits_for

_encode = msgspec.json.Encoder().encode


async def job_events(context: Context, request: Request) -> Response:
    """The stream. SlowDown when this gateway has limits.EVENT_STREAMS_MAX of them, or too many of the account's."""
    view = await find_job(context, request)
    after = _last_event_id(request)
    headers = {"Content-Type": "text/event-stream", "Cache-Control": "no-cache"}
    return ChunkedResponse(200, headers, counted(context, request, _events(context, view, after)))


def _last_event_id(request: Request) -> int:
    text = request.headers.get("last-event-id", "0")
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise InvalidArgument(f"Last-Event-ID is the number of a failure, not {text[:40]!r}.")
    return int(text)


async def _events(context: Context, view: JobView, after: int) -> AsyncGenerator[bytes, None]:
    """Failures come before the job that counts them, so that its numbers are never ahead of what was told."""
    scheduler = context.extra(Scheduler)
    until_s = context.clock.monotonic_s() + limits.EVENT_STREAM_S
    shown: tuple[JobView, str | None] | None = None
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
        now = view, waits_for(context, view)
        yield event("job", after, shown_job(context, view)) if now != shown else b": alive\n\n"
        shown = now
        if must_end(context, until_s):
            return
        try:
            view = await scheduler.wait(view, limits.EVENT_SILENCE_S)
        except NoSuchJob:
            return


def event(name: str, number: int, value: object) -> bytes:
    """One event. JSON has no line ends, so its data is one line."""
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (number, name.encode(), _encode(value))
