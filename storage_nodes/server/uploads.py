"""Bodies that stream into a file: collected to whole blocks, written by a worker while the next block arrives."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence

from aiohttp import web

from manta.core.checksums import Buffer
from manta.core.errors import IncompleteBody
from manta.core.limits import BLOCK_BYTES, BODY_IDLE_TIMEOUT_S
from storage_nodes.server.workers import Workers

Write = Callable[[Sequence[Buffer]], None]


async def chunks_of(request: web.BaseRequest) -> AsyncIterator[bytes]:
    """The body's bytes as they arrive. IncompleteBody when the sender gave up or fell silent."""
    try:
        while True:
            async with asyncio.timeout(BODY_IDLE_TIMEOUT_S):
                data = await request.content.readany()
            if not data:
                return
            yield data
    except (web.RequestPayloadError, ConnectionError, TimeoutError):
        raise IncompleteBody from None


async def pump(chunks: AsyncIterator[bytes], write: Write, workers: Workers) -> None:
    """Hand all of `chunks` to `write`, a block at a time, in order; at most two blocks are held."""
    writing: asyncio.Task[None] | None = None
    held: list[Buffer] = []
    size = 0
    try:
        async for data in chunks:
            held.append(data)
            size += len(data)
            if size >= BLOCK_BYTES:
                if writing is not None:
                    await writing
                writing = asyncio.create_task(_write(workers, write, held))
                held, size = [], 0
    finally:
        if writing is not None:
            await writing
    if held:
        await _write(workers, write, held)


async def _write(workers: Workers, write: Write, chunks: list[Buffer]) -> None:
    await workers.run(lambda: write(chunks))


async def receive(request: web.BaseRequest, write: Write, workers: Workers) -> None:
    """Ask for the call's body, where the sender waits to be asked, and pump it."""
    if request.headers.get("expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        # The reply itself has not begun.
        request.writer.output_size = 0
    await pump(chunks_of(request), write, workers)
