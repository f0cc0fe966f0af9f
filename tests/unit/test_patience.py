"""Replies that take long: begun before the result is known, ended by it, whatever it is."""

import asyncio
from typing import cast

import pytest

from manta.core.errors import SlowDown
from manta.gateway.http import patience, xml
from manta.gateway.http.patience import reply_in_time
from manta.gateway.http.request import Request
from manta.gateway.http.responses import ChunkedResponse, Response, xml_response
from tests.support.replies import MemoryConnection

QUIET_S = 0.001


class FakeRequest:
    id = "ID"
    resource = "/bucket/key"


def request() -> Request:
    return cast(Request, FakeRequest())


async def body_of(response: Response) -> bytes:
    """The body with its chunks put together."""
    connection = MemoryConnection()
    await response.write_body(connection)
    await response.close()
    rest, body = connection.data, b""
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        body += rest[: int(size, 16)]
        rest = rest[int(size, 16) + 2 :]
    return body


async def test_quick_result_is_the_reply_itself() -> None:
    async def work() -> Response:
        return xml_response(xml.document("Done", ""), 200)

    response = await reply_in_time(request(), work())
    assert type(response) is Response


async def test_quick_error_keeps_its_status() -> None:
    async def work() -> Response:
        raise SlowDown

    with pytest.raises(SlowDown):
        await reply_in_time(request(), work())


async def late(outcome: Response | Exception) -> bytes:
    begun = asyncio.Event()

    async def work() -> Response:
        await begun.wait()
        for _ in range(3):
            await asyncio.sleep(QUIET_S * 2)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    response = await reply_in_time(request(), work(), QUIET_S)
    assert isinstance(response, ChunkedResponse)
    assert response.status == 200
    begun.set()
    return await body_of(response)


async def test_late_result_comes_after_blanks() -> None:
    document = xml.document("Done", "<A>1</A>")
    body = await late(xml_response(document))
    assert body.replace(b" ", b"") == document.encode().replace(b" ", b"")
    assert body.startswith(xml.HEADER.encode() + b" ")
    assert xml.parse(body, "Done").findtext("A") == "1"


@pytest.mark.parametrize(("error", "code"), [(SlowDown(), "SlowDown"), (ValueError("secret"), "InternalError")])
async def test_late_error_is_in_the_body(error: Exception, code: str) -> None:
    body = await late(error)
    assert xml.parse(body, "Error").findtext("Code") == code
    assert b"secret" not in body


async def test_work_goes_on_when_nobody_waits() -> None:
    begun, done = asyncio.Event(), asyncio.Event()

    async def work() -> Response:
        await begun.wait()
        done.set()
        return Response()

    waiting = asyncio.create_task(reply_in_time(request(), work()))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    begun.set()
    async with asyncio.timeout(10):
        await done.wait()


@pytest.mark.invariant("S3")
async def test_work_that_clients_left_behind_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "LONG_WORKS_MAX", 2)
    go_on = asyncio.Event()

    async def work() -> Response:
        await go_on.wait()
        return xml_response("<Done/>")

    late = [await reply_in_time(request(), work(), QUIET_S) for _ in range(2)]
    with pytest.raises(SlowDown):
        await reply_in_time(request(), work(), QUIET_S)
    go_on.set()
    assert all([(await body_of(reply)).endswith(b"<Done/>") for reply in late])
    assert (await reply_in_time(request(), work())).status == 200
