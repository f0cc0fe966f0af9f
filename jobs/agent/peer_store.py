"""Other nodes' blobs, read and written with a gateway's token for just that, over connections kept per node."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from manta.core.checksums import Buffer
from manta.core.peers import PeerSource
from storage_nodes import messages, token
from storage_nodes.api import BlobReader, BlobWriter, Stored
from storage_nodes.client.streams import open_download, open_upload
from storage_nodes.client.transport import Transport

_TOKEN: ContextVar[str] = ContextVar("token")
"""The token of the call that this task is beginning; a transport serves many."""


class PeerStore:
    """Implements `ports.Peers`."""

    def __init__(self) -> None:
        self._transports: dict[str, Transport] = {}

    async def put(self, source: PeerSource, blob_id: str, data: Buffer) -> Stored:
        with self._entrusted(source) as transport:
            return messages.decode(await transport.call("PUT", token.blob_path(blob_id), data), Stored)

    async def open_put(self, source: PeerSource, blob_id: str, size: int | None) -> BlobWriter:
        with self._entrusted(source) as transport:
            return await open_upload(transport, token.blob_path(blob_id), size)

    async def open_get(self, source: PeerSource, blob_id: str, start: int, length: int) -> BlobReader:
        with self._entrusted(source) as transport:
            return await open_download(transport, blob_id, start, length)

    async def close(self) -> None:
        for transport in self._transports.values():
            transport.close()
        self._transports.clear()

    @contextmanager
    def _entrusted(self, source: PeerSource) -> Iterator[Transport]:
        transport = self._transports.get(source.url)
        if transport is None:
            transport = self._transports[source.url] = Transport(
                source.url, lambda _method, _target, _body: _TOKEN.get()
            )
        before = _TOKEN.set(source.token)
        try:
            yield transport
        finally:
            _TOKEN.reset(before)
