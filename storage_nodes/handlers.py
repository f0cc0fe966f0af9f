"""What the node does for each call: thin, between the message on the wire and the volume."""

import asyncio
import os
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from aiohttp import web

from manta.core.errors import BlobDamaged, EntityTooLarge, InvalidArgument, MantaError, NotImplementedHere
from manta.core.limits import DELETE_BATCH_MAX, LIST_PAGE_MAX, NODE_MESSAGE_MAX_BYTES, SMALL_BLOB_BYTES
from manta.core.names import check_id
from storage_nodes import durable, messages, uploads
from storage_nodes.api import Stored
from storage_nodes.messages import DeleteRequest, Message, PutBatch, PutBatchReply, Refusal
from storage_nodes.small_puts import Outcome, Puts
from storage_nodes.status import StatusBoard
from storage_nodes.volume import Volume
from storage_nodes.workers import Workers

_BLOB = re.compile(r"/(blobs|growing)/([0-9a-f]{32})(?:/([a-z]+))?")
_WINDOW_BYTES = 8 * 1024 * 1024
_SMALL_READ_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class Call:
    """One call whose token was good. `blob_id` is "" where the path names none."""

    request: web.BaseRequest
    blob_id: str
    parameters: Mapping[str, str]

    def number(self, name: str) -> int:
        text = self.parameters.get(name, "")
        if not (text.isascii() and text.isdigit() and len(text) <= 18):
            raise InvalidArgument(f"The parameter {name!r} must be a number.")
        return int(text)


Handler = Callable[[Call], Awaitable[web.StreamResponse]]


