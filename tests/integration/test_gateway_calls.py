"""A node's calls to a gateway over real sockets: how many connections they take."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

from jobs.agent.uplink.transport import HttpGateway
from jobs.model.wire import ReportReply, ReportRequest, pack
from manta.core.clock import SystemClock
from tests.support.agent import KEY

NOTHING = ReportRequest("node-1", "epoch-1", ())


@dataclass
class CountingGateway:
    """Takes every report; with `closes` each on a connection of its own."""

    closes: bool = False
    adds: bytes = b""
    """Sent behind each answer, though nobody asked for it."""
    connections: int = 0
    open: set[asyncio.StreamWriter] = field(default_factory=set)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open.add(writer)
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(line for line in head.split(b"\r\n") if line.startswith(b"content-length:"))
                await reader.readexactly(int(length.split(b":")[1]))
                body = pack(ReportReply())
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b%b" % (len(body), body, self.adds))
                if self.closes:
                    break
        self.open.discard(writer)
        writer.close()


@contextlib.asynccontextmanager
async def calling(folder: Path, gateway: CountingGateway) -> AsyncIterator[HttpGateway]:
    server = await asyncio.start_unix_server(gateway.answer, folder / "socket")
    client = HttpGateway(f"unix:{folder}/socket", "node-1", KEY, SystemClock())
    try:
        yield client
    finally:
        await client.close()
        for writer in gateway.open:
            writer.close()
        server.close()
        await server.wait_closed()


async def test_calls_after_one_another_share_a_connection(tmp_path: Path) -> None:
    gateway = CountingGateway()
    async with calling(tmp_path, gateway) as client:
        for _ in range(5):
            await client.call("report", NOTHING, ReportReply, 5.0)
    assert gateway.connections == 1


async def test_a_connection_that_the_gateway_closed_is_not_used_again(tmp_path: Path) -> None:
    gateway = CountingGateway(closes=True)
    async with calling(tmp_path, gateway) as client:
        await client.call("report", NOTHING, ReportReply, 5.0)
        async with asyncio.timeout(10):
            while gateway.open:
                await asyncio.sleep(0.01)
        await client.call("report", NOTHING, ReportReply, 5.0)
    assert gateway.connections == 2


async def test_a_connection_on_which_more_came_than_the_answer_is_not_used_again(tmp_path: Path) -> None:
    """It would be taken for the answer to the next call."""
    gateway = CountingGateway(adds=b"HTTP/1.1 409 Conflict\r\ncontent-length: 0\r\n\r\n")
    async with calling(tmp_path, gateway) as client:
        for _ in range(2):
            await client.call("report", NOTHING, ReportReply, 5.0)
    assert gateway.connections == 2
