"""Bounds of a node's listener: connections, the time a first call may take, and bodies that stop coming."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from storage_nodes.server.bounded import BoundedServer


async def answer(_request: web.BaseRequest) -> web.StreamResponse:
    return web.Response(body=b"fine")


@asynccontextmanager
async def listening(server: BoundedServer) -> AsyncIterator[int]:
    runner = web.ServerRunner(server)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()


async def ask(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\r\nhost: node\r\n\r\n")
    return reader, writer


async def end(writer: asyncio.StreamWriter) -> None:
    writer.close()
    await asyncio.gather(writer.wait_closed(), return_exceptions=True)


@pytest.mark.invariant("S3")
async def test_s3_connections_beyond_the_bound_are_refused_until_one_ends() -> None:
    async with listening(BoundedServer(answer, connections_max=2)) as port:
        kept = [await ask(port) for _ in range(2)]
        for reader, _ in kept:
            assert b"200" in await reader.readline()
        refused, writer = await ask(port)
        ended = await asyncio.gather(refused.read(), return_exceptions=True)
        assert ended[0] == b"" or isinstance(ended[0], ConnectionError)
        await end(writer)
        for _, writer in kept:
            await end(writer)
        async with asyncio.timeout(20):
            while True:
                reader, writer = await ask(port)
                line = await asyncio.gather(reader.readline(), return_exceptions=True)
                await end(writer)
                if isinstance(line[0], bytes) and b"200" in line[0]:
                    break


@pytest.mark.invariant("S3")
async def test_s3_a_first_call_that_never_ends_is_cut_off_and_a_good_one_is_not() -> None:
    async with listening(BoundedServer(answer, deadline_s=0.2)) as port:
        good, good_writer = await ask(port)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nhost")
        ended = await asyncio.gather(reader.read(), return_exceptions=True)
        assert ended[0] == b"" or isinstance(ended[0], ConnectionError)
        assert b"200" in await good.readline()
        good_writer.write(b"GET / HTTP/1.1\r\nhost: node\r\n\r\n")
        await good.readuntil(b"fine")
        assert b"200" in await good.readuntil(b"fine")
        await end(writer)
        await end(good_writer)
