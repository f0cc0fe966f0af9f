"""Bodies of known size that lie in memory shared with the sender: what comes over the socket says where.

A call that says `x-manta-shared-body: SIZE`, on a Unix socket, has no HTTP body. Its sender waits for `100 Continue`,
then sends a frame for each piece: its offset in the ring and its length, 32 bits each. The offset NEW_RING announces
the ring in which the next pieces lie; its descriptor comes with the frame. Each piece that is written is answered with
`102 Processing`: from then on the sender may use its place anew. The reply follows the last one.
"""

import asyncio
import os
import socket
import struct
from collections import deque
from collections.abc import Iterator
from contextlib import suppress

from aiohttp import web

from manta.core.errors import IncompleteBody, InvalidArgument
from manta.core.limits import BODY_IDLE_TIMEOUT_S
from storage_nodes import ring
from storage_nodes.server.uploads import Write
from storage_nodes.server.workers import Workers

HEADER = "x-manta-shared-body"
FRAME = struct.Struct("<II")
NEW_RING = 2**32 - 1

_FRAMES_BYTES = 64 * FRAME.size
_WRITTEN = b"HTTP/1.1 102 Processing\r\n\r\n"


class SharedBody:
    """`next_pieces` returns those that have come, as views of the shared memory. `close` ends it."""

    def __init__(self, sock: socket.socket, size: int) -> None:
        self._sock = sock
        self._left = size
        self._frames = b""
        self._descriptors: deque[int] = deque()
        self._ring = memoryview(b"")

    @property
    def exhausted(self) -> bool:
        return not self._left

    async def next_pieces(self) -> list[memoryview]:
        """IncompleteBody if the sender gave up or fell silent, InvalidArgument if it sends what makes no sense."""
        while not (pieces := list(self._unpack())):
            try:
                data, descriptors, _, _ = socket.recv_fds(self._sock, _FRAMES_BYTES, 1, socket.MSG_CMSG_CLOEXEC)
            except BlockingIOError:
                await self._readable()
                continue
            except OSError:
                raise IncompleteBody from None
            if not data:
                raise IncompleteBody
            self._descriptors.extend(descriptors)
            self._frames += data
        return pieces

    def close(self) -> None:
        self._sock.close()
        for descriptor in self._descriptors:
            os.close(descriptor)

    def _unpack(self) -> Iterator[memoryview]:
        whole = len(self._frames) // FRAME.size * FRAME.size
        frames, self._frames = self._frames[:whole], self._frames[whole:]
        for offset, length in FRAME.iter_unpack(frames):
            if offset == NEW_RING:
                self._adopt()
                continue
            if not 0 < length <= self._left or offset + length > len(self._ring):
                raise InvalidArgument("A piece of the body lies outside the shared memory, or beyond the body's size.")
            self._left -= length
            yield self._ring[offset : offset + length]

    def _adopt(self) -> None:
        if not self._descriptors:
            raise InvalidArgument("A ring was announced but not handed over.")
        self._ring = ring.attach(self._descriptors.popleft())

    async def _readable(self) -> None:
        loop = asyncio.get_running_loop()
        came = asyncio.Event()
        loop.add_reader(self._sock, came.set)
        try:
            async with asyncio.timeout(BODY_IDLE_TIMEOUT_S):
                await came.wait()
        except TimeoutError:
            raise IncompleteBody from None
        finally:
            loop.remove_reader(self._sock)


async def receive(request: web.BaseRequest, size: int, write: Write, workers: Workers) -> None:
    """Ask for the body and hand all of it to `write`. After a failure the connection is not used again."""
    transport = request.transport
    wire = transport.get_extra_info("socket") if transport is not None else None
    if not isinstance(transport, asyncio.Transport) or wire is None or wire.family != socket.AF_UNIX:
        raise InvalidArgument(f"The header {HEADER} is for Unix sockets only.")
    # aiohttp's transport would throw the descriptors away: it sits aside while the frames come.
    transport.pause_reading()
    body = SharedBody(socket.socket(fileno=os.dup(wire.fileno())), size)
    try:
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        # The reply itself has not begun.
        request.writer.output_size = 0
        while not body.exhausted:
            pieces = await body.next_pieces()
            await workers.run(lambda chunks=pieces: write(chunks))  # type: ignore[misc]
            transport.write(_WRITTEN * len(pieces))
    except BaseException:
        request.protocol.close()
        raise
    finally:
        body.close()
        with suppress(RuntimeError):
            transport.resume_reading()
