"""Other nodes' blobs, read and written with a gateway's token for just that, over connections kept per node."""

from manta.core.checksums import Buffer
from manta.core.errors import AccessDenied
from manta.core.peers import PeerSource
from storage_nodes import messages, token
from storage_nodes.api import BlobReader, BlobWriter, Stored
from storage_nodes.streams import open_download, open_upload
from storage_nodes.transport import Transport


class PeerStore:
    """Implements `ports.Peers`."""

    def __init__(self) -> None:
        self._nodes: dict[str, _Node] = {}

    async def put(self, source: PeerSource, blob_id: str, data: Buffer) -> Stored:
        node, target = self._entrust(source, "PUT", blob_id)
        try:
            return messages.decode(await node.transport.call("PUT", target, data), Stored)
        finally:
            node.tokens.pop(("PUT", target), None)

    async def open_put(self, source: PeerSource, blob_id: str, size: int | None) -> BlobWriter:
        node, target = self._entrust(source, "PUT", blob_id)
        try:
            return await open_upload(node.transport, target, size)
        finally:
            node.tokens.pop(("PUT", target), None)

    async def open_get(self, source: PeerSource, blob_id: str, start: int, length: int) -> BlobReader:
        node, target = self._entrust(source, "GET", blob_id)
        return await open_download(node.transport, target, start, length)

    async def close(self) -> None:
        for node in self._nodes.values():
            node.transport.close()
        self._nodes.clear()

    def _entrust(self, source: PeerSource, method: str, blob_id: str) -> "tuple[_Node, str]":
        node = self._nodes.get(source.url)
        if node is None:
            node = self._nodes[source.url] = _Node(source.url)
        target = token.blob_path(blob_id)
        node.tokens[method, target] = source.token
        return node, target


class _Node:
    """A node's connections, and the tokens of the calls that are about to be made on them."""

    def __init__(self, url: str) -> None:
        self.tokens: dict[tuple[str, str], str] = {}
        self.transport = Transport(url, self._token)

    def _token(self, method: str, target: str) -> str:
        held = self.tokens.get((method, target))
        if held is None:
            raise AccessDenied("No gateway allowed that call to a peer.")
        return held
