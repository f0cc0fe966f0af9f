"""Bodies of known size, taken straight from the socket into two buffers: not parsed, not copied.

A call that says `x-manta-body: SIZE` has no HTTP body. Its sender waits for `100 Continue`, then sends SIZE bytes.
While they come, this protocol stands in for aiohttp's. One buffer fills while a worker writes the other.
"""

import asyncio

from aiohttp import web

from manta.core.errors import IncompleteBody
from manta.core.limits import BLOCK_BYTES, BODY_IDLE_TIMEOUT_S
from storage_nodes.uploads import Write
from storage_nodes.workers import Workers

HEADER = "x-manta-body"


class RawBody(asyncio.BufferedProtocol):
    """`next_block` hands out the body in blocks; each is good until the next call."""

    def __init__(self, transport: asyncio.Transport, usual: asyncio.BaseProtocol, size: int) -> None:
        self._transport = transport
        self._usual = usual
        self._left = size
        self._filling = memoryview(bytearray(min(size, BLOCK_BYTES)))
        self._spare = memoryview(bytearray(min(size, BLOCK_BYTES)))
        self._filled = 0
        self._received = 0
        self._ended = False
        self._wake = asyncio.Event()

    def get_buffer(self, _sizehint: int) -> memoryview:
        return self._filling[self._filled : self._filled + self._left]

    def buffer_updated(self, nbytes: int) -> None:
        self._filled += nbytes
        self._received += nbytes
        self._left -= nbytes
        if self._is_ready():
            self._transport.pause_reading()
            self._wake.set()

    def eof_received(self) -> bool:
        self._end()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._end()
        self._usual.connection_lost(exc)

    def pause_writing(self) -> None:
        self._usual.pause_writing()

    def resume_writing(self) -> None:
        self._usual.resume_writing()

    async def next_block(self) -> memoryview:
        """The next block, shorter only at the end. IncompleteBody if the sender gave up or fell silent."""
        while not self._is_ready():
            if self._ended:
                raise IncompleteBody
            self._wake.clear()
            await self._progress()
        block = self._filling[: self._filled]
        self._filling, self._spare = self._spare, self._filling
        self._filled = 0
        if self._left:
            self._transport.resume_reading()
        return block

    async def _progress(self) -> None:
        before = self._received
        try:
            async with asyncio.timeout(BODY_IDLE_TIMEOUT_S):
                await self._wake.wait()
        except TimeoutError:
            if self._received == before:
                raise IncompleteBody from None

    def _is_ready(self) -> bool:
        return self._filled == len(self._filling) or (not self._left and self._filled > 0)

    def _end(self) -> None:
        self._ended = True
        self._wake.set()


async def receive(request: web.BaseRequest, size: int, write: Write, workers: Workers) -> None:
    """Ask for the body and hand all of it to `write`. After a failure the connection is not used again."""
    transport = request.transport
    if not isinstance(transport, asyncio.Transport):
        raise IncompleteBody
    usual = transport.get_protocol()
    body = RawBody(transport, usual, size)
    transport.set_protocol(body)
    try:
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        # The reply itself has not begun.
        request.writer.output_size = 0
        await _pump(body, size, write, workers)
    except BaseException:
        request.protocol.close()
        raise
    finally:
        transport.set_protocol(usual)
        transport.resume_reading()


async def _pump(body: RawBody, size: int, write: Write, workers: Workers) -> None:
    done = 0
    while done < size:
        block = await body.next_block()
        await workers.run(lambda chunk=block: write([chunk]))  # type: ignore[misc]
        done += len(block)
