"""Storage nodes in memory that fail on demand, and a cluster of them."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from manta.catalog.records import Node, NodeState
from manta.core.checksums import Buffer, crc32c
from manta.core.clock import SystemClock
from manta.core.errors import BlobDamaged, InsufficientStorage, NodeUnavailable, NoSuchBlob
from manta.gateway.datapath.cluster import Cluster
from storage_nodes.api import BlobInfo, NodeStatus, Piece, Stored

CHUNK = 1000


@dataclass
class FakeNode:
    """A BlobNode. `dead`, `full` and `damaged` say how it misbehaves; `dies_after` counts bytes until it does."""

    node_id: str
    peers: "dict[str, FakeNode]" = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    growing: dict[str, bytearray] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    dead: bool = False
    full: bool = False
    damaged: set[str] = field(default_factory=set)
    dies_after: int | None = None
    slot_writes_fail: bool = False

    def check(self, call: str, moved: int = 0) -> None:
        self.calls.append(call)
        if self.dies_after is not None and moved:
            self.dies_after -= moved
            self.dead = self.dead or self.dies_after < 0
        if self.dead:
            raise NodeUnavailable(f"{self.node_id} is dead")

    async def put(self, blob_id: str, data: Buffer) -> Stored:
        self.check("put", len(data))
        if self.full:
            raise InsufficientStorage
        self.blobs[blob_id] = bytes(data)
        return self.stored(blob_id)

    def stored(self, blob_id: str) -> Stored:
        data = self.blobs[blob_id]
        return Stored(len(data), crc32c(data))

    async def open_put(self, blob_id: str, size: int | None) -> "FakeWriter":
        self.check("open_put")
        if self.full:
            raise InsufficientStorage
        return FakeWriter(self, blob_id)

    async def open_slot(self, blob_id: str, offset: int, size: int) -> "FakeWriter":
        self.check("open_slot")
        if self.full:
            raise InsufficientStorage
        return FakeWriter(self, blob_id, offset, size)

    async def finish(self, blob_id: str, size: int) -> Stored:
        self.check("finish")
        if blob_id not in self.blobs:
            if blob_id not in self.growing:
                raise NoSuchBlob
            self.blobs[blob_id] = bytes(self.growing.pop(blob_id)[:size])
        return self.stored(blob_id)

    async def assemble(self, blob_id: str, pieces: list[Piece]) -> Stored:
        self.check("assemble")
        if self.full:
            raise InsufficientStorage
        self.blobs[blob_id] = b"".join([self.piece(piece) for piece in pieces])
        return self.stored(blob_id)

    def piece(self, piece: Piece) -> bytes:
        for holder in [self, *(self.peers[source.node_id] for source in piece.sources)]:
            if holder.dead:
                continue
            data = (holder.growing if piece.growing else holder.blobs).get(piece.blob_id)
            if data is not None and len(data) >= piece.offset + piece.size:
                return bytes(data[piece.offset : piece.offset + piece.size])
        raise NoSuchBlob

    async def open_get(self, blob_id: str, start: int, length: int, *, growing: bool = False) -> "FakeReader":
        self.check("open_get")
        data = (self.growing if growing else self.blobs).get(blob_id)
        if data is None:
            raise NoSuchBlob
        return FakeReader(self, blob_id, bytes(data[start : start + length]))

    async def stat(self, blob_id: str) -> BlobInfo:
        self.check("stat")
        if blob_id not in self.blobs:
            raise NoSuchBlob
        return BlobInfo(blob_id, len(self.blobs[blob_id]), 0)

    async def verify(self, blob_id: str) -> None:
        self.check("verify")
        if blob_id in self.damaged:
            raise BlobDamaged

    async def delete(self, blob_ids: list[str]) -> None:
        self.check("delete")
        for blob_id in blob_ids:
            self.blobs.pop(blob_id, None)
            self.growing.pop(blob_id, None)

    async def list(self, *, after: str = "", limit: int = 1000, older_than_ms: int | None = None) -> list[BlobInfo]:
        self.check("list")
        held = sorted({*self.blobs, *self.growing})
        found = [blob_id for blob_id in held if blob_id > after]
        if older_than_ms is not None:
            found = [blob_id for blob_id in found if int(blob_id[:12], 16) < older_than_ms]
        return [BlobInfo(blob_id, 0, int(blob_id[:12], 16)) for blob_id in found[:limit]]

    async def status(self) -> NodeStatus:
        if self.dead:
            raise NodeUnavailable
        return NodeStatus(self.node_id, "0", 1 << 40, 1 << 39, not self.full, "", 0, 1.0)

    def interrupt(self) -> None:
        self.calls.append("interrupt")

    async def close(self) -> None:
        self.calls.append("close")


@dataclass
class FakeWriter:
    node: FakeNode
    blob_id: str
    offset: int | None = None
    size: int = 0
    data: bytearray = field(default_factory=bytearray)
    ended: bool = False

    async def write(self, data: Buffer) -> None:
        assert not self.ended
        if self.offset is not None and self.node.slot_writes_fail:
            raise NodeUnavailable
        self.node.check("write", len(data))
        self.data += data

    async def commit(self) -> Stored:
        assert not self.ended
        self.ended = True
        self.node.check("commit")
        if self.offset is None:
            self.node.blobs[self.blob_id] = bytes(self.data)
        else:
            assert len(self.data) == self.size
            file = self.node.growing.setdefault(self.blob_id, bytearray())
            file.extend(bytes(max(0, self.offset + self.size - len(file))))
            file[self.offset : self.offset + self.size] = self.data
        return Stored(len(self.data), crc32c(self.data))

    async def abort(self) -> None:
        self.ended = True


@dataclass
class FakeReader:
    node: FakeNode
    blob_id: str
    data: bytes
    at: int = 0

    async def read(self) -> bytes:
        if self.blob_id in self.node.damaged:
            raise BlobDamaged
        piece = self.data[self.at : self.at + CHUNK]
        self.node.check("read", len(piece))
        self.at += len(piece)
        return piece

    async def close(self) -> None:
        self.node.calls.append("close reader")


class NodeList:
    """The one question that a cluster asks the catalog."""

    def __init__(self, nodes: list[Node]) -> None:
        self.nodes = nodes
        self.asked = 0

    async def list_nodes(self) -> list[Node]:
        self.asked += 1
        return list(self.nodes)


def node_record(node_id: str, *, machine_id: str = "", url: str = "", key: bytes = b"k") -> Node:
    return Node(node_id, url or f"unix:/nowhere/{node_id}", key, machine_id, None, NodeState.ACTIVE, 0)


def fake_nodes(count: int) -> dict[str, FakeNode]:
    nodes = {f"n{number}": FakeNode(f"n{number}") for number in range(1, count + 1)}
    for node in nodes.values():
        node.peers = nodes
    return nodes


@pytest.fixture
async def cluster(nodes: dict[str, FakeNode]) -> AsyncIterator[Cluster]:
    started = await fake_cluster(nodes)
    yield started
    await started.close()


async def fake_cluster(nodes: dict[str, FakeNode], machine_id: str = "") -> Cluster:
    """Started; the caller closes it."""
    listed = NodeList([node_record(node_id, machine_id=machine_id) for node_id in nodes])
    cluster = Cluster(listed, SystemClock(), lambda node: nodes[node.node_id], machine_id=machine_id)  # type: ignore[arg-type]
    await cluster.start()
    return cluster
