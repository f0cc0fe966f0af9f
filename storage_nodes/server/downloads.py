"""Blobs on their way out: each window checked, then handed to sendfile. Small ones are read and checked at once."""

import asyncio
import os
from collections.abc import Iterator

from aiohttp import web

from manta.core.errors import BlobDamaged, InvalidArgument, InvalidRange
from manta.core.limits import MIB, SMALL_BLOB_BYTES
from storage_nodes.disk.growing import GrowingFiles
from storage_nodes.disk.reader import OpenBlob
from storage_nodes.disk.volume import Volume
from storage_nodes.server.status import StatusBoard
from storage_nodes.server.workers import Workers

_WINDOW_BYTES = 8 * MIB


class Downloads:
    """Answers GETs of blobs and of growing blobs, and counts what they take away."""

    def __init__(self, volume: Volume, growing: GrowingFiles, workers: Workers, board: StatusBoard) -> None:
        self._volume = volume
        self._growing = growing
        self._workers = workers
        self._board = board

    async def send(self, request: web.BaseRequest, blob_id: str) -> web.StreamResponse:
        """The range that the call asks for. A damaged copy is quarantined; in mid-stream the connection is cut."""
        start, length = _range(request)
        if request.headers.get("x-manta-growing") == "1":
            return await self._send_growing(request, blob_id, start, length)
        try:
            if length <= SMALL_BLOB_BYTES:
                data = await self._read_small(blob_id, start, length)
                self._board.served_bytes += len(data)
                return web.Response(body=data)
            return await self._send_file(request, blob_id, start, length)
        except BlobDamaged:
            await self._workers.run(lambda: self._volume.quarantine(blob_id))
            raise

    async def _read_small(self, blob_id: str, start: int, length: int) -> bytes:
        """Without a worker where the kernel has the bytes at hand: the hop costs more than the read."""
        data = self._volume.reader.read_from_memory(blob_id, start, length)
        if data is not None:
            return data
        return await self._workers.run(lambda: self._volume.reader.read(blob_id, start, length))

    async def _send_file(self, request: web.BaseRequest, blob_id: str, start: int, length: int) -> web.StreamResponse:
        window = min(length, _WINDOW_BYTES)
        blob = await self._workers.run(lambda: self._volume.reader.open_verified(blob_id, start, window))
        with blob:
            if start + length > blob.size:
                raise InvalidRange
            response = await _begin(request, length)
            try:
                await self._send_windows(request, blob, start, start + length)
            except BlobDamaged:
                _cut(request)
                raise
            await response.write_eof()
            return response

    async def _send_windows(self, request: web.BaseRequest, blob: OpenBlob, start: int, end: int) -> None:
        loop = asyncio.get_running_loop()
        with os.fdopen(os.dup(blob.descriptor), "rb", buffering=0) as file:
            for position in range(start, end, _WINDOW_BYTES):
                window = min(end - position, _WINDOW_BYTES)
                if position > start:
                    await self._workers.run(lambda at=position, size=window: blob.check(at, size))  # type: ignore[misc]
                if request.transport is None:
                    raise ConnectionResetError
                await loop.sendfile(request.transport, file, position, window)
                self._board.served_bytes += window

    async def _send_growing(
        self, request: web.BaseRequest, blob_id: str, start: int, length: int
    ) -> web.StreamResponse:
        blocks = self._growing.read(blob_id, start, length)
        first = await self._workers.run(lambda: next(blocks, b""))
        response = await _begin(request, length)
        try:
            data = first
            while data:
                await response.write(data)
                self._board.served_bytes += len(data)
                data = await self._workers.run(lambda: _next(blocks))
        except BaseException:
            _cut(request)
            raise
        await response.write_eof()
        return response


async def _begin(request: web.BaseRequest, length: int) -> web.StreamResponse:
    response = web.StreamResponse(headers={"content-length": str(length)})
    await response.prepare(request)
    return response


def _cut(request: web.BaseRequest) -> None:
    """The reply was begun and cannot be ended well: its length must not be reached."""
    if request.transport is not None:
        request.transport.abort()


def _next(blocks: Iterator[bytes]) -> bytes:
    return next(blocks, b"")


def _range(request: web.BaseRequest) -> tuple[int, int]:
    """(start, length) of the call's range header."""
    start, _, length = request.headers.get("x-manta-range", "").partition("-")
    if not all(text.isascii() and text.isdigit() and len(text) <= 18 for text in (start, length)):
        raise InvalidArgument("The call needs a range: x-manta-range: START-LENGTH.")
    return int(start), int(length)
