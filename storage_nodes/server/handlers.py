"""What the node does for each call: thin, between the message on the wire and the volume."""

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from aiohttp import web

from manta.core.errors import EntityTooLarge, InvalidArgument, MantaError
from manta.core.limits import DELETE_BATCH_MAX, LIST_PAGE_MAX, NODE_MESSAGE_MAX_BYTES, SMALL_BLOB_BYTES
from manta.core.names import check_id
from storage_nodes import messages, token
from storage_nodes.api import Stored
from storage_nodes.disk import durable
from storage_nodes.disk.assembly import Assembler
from storage_nodes.disk.growing import GrowingFiles
from storage_nodes.disk.listing import Listing
from storage_nodes.disk.slots import Slot
from storage_nodes.disk.small_puts import Outcome, Puts
from storage_nodes.disk.volume import Volume
from storage_nodes.messages import (
    AssembleRequest,
    DeleteRequest,
    ListReply,
    Message,
    PutBatch,
    PutBatchReply,
    Refusal,
)
from storage_nodes.server import raw_body, shared_body, uploads
from storage_nodes.server.downloads import Downloads
from storage_nodes.server.status import StatusBoard
from storage_nodes.server.workers import Workers

_BLOB = re.compile(r"/(blobs|growing)/([0-9a-f]{32})(?:/([a-z]+))?")


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

    def body_size(self) -> int | None:
        """How many bytes the sender says will come; None if it does not."""
        for name in (raw_body.HEADER, shared_body.HEADER):
            text = self.request.headers.get(name)
            if text is not None:
                if not (text.isascii() and text.isdigit() and len(text) <= 18):
                    raise InvalidArgument(f"The header {name} must be a number.")
                return int(text)
        return self.request.content_length

    @property
    def is_plain(self) -> bool:
        """Whether its body, if it has one, is HTTP's."""
        headers = self.request.headers
        return raw_body.HEADER not in headers and shared_body.HEADER not in headers


Handler = Callable[[Call], Awaitable[web.StreamResponse]]


