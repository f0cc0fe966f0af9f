"""Large bodies that go past aiohttp: the connection stays in order, whatever becomes of the body."""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator

import pytest

from manta.core.checksums import Buffer
from manta.core.errors import NotEnoughNodes
from manta.core.limits import MIB, RING_BYTES, RING_MIN_BYTES
from manta.gateway.http import straight
from storage_nodes.ring import Rings
from storage_nodes.server import raw_body
from tests.support.gateway import (
    MemoryBlobs,
    MemorySink,
    RunningGateway,
    Wire,
    line,
    running_gateway,
    signed_request,
    stored,
    wire,
)

__all__ = ["line"]

LARGE = os.urandom(2 * RING_BYTES + 12_345)


@pytest.fixture
def rings(monkeypatch: pytest.MonkeyPatch) -> Rings:
    """Those of the test: of one body at a time."""
    made = Rings(1)
    monkeypatch.setattr(straight, "rings", made)
    return made


@pytest.fixture
async def gateway(rings: Rings) -> AsyncIterator[RunningGateway]:
    async with running_gateway() as running:
        await running.context.catalog.create_bucket("bkt", "root", 1)
        yield running


async def check_in_order(gateway: RunningGateway, line: Wire) -> None:
    """The connection takes a large body, a small one, and gives them back."""
    assert (await line.ask(signed_request(gateway, "PUT", "/bkt/large", LARGE))).status == 200
    assert (await line.ask(signed_request(gateway, "PUT", "/bkt/small", b"small"))).status == 200
    assert (await line.ask(signed_request(gateway, "GET", "/bkt/large"))).body == LARGE
    assert (await line.ask(signed_request(gateway, "GET", "/bkt/small"))).body == b"small"


@pytest.mark.parametrize("size", [RING_MIN_BYTES, RING_MIN_BYTES + 1, RING_BYTES, len(LARGE)])
async def test_large_bodies_share_one_ring_in_turn(
    gateway: RunningGateway, line: Wire, rings: Rings, size: int
) -> None:
    for name, body in (("a", LARGE[:size]), ("b", LARGE[-size:])):
        reply = await line.ask(signed_request(gateway, "PUT", f"/bkt/{name}", body))
        assert (reply.status, reply.headers["etag"]) == (200, f'"{hashlib.md5(body).hexdigest()}"')
        assert stored(gateway)[-1] == body
    assert (await line.ask(signed_request(gateway, "HEAD", "/bkt/a"))).status == 200
    used = rings.take()
    assert used is not None
    assert any(used[:MIB]), "the only ring there is was not used"


async def test_requests_behind_a_large_body_are_answered_in_order(gateway: RunningGateway, line: Wire) -> None:
    requests = [signed_request(gateway, "PUT", "/bkt/k", LARGE), signed_request(gateway, "GET", "/bkt/k")]
    sending = asyncio.create_task(line.send(b"".join(requests * 2)))
    replies = [await line.reply() for _ in range(4)]
    await sending
    assert [reply.status for reply in replies] == [200] * 4
    assert replies[1].body == replies[3].body == LARGE


async def test_a_large_body_waits_to_be_asked_for(gateway: RunningGateway, line: Wire) -> None:
    headers = {"Expect": "100-continue", "Content-Length": str(len(LARGE))}
    await line.send(signed_request(gateway, "PUT", "/bkt/k", headers=headers))
    assert await line.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert (await line.ask(LARGE)).status == 200
    await check_in_order(gateway, line)


async def test_while_all_rings_are_in_use_bodies_go_the_usual_way(
    gateway: RunningGateway, line: Wire, rings: Rings
) -> None:
    taken = rings.take()
    await check_in_order(gateway, line)
    assert taken is not None
    rings.give_back(taken)


