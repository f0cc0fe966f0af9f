"""Bodies of known size, taken straight from the socket into memory that is used in turn: not parsed, not copied.

A call that says `x-manta-body: SIZE` has no HTTP body. Its sender waits for `100 Continue`, then sends SIZE bytes.
While they come, this protocol stands in for aiohttp's. One block fills while a worker writes the other.
"""

import asyncio
import mmap

from aiohttp import web

from manta.core.checksums import Buffer
from manta.core.errors import IncompleteBody
from manta.core.limits import BLOCK_BYTES, BODY_GATHER_S, BODY_IDLE_TIMEOUT_S
from storage_nodes.server.uploads import Write
from storage_nodes.server.workers import Workers

HEADER = "x-manta-body"


class RawBody(asyncio.BufferedProtocol):
    """`next_block` hands out the body in pieces of `memory`, which is some whole blocks, filled in turn.

    The last `kept` bytes handed out stay as they are; what was handed out before them is filled anew.
    """

    def __init__(
        self, transport: asyncio.Transport, usual: asyncio.BaseProtocol, size: int, memory: memoryview, kept: int
    ) -> None:
        self._transport = transport
        self._usual = usual
        self._size = size
        self._memory = memory
        self._ahead = len(memory) - kept
        self._received = 0
        self._given = 0
        self._ended = False
        self._wake = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._heard_s = self._loop.time()

    @property
    def complete(self) -> bool:
        """Whether all of it has come, handed out or not: nothing more is read from the connection then."""
        return self._received == self._size

    @property
    def exhausted(self) -> bool:
        """Whether all of it was handed out."""
        return self._given == self._size

    def feed(self, data: Buffer) -> None:
        """Its first bytes, which came another way; no more than there is room for."""
        view = memoryview(data)
        while view:
            place = self.get_buffer(-1)[: len(view)]
            place[:] = view[: len(place)]
            view = view[len(place) :]
            self.buffer_updated(len(place))

    def get_buffer(self, _sizehint: int) -> memoryview:
        at = self._received % len(self._memory)
        room = min(
            self._size - self._received, BLOCK_BYTES - at % BLOCK_BYTES, self._given + self._ahead - self._received
        )
        return self._memory[at : at + room]

    def buffer_updated(self, nbytes: int) -> None:
        self._received += nbytes
        self._heard_s = self._loop.time()
        if self._has_block():
            self._wake.set()
        if not self._has_room():
            self._transport.pause_reading()

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
        """Up to the next whole block, less at the end or from a slow sender, nothing when it is exhausted.

        IncompleteBody if the sender gave up or fell silent.
        """
        while not self._has_block() and not self.exhausted:
            if self._ended:
                raise IncompleteBody
            self._wake.clear()
            if not await self._gathered():
                break
        at = self._given % len(self._memory)
        block = self._memory[at : at + min(self._received - self._given, BLOCK_BYTES - at % BLOCK_BYTES)]
        self._given += len(block)
        if not self._ended and self._has_room():
            self._transport.resume_reading()
        return block

    async def _gathered(self) -> bool:
        """Wait for a whole block; False when that takes long and a part of it is there."""
        try:
            async with asyncio.timeout(BODY_GATHER_S):
                await self._wake.wait()
        except TimeoutError:
            if self._received > self._given:
                return False
            if self._loop.time() - self._heard_s > BODY_IDLE_TIMEOUT_S:
                raise IncompleteBody(f"No byte of the body came for {BODY_IDLE_TIMEOUT_S:.0f} s.") from None
        return True

    def _has_block(self) -> bool:
        there = self._received - self._given
        return there >= BLOCK_BYTES - self._given % BLOCK_BYTES or (self.complete and there > 0)

    def _has_room(self) -> bool:
        return not self.complete and self._received < self._given + self._ahead

    def _end(self) -> None:
        self._ended = True
        self._wake.set()


async def receive(request: web.BaseRequest, size: int, write: Write, workers: Workers) -> None:
    """Ask for the body and hand all of it to `write`. After a failure the connection is not used again."""
    transport = request.transport
    if not isinstance(transport, asyncio.Transport):
        raise IncompleteBody
    usual = transport.get_protocol()
    body = RawBody(transport, usual, size, memoryview(mmap.mmap(-1, 2 * BLOCK_BYTES)), BLOCK_BYTES)
    transport.set_protocol(body)
    try:
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        # The reply itself has not begun.
        request.writer.output_size = 0
        await _pump(body, write, workers)
    except BaseException:
        request.protocol.close()
        raise
    finally:
        transport.set_protocol(usual)
        transport.resume_reading()


async def _pump(body: RawBody, write: Write, workers: Workers) -> None:
    while block := await body.next_block():
        await workers.run(lambda chunk=block: write([chunk]))  # type: ignore[misc]