class Handlers:
    """All calls of a storage node."""

    def __init__(self, volume: Volume, small_puts: Puts, workers: Workers, board: StatusBoard) -> None:
        self._volume = volume
        self._small_puts = small_puts
        self._workers = workers
        self._board = board
        self._table: dict[tuple[str, str], Handler] = {
            ("PUT", "blobs"): self.put_blob,
            ("GET", "blobs"): self.get_blob,
            ("HEAD", "blobs"): self.head_blob,
            ("GET", "blobs/stat"): self.stat_blob,
            ("POST", "blobs/verify"): self.verify_blob,
            ("POST", "/batch"): self.put_batch,
            ("POST", "/delete"): self.delete,
            ("GET", "/status"): self.status,
        }

    def find(self, method: str, path: str) -> tuple[Handler | None, str]:
        """The handler of that call, and the blob it names."""
        named = _BLOB.fullmatch(path)
        if named is None:
            return self._table.get((method, path)), ""
        kind, blob_id, verb = named.groups()
        return self._table.get((method, f"{kind}/{verb}" if verb else kind)), blob_id

    async def put_blob(self, call: Call) -> web.StreamResponse:
        size = call.request.content_length
        blob = await self._workers.run(lambda: self._volume.incoming(call.blob_id, size))
        try:
            await _ask_for_body(call.request)
            await uploads.pump(
                uploads.chunks_of(call.request), lambda chunks: self._volume.write(blob, chunks), self._workers
            )
        except BaseException:
            blob.abort()
            raise
        stored = await self._workers.run(lambda: self._volume.commit(blob))
        durable.step("before-reply")
        return reply(stored)

    async def put_batch(self, call: Call) -> web.StreamResponse:
        batch = messages.decode(await read_message(call.request), PutBatch)
        for blob_id, data in batch.blobs:
            check_id(blob_id)
            if len(data) > SMALL_BLOB_BYTES:
                raise EntityTooLarge("A blob of the batch is too large to be sent in one.")
        outcomes = await self._small_puts.put(batch.blobs)
        return reply(PutBatchReply([_on_wire(outcome) for outcome in outcomes]))

    async def get_blob(self, call: Call) -> web.StreamResponse:
        start, length = _range(call.request)
        try:
            if length <= _SMALL_READ_BYTES:
                data = await self._workers.run(lambda: self._volume.reader.read(call.blob_id, start, length))
                return web.Response(body=data)
            return await self._send_file(call, start, length)
        except BlobDamaged:
            await self._workers.run(lambda: self._volume.quarantine(call.blob_id))
            raise

    async def _send_file(self, call: Call, start: int, length: int) -> web.StreamResponse:
        """Check a window, send it by sendfile, and so on. Damage in mid-stream cuts the connection."""
        blob = await self._workers.run(
            lambda: self._volume.reader.open_verified(call.blob_id, start, min(length, _WINDOW_BYTES))
        )
        with blob:
            if start + length > blob.size:
                return await self.get_blob_out_of_range()
            response = web.StreamResponse(headers={"content-length": str(length)})
            await response.prepare(call.request)
            transport = call.request.transport
            if transport is None:
                raise ConnectionResetError
            position, end = start, start + length
            with os.fdopen(os.dup(blob.descriptor), "rb", buffering=0) as file:
                while position < end:
                    window = min(end - position, _WINDOW_BYTES)
                    if position > start:
                        try:
                            await self._workers.run(lambda at=position, size=window: blob.check(at, size))  # type: ignore[misc]
                        except BlobDamaged:
                            transport.abort()
                            raise
                    await asyncio.get_running_loop().sendfile(transport, file, position, window)
                    position += window
            await response.write_eof()
            return response

    async def get_blob_out_of_range(self) -> web.StreamResponse:
        raise InvalidArgument("The range lies outside the blob.")

    async def head_blob(self, call: Call) -> web.StreamResponse:
        info = await self._workers.run(lambda: self._volume.stat(call.blob_id))
        return web.Response(
            headers={
                "content-length": str(info.size),
                "x-manta-modified-ms": str(info.modified_ms),
                "x-manta-growing": str(int(info.growing)),
            }
        )

    async def stat_blob(self, call: Call) -> web.StreamResponse:
        return reply(await self._workers.run(lambda: self._volume.stat(call.blob_id)))

    async def verify_blob(self, _call: Call) -> web.StreamResponse:
        raise NotImplementedHere

    async def delete(self, call: Call) -> web.StreamResponse:
        wanted = messages.decode(await read_message(call.request), DeleteRequest)
        if len(wanted.blob_ids) > max(DELETE_BATCH_MAX, LIST_PAGE_MAX):
            raise InvalidArgument(f"At most {DELETE_BATCH_MAX} blobs are deleted in one call.")
        await self._workers.run(lambda: self._volume.delete(wanted.blob_ids))
        await self._small_puts.forget(wanted.blob_ids)
        return web.Response()

    async def status(self, _call: Call) -> web.StreamResponse:
        return reply(self._board.read())


def _on_wire(outcome: Outcome) -> int | Refusal:
    return messages.refusal(outcome) if isinstance(outcome, MantaError) else outcome


def reply(message: Message) -> web.Response:
    return web.Response(body=messages.encode(message))


async def read_message(request: web.BaseRequest) -> bytes:
    """The whole body of a control call; EntityTooLarge beyond the limit."""
    if (request.content_length or 0) > NODE_MESSAGE_MAX_BYTES:
        raise EntityTooLarge("The message is too large.")
    parts: list[bytes] = []
    total = 0
    async for data in uploads.chunks_of(request):
        total += len(data)
        if total > NODE_MESSAGE_MAX_BYTES:
            raise EntityTooLarge("The message is too large.")
        parts.append(data)
    return parts[0] if len(parts) == 1 else b"".join(parts)


async def _ask_for_body(request: web.BaseRequest) -> None:
    if request.headers.get("expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0


def _range(request: web.BaseRequest) -> tuple[int, int]:
    """(start, length) of the call's range header."""
    start, _, length = request.headers.get("x-manta-range", "").partition("-")
    if not (start.isdigit() and length.isdigit()):
        raise InvalidArgument("The call needs a range: x-manta-range: START-LENGTH.")
    return int(start), int(length)


__all__ = ["Call", "Handlers", "Stored"]