class Handlers:
    """All calls of a storage node."""

    def __init__(self, volume: Volume, small_puts: Puts, workers: Workers, board: StatusBoard) -> None:
        self._volume = volume
        self._small_puts = small_puts
        self._workers = workers
        self._board = board
        self._growing = GrowingFiles(volume)
        self._downloads = Downloads(volume, self._growing, workers, board)
        self._assembler = Assembler(volume, self._growing, workers)
        self._listing = Listing(volume)
        self._table: dict[tuple[str, str], Handler] = {
            ("PUT", "blobs"): self.put_blob,
            ("GET", "blobs"): self.get_blob,
            ("GET", "blobs/stat"): self.stat_blob,
            ("POST", "blobs/verify"): self.verify_blob,
            ("POST", "blobs/assemble"): self.assemble,
            ("PUT", "growing"): self.put_slot,
            ("POST", "growing/finish"): self.finish,
            ("POST", "/batch"): self.put_batch,
            ("POST", "/delete"): self.delete,
            ("GET", "/list"): self.list,
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
        size = call.body_size()
        if size is not None and size <= SMALL_BLOB_BYTES and call.is_plain:
            return await self._put_small_blob(call)
        blob = await self._workers.run(lambda: self._volume.incoming(call.blob_id, size))
        try:
            await self._receive(call, lambda chunks: self._volume.write(blob, chunks))
        except BaseException:
            blob.abort()
            raise
        stored = await self._workers.run(lambda: self._volume.commit(blob))
        durable.step("before-reply")
        return reply(stored)

    async def _put_small_blob(self, call: Call) -> web.StreamResponse:
        """A peer's small blob, by a token for it alone: made durable together with its neighbours in time."""
        data = await read_message(call.request)
        (outcome,) = await self._small_puts.put([(call.blob_id, data)])
        if isinstance(outcome, MantaError):
            raise outcome
        return reply(Stored(len(data), outcome))

    async def put_slot(self, call: Call) -> web.StreamResponse:
        wanted = Slot(call.number("offset"), call.number("size"))
        slot = await self._workers.run(lambda: self._growing.open_slot(call.blob_id, wanted))
        try:
            await self._receive(call, lambda chunks: self._growing.write(slot, chunks))
            stored = await self._workers.run(lambda: self._growing.commit(slot))
        finally:
            slot.abort()
        durable.step("before-reply")
        return reply(stored)

    async def _receive(self, call: Call, write: uploads.Write) -> None:
        size = call.body_size()
        if size is None or call.is_plain:
            await uploads.receive(call.request, write, self._workers)
        elif shared_body.HEADER in call.request.headers:
            await shared_body.receive(call.request, size, write, self._workers)
        else:
            await raw_body.receive(call.request, size, write, self._workers)

    async def finish(self, call: Call) -> web.StreamResponse:
        size = call.number("size")
        stored = await self._workers.run(lambda: self._growing.finish(call.blob_id, size))
        durable.step("before-reply")
        return reply(stored)

    async def assemble(self, call: Call) -> web.StreamResponse:
        wanted = messages.decode(await read_order(call.request), AssembleRequest)
        for piece in wanted.pieces:
            check_id(piece.blob_id)
        return reply(await self._assembler.assemble(call.blob_id, wanted.pieces))

    async def put_batch(self, call: Call) -> web.StreamResponse:
        batch = messages.decode(await read_message(call.request), PutBatch)
        for blob_id, data in batch.blobs:
            check_id(blob_id)
            if len(data) > SMALL_BLOB_BYTES:
                raise EntityTooLarge("A blob of the batch is too large to be sent in one.")
        outcomes = await self._small_puts.put(batch.blobs)
        return reply(PutBatchReply([_on_wire(outcome) for outcome in outcomes]))

    async def get_blob(self, call: Call) -> web.StreamResponse:
        return await self._downloads.send(call.request, call.blob_id)

    async def stat_blob(self, call: Call) -> web.StreamResponse:
        return reply(await self._workers.run(lambda: self._volume.stat(call.blob_id)))

    async def verify_blob(self, call: Call) -> web.StreamResponse:
        await self._workers.run(lambda: self._volume.verify(call.blob_id))
        return web.Response()

    async def delete(self, call: Call) -> web.StreamResponse:
        wanted = messages.decode(await read_order(call.request), DeleteRequest)
        if len(wanted.blob_ids) > DELETE_BATCH_MAX:
            raise InvalidArgument(f"At most {DELETE_BATCH_MAX} blobs are deleted in one call.")
        for blob_id in wanted.blob_ids:
            check_id(blob_id)
        await self._workers.run(lambda: self._volume.delete(wanted.blob_ids))
        await self._small_puts.forget(wanted.blob_ids)
        return web.Response()

    async def list(self, call: Call) -> web.StreamResponse:
        after = call.parameters.get("after", "")
        if after:
            check_id(after)
        limit = min(call.number("limit"), LIST_PAGE_MAX)
        older_than_ms = call.number("older_than_ms") if "older_than_ms" in call.parameters else None
        return reply(ListReply(await self._workers.run(lambda: self._listing.page(after, limit, older_than_ms))))

    async def status(self, _call: Call) -> web.StreamResponse:
        return reply(self._board.read())


def reply(message: Message) -> web.Response:
    return web.Response(body=messages.encode(message))


async def read_order(request: web.BaseRequest) -> bytes:
    """The body of a call that tells the node what to do; AccessDenied unless its token covers it."""
    body = await read_message(request)
    token.check_body(request.headers[token.HEADER], body)
    return body


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


def _on_wire(outcome: Outcome) -> int | Refusal:
    return messages.refusal(outcome) if isinstance(outcome, MantaError) else outcome