async def test_a_slow_sender_fills_no_block_and_is_served(
    gateway: RunningGateway, line: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(raw_body, "BODY_GATHER_S", 0.02)
    sink = WatchedSink.put_into(gateway, monkeypatch)
    request = signed_request(gateway, "PUT", "/bkt/k", LARGE)
    head = len(request) - len(LARGE)
    await line.send(request[: head + 1000])
    await sink.has(1000)
    await line.send(request[head + 1000 : head + MIB + 7])
    await sink.has(MIB + 7)
    await line.send(request[head + MIB + 7 :])
    assert (await line.reply()).status == 200
    assert stored(gateway) == [LARGE]


@pytest.mark.invariant("D3")
@pytest.mark.parametrize("abort", [True, False])
async def test_d3_a_large_body_that_breaks_off_is_not_stored(
    gateway: RunningGateway, line: Wire, monkeypatch: pytest.MonkeyPatch, abort: bool
) -> None:
    sink = WatchedSink.put_into(gateway, monkeypatch)
    request = signed_request(gateway, "PUT", "/bkt/k", LARGE)
    await line.send(request[: 5 * MIB])
    await sink.has(4 * MIB)
    if abort:
        line.writer.transport.abort()
    else:
        line.writer.write_eof()
    async with asyncio.timeout(20):
        await sink.aborted.wait()
    assert not (await gateway.context.catalog.list_objects("bkt")).objects
    async with wire(gateway) as another:
        monkeypatch.undo()
        await check_in_order(gateway, another)


async def test_a_silent_sender_is_given_up(
    gateway: RunningGateway, line: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(raw_body, "BODY_GATHER_S", 0.01)
    monkeypatch.setattr(raw_body, "BODY_IDLE_TIMEOUT_S", 0.05)
    monkeypatch.setattr("manta.gateway.http.server.LINGER_S", 0.01)
    async with wire(gateway) as silent:
        await silent.send(signed_request(gateway, "PUT", "/bkt/k", LARGE)[: 3 * MIB])
        reply = await silent.reply()
        assert (reply.status, reply.code) == (400, "IncompleteBody")
        assert await silent.reader.read() == b""


async def test_other_bytes_than_were_signed_are_refused_and_the_connection_kept(
    gateway: RunningGateway, line: Wire
) -> None:
    wrong = hashlib.sha256(b"other").hexdigest()
    refused = await line.ask(signed_request(gateway, "PUT", "/bkt/k", LARGE, payload=wrong))
    assert (refused.status, refused.code) == (400, "XAmzContentSHA256Mismatch")
    right = signed_request(gateway, "PUT", "/bkt/k", LARGE, payload=hashlib.sha256(LARGE).hexdigest())
    assert (await line.ask(right)).status == 200
    await check_in_order(gateway, line)


async def test_a_large_body_that_storage_refuses_is_read_away_and_the_connection_kept(
    gateway: RunningGateway, line: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(_sink: MemorySink, _data: Buffer) -> None:
        raise NotEnoughNodes

    monkeypatch.setattr(MemorySink, "write", refuse)
    assert (await line.ask(signed_request(gateway, "PUT", "/bkt/k", LARGE))).status == 503
    monkeypatch.undo()
    await check_in_order(gateway, line)


class WatchedSink(MemorySink):
    """Says how much has reached it."""

    def __init__(self, blobs: MemoryBlobs) -> None:
        super().__init__(blobs)
        self.aborted = asyncio.Event()
        self._changed = asyncio.Condition()

    @classmethod
    def put_into(cls, gateway: RunningGateway, monkeypatch: pytest.MonkeyPatch) -> "WatchedSink":
        """The next stream of the gateway goes here."""
        assert isinstance(gateway.context.blobs, MemoryBlobs)
        sink = cls(gateway.context.blobs)

        async def open_put(_blobs: MemoryBlobs, _size: int | None) -> WatchedSink:
            return sink

        monkeypatch.setattr(MemoryBlobs, "open_put", open_put)
        return sink

    async def write(self, data: Buffer) -> None:
        await super().write(data)
        async with self._changed:
            self._changed.notify_all()

    async def abort(self) -> None:
        self.aborted.set()

    async def has(self, size: int) -> None:
        async with asyncio.timeout(20), self._changed:
            await self._changed.wait_for(lambda: len(self._data) >= size)
