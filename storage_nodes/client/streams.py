"""Blobs streamed to and from a node, over one connection each."""

import asyncio
from typing import NoReturn

from manta.core.checksums import Buffer
from manta.core.errors import IncompleteBody, InternalError, NodeUnavailable
from manta.core.limits import RING_MIN_BYTES
from storage_nodes import messages, token
from storage_nodes.api import BlobWriter, Stored
from storage_nodes.client.connection import Connection
from storage_nodes.client.shared_upload import SharedUpload
from storage_nodes.client.transfer import Transfer
from storage_nodes.client.transport import Transport, raise_refusal
from storage_nodes.ring import rings
from storage_nodes.server import raw_body, shared_body

_EARLY_REPLY_S = 1.0


class Upload(Transfer):
    """A `BlobWriter`: bytes go out as they come. `size` None sends chunks."""

    def __init__(self, transport: Transport, connection: Connection, size: int | None) -> None:
        super().__init__(transport, connection)
        self._size = size
        self._sent = 0

    async def write(self, data: Buffer) -> None:
        if not len(data):
            return
        connection = self._open()
        self._sent += len(data)
        if self._size is not None and self._sent > self._size:
            raise InternalError("More bytes were written to a blob than its size.")
        try:
            async with self._transport.translated():
                if self._size is None:
                    await connection.send(b"%x\r\n" % len(data))
                    await connection.send(data)
                    await connection.send(b"\r\n")
                else:
                    await connection.send(data)
        except NodeUnavailable as error:
            await self._explain(connection, error)

    async def commit(self) -> Stored:
        connection = self._open()
        if self._size is not None and self._sent < self._size:
            await self.abort()
            raise IncompleteBody
        try:
            async with self._transport.translated():
                if self._size is None:
                    await connection.send(b"0\r\n\r\n")
                stored = messages.decode(await self._transport.finish(connection), Stored)
        except BaseException:
            await self.abort()
            raise
        self._release(reusable=True)
        return stored

    async def abort(self) -> None:
        """Closing before the end of the body is what tells the node to forget it."""
        self._release(reusable=False)

    async def _explain(self, connection: Connection, error: NodeUnavailable) -> None:
        """A node that stops reading has mostly said why."""
        try:
            async with asyncio.timeout(_EARLY_REPLY_S):
                await self._transport.finish(connection)
        except (OSError, EOFError, TimeoutError):
            pass
        finally:
            self._release(reusable=False)
        raise error


async def open_upload(transport: Transport, target: str, size: int | None) -> BlobWriter:
    """Begin a PUT; the node's refusal comes here, before any byte is sent."""
    ring = rings.take() if size is not None and size >= RING_MIN_BYTES and transport.local else None
    connection = await transport.take()
    if size is None:
        framing = {"transfer-encoding": "chunked", "expect": "100-continue"}
    else:
        framing = {"content-length": "0", raw_body.HEADER if ring is None else shared_body.HEADER: str(size)}
    try:
        async with transport.translated():
            await transport.begin(connection, "PUT", target, framing)
            head = await connection.read_head()
            if head.status != 100:
                raise_refusal(head, await connection.read_body(head))
                _refuse_reply(transport)
    except BaseException:
        transport.give_back(connection, reusable=False)
        raise
    if size is None or ring is None:
        return Upload(transport, connection, size)
    return SharedUpload(transport, connection, size, ring)


class Download(Transfer):
    """A `BlobReader` of exactly `length` bytes."""

    def __init__(self, transport: Transport, connection: Connection, length: int) -> None:
        super().__init__(transport, connection)
        self._left = length

    async def read(self) -> bytes:
        if not self._left or self._connection is None:
            self._release(reusable=not self._left)
            return b""
        try:
            async with self._transport.translated():
                data = await self._connection.read_some(self._left)
        except BaseException:
            self._release(reusable=False)
            raise
        self._left -= len(data)
        return data

    async def close(self) -> None:
        self._release(reusable=not self._left)


async def open_download(
    transport: Transport, blob_id: str, start: int, length: int, *, growing: bool = False
) -> Download:
    """Begin a GET of that range. NoSuchBlob, BlobDamaged, InvalidRange, NodeUnavailable."""
    connection = await transport.take()
    try:
        async with transport.translated():
            headers = {"x-manta-range": f"{start}-{length}", **({"x-manta-growing": "1"} if growing else {})}
            await transport.begin(connection, "GET", token.blob_path(blob_id), headers)
            head = await connection.read_head()
            if head.status >= 300:
                raise_refusal(head, await connection.read_body(head))
            if head.length != length:
                _refuse_reply(transport)
    except BaseException as error:
        transport.give_back(connection, reusable=bool(getattr(error, "in_order", False)))
        raise
    return Download(transport, connection, length)


def _refuse_reply(transport: Transport) -> NoReturn:
    raise NodeUnavailable(f"The storage node at {transport.url} gave a reply that does not fit the call.")
