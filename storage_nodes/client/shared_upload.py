"""A blob streamed to a node of this machine through shared memory; `shared_body` is the other end."""

import asyncio
from collections import deque

from manta.core.checksums import Buffer
from manta.core.errors import IncompleteBody, InternalError, NodeUnavailable
from manta.core.limits import BLOCK_BYTES, RING_BYTES, RING_KEPT_BYTES
from storage_nodes import messages
from storage_nodes.api import Stored
from storage_nodes.client.connection import Connection
from storage_nodes.client.transfer import Transfer
from storage_nodes.client.transport import Transport, raise_refusal
from storage_nodes.ring import Ring, locate, rings
from storage_nodes.server.shared_body import FRAME, NEW_RING

_EARLY_REPLY_S = 1.0
_PROCESSING = 102


class SharedUpload(Transfer):
    """A `BlobWriter`. What is written from a ring must not change until RING_KEPT_BYTES more were written.

    Other memory is copied into `own`, a ring of the upload's own.
    """

    def __init__(self, transport: Transport, connection: Connection, size: int, own: Ring) -> None:
        super().__init__(transport, connection)
        self._size = size
        self._sent = 0
        self._own = own
        self._copied = 0
        self._announced = 0
        self._known: Ring | None = None
        self._unwritten: deque[int] = deque()
        self._behind = 0
        self._changed = asyncio.Event()
        self._reply = asyncio.create_task(self._read_replies(connection))
        self._reply.add_done_callback(_retrieve)

    async def write(self, data: Buffer) -> None:
        if not len(data):
            return
        self._open()
        self._sent += len(data)
        if self._sent > self._size:
            raise InternalError("More bytes were written to a blob than its size.")
        place = locate(data)
        if place is None:
            await self._copy(memoryview(data))
        else:
            await self._announce_copied()
            await self._announce(*place, len(data))

    async def commit(self) -> Stored:
        self._open()
        if self._sent < self._size:
            await self.abort()
            raise IncompleteBody
        try:
            await self._announce_copied()
            async with self._transport.translated():
                stored = messages.decode(await self._reply, Stored)
        except BaseException:
            await self.abort()
            raise
        self._release(reusable=True)
        return stored

    async def abort(self) -> None:
        """Closing before the end of the body is what tells the node to forget it."""
        self._reply.cancel()
        await asyncio.wait([self._reply])
        if self._unwritten:
            self._own.spoiled = True
            if self._known is not None:
                self._known.spoiled = True
        self._release(reusable=False)

    async def _copy(self, view: memoryview) -> None:
        while view:
            at = self._copied % RING_BYTES
            part = view[: BLOCK_BYTES - at % BLOCK_BYTES]
            memoryview(self._own)[at : at + len(part)] = part
            self._copied += len(part)
            view = view[len(part) :]
            if self._copied % BLOCK_BYTES == 0:
                await self._announce_copied()

    async def _announce_copied(self) -> None:
        at, length = self._announced % RING_BYTES, self._copied - self._announced
        if length:
            self._announced = self._copied
            await self._announce(self._own, at, length)

    async def _announce(self, ring: Ring, at: int, length: int) -> None:
        """Tell the node, and wait until it is no more than RING_KEPT_BYTES behind."""
        connection = self._open()
        self._unwritten.append(length)
        self._behind += length
        frame = FRAME.pack(at, length)
        try:
            async with self._transport.translated():
                if ring is not self._known:
                    self._known = ring
                    connection.send_descriptor(ring.descriptor, FRAME.pack(NEW_RING, 0))
                await connection.send(frame)
                while self._behind > RING_KEPT_BYTES and not self._reply.done():
                    self._changed.clear()
                    await self._changed.wait()
                if self._reply.done() and self._behind:
                    self._reply.result()
                    raise EOFError("the node answered before the end of the body")
        except NodeUnavailable as error:
            await self._explain(error)

    async def _read_replies(self, connection: Connection) -> bytes:
        try:
            while (head := await connection.read_head()).status == _PROCESSING:
                self._behind -= self._unwritten.popleft()
                self._changed.set()
            body = await connection.read_body(head)
            raise_refusal(head, body)
        except IndexError:
            raise EOFError("the node has written more than it was sent") from None
        else:
            return body
        finally:
            self._changed.set()

    async def _explain(self, error: NodeUnavailable) -> None:
        """A node that stops reading has mostly said why."""
        done, _ = await asyncio.wait([self._reply], timeout=_EARLY_REPLY_S)
        if done:
            async with self._transport.translated():
                self._reply.result()
        raise error

    def _release(self, *, reusable: bool) -> None:
        if self._connection is not None:
            rings.give_back(self._own)
        super()._release(reusable=reusable)


def _retrieve(reply: "asyncio.Task[bytes]") -> None:
    """Nobody may be waiting for the reply any more; asyncio would complain of its error."""
    if not reply.cancelled():
        reply.exception()
