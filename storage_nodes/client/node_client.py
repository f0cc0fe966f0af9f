"""The client of one storage node: `api.BlobNode` over HTTP, on a Unix socket or TCP."""

import time
from collections.abc import Callable
from urllib.parse import urlencode

from manta.core.checksums import Buffer
from manta.core.limits import NODE_TIMEOUT_S, NODE_TOKEN_TTL_S
from manta.core.peers import NodeAddress, PeerSource
from storage_nodes import messages, token
from storage_nodes.api import BlobInfo, BlobReader, BlobWriter, NodeStatus, Piece, Stored
from storage_nodes.client.batcher import Batcher
from storage_nodes.client.connection import Connection
from storage_nodes.client.streams import open_download, open_upload
from storage_nodes.client.transport import Transport
from storage_nodes.messages import AssembleRequest, DeleteRequest, ListReply

ASSEMBLE_TIMEOUT_S = 3600.0


class NodeClient:
    """Implements `BlobNode`. Must be made, used and closed in one event loop."""

    def __init__(
        self,
        address: NodeAddress,
        *,
        timeout_s: float = NODE_TIMEOUT_S,
        wall_s: Callable[[], float] = time.time,
    ) -> None:
        self.address = address
        self._wall_s = wall_s
        self._transport = Transport(address.url, self._token, timeout_s)
        self._batcher = Batcher(lambda body: self._transport.call("POST", "/batch", body, covered=False))

    @property
    def node_id(self) -> str:
        return self.address.node_id

    async def put(self, blob_id: str, data: Buffer) -> Stored:
        return await self._batcher.put(blob_id, data)

    async def open_put(self, blob_id: str, size: int | None) -> BlobWriter:
        return await open_upload(self._transport, token.blob_path(blob_id), size)

    async def open_slot(self, blob_id: str, offset: int, size: int) -> BlobWriter:
        return await open_upload(self._transport, f"/growing/{blob_id}?offset={offset}&size={size}", size)

    async def finish(self, blob_id: str, size: int) -> Stored:
        reply = await self._transport.call("POST", f"/growing/{blob_id}/finish?size={size}")
        return messages.decode(reply, Stored)

    async def assemble(self, blob_id: str, pieces: list[Piece]) -> Stored:
        body = messages.encode(AssembleRequest(pieces))
        reply = await self._transport.call("POST", f"/blobs/{blob_id}/assemble", body, ASSEMBLE_TIMEOUT_S)
        return messages.decode(reply, Stored)

    async def open_get(self, blob_id: str, start: int, length: int, *, growing: bool = False) -> BlobReader:
        return await open_download(self._transport, blob_id, start, length, growing=growing)

    async def stat(self, blob_id: str) -> BlobInfo:
        return messages.decode(await self._transport.call("GET", f"/blobs/{blob_id}/stat"), BlobInfo)

    async def verify(self, blob_id: str) -> None:
        """Have the node read the whole blob; it quarantines a damaged one and raises BlobDamaged."""
        await self._transport.call("POST", f"/blobs/{blob_id}/verify", timeout_s=ASSEMBLE_TIMEOUT_S)

    async def delete(self, blob_ids: list[str]) -> None:
        await self._transport.call("POST", "/delete", messages.encode(DeleteRequest(blob_ids)))

    async def list(self, *, after: str = "", limit: int = 1000, older_than_ms: int | None = None) -> list[BlobInfo]:
        query = {"after": after, "limit": str(limit)}
        if older_than_ms is not None:
            query["older_than_ms"] = str(older_than_ms)
        return messages.decode(await self._transport.call("GET", f"/list?{urlencode(query)}"), ListReply).blobs

    async def status(self, timeout_s: float | None = None) -> NodeStatus:
        return messages.decode(await self._transport.call("GET", "/status", timeout_s=timeout_s), NodeStatus)

    async def call(self, method: str, path_and_query: str, body: bytes = b"", timeout_s: float | None = None) -> bytes:
        """A call to one of the node's extra routes; the reply's body."""
        return await self._transport.call(method, path_and_query, body, timeout_s)

    async def upgrade(self, path_and_query: str, first: bytes, timeout_s: float) -> Connection:
        """A connection that the node's extra route has taken over; `first` is what it reads first."""
        return await self._transport.upgrade(path_and_query, first, timeout_s)

    def interrupt(self) -> None:
        self._transport.interrupt()

    async def close(self) -> None:
        await self._batcher.close()
        self._transport.close()

    def _token(self, method: str, target: str, body: Buffer | None) -> str:
        return token.sign(self.address.key, method, target, self._wall_s() + NODE_TOKEN_TTL_S, body)


class PeerClient:
    """One blob on another node, read or written with a gateway's token for just that."""

    def __init__(self, source: PeerSource, timeout_s: float = NODE_TIMEOUT_S) -> None:
        self.source = source
        self._transport = Transport(source.url, lambda _method, _target, _body: source.token, timeout_s)

    async def open_put(self, blob_id: str, size: int | None) -> BlobWriter:
        return await open_upload(self._transport, token.blob_path(blob_id), size)

    async def open_get(self, blob_id: str, start: int, length: int, *, growing: bool = False) -> BlobReader:
        return await open_download(self._transport, blob_id, start, length, growing=growing)

    async def close(self) -> None:
        self._transport.close()
