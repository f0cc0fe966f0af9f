"""Replies that may take minutes: begun after a while, kept alive by blanks, ended by the result or the error.

S3 does the same for CompleteMultipartUpload and copies: the status is 200 by then, so the client looks into the body.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine

from manta.core.errors import InternalError, MantaError, SlowDown
from manta.core.limits import LONG_WORKS_MAX, REPLY_QUIET_S
from manta.gateway.http import xml
from manta.gateway.http.request import Request
from manta.gateway.http.responses import XML, ChunkedResponse, Response

_log = logging.getLogger(__name__)

_running: set["asyncio.Task[Response]"] = set()
"""Kept here until they end: the work goes on when the client does not wait for it, and its retry finds the result."""


async def reply_in_time(
    request: Request, work: Coroutine[None, None, Response], quiet_s: float = REPLY_QUIET_S
) -> Response:
    """The reply of `work` as it is, if that comes within `quiet_s`; else one that begins now and ends with it.

    `work` must answer with XML in memory. It is not cancelled when the client goes away; so that nobody can heap up
    work by going away, there is a bound to it. SlowDown.
    """
    if len(_running) >= LONG_WORKS_MAX:
        work.close()
        raise SlowDown
    task = asyncio.create_task(work)
    _running.add(task)
    task.add_done_callback(_ended)
    done, _ = await asyncio.wait([task], timeout=quiet_s)
    if done:
        return task.result()
    return ChunkedResponse(200, {"Content-Type": XML}, _late(request, task, quiet_s))


def _ended(task: "asyncio.Task[Response]") -> None:
    _running.discard(task)
    if not task.cancelled():
        task.exception()  # Looked at, so that asyncio does not complain when nobody waits for it any more.


async def _late(request: Request, task: "asyncio.Task[Response]", quiet_s: float) -> AsyncIterator[bytes]:
    yield xml.HEADER.encode()
    while not (await asyncio.wait([task], timeout=quiet_s))[0]:
        yield b" "
    try:
        text = task.result().body.decode()
    except MantaError as error:
        text = xml.error_document(error, request.resource, request.id)
    except Exception:
        _log.exception("Request %s (%s) failed after its reply had begun.", request.id, request.resource)
        text = xml.error_document(InternalError(), request.resource, request.id)
    yield text.removeprefix(xml.HEADER).encode()
