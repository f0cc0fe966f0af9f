"""Where the bytes of an upload's part go: into its slot of the growing file, or into a blob of its own.

A part counts as lying in its slot only if every node of the upload has it there. When a node fails in mid-stream the
slots that were written become a blob of its own on enough living nodes, so that the client does not notice.
"""

from dataclasses import dataclass

from manta.catalog.records import Blob, Upload
from manta.core import names
from manta.core.checksums import Buffer
from manta.core.errors import MantaError
from manta.core.limits import SMALL_BLOB_BYTES
from manta.gateway.datapath.assembly import assemble_where_growing
from manta.gateway.datapath.blob_writer import Replicas, ReplicatedWriter, open_replicated, put_small
from manta.gateway.datapath.cluster import Cluster
from manta.gateway.datapath.ingest import Sink
from manta.gateway.node_calls import each_node
from storage_nodes.api import BlobNode, BlobWriter, Piece


@dataclass(frozen=True, slots=True)
class PartPlace:
    """In its slot (`blob` None), or in a blob of its own."""

    blob: Blob | None

    @property
    def in_slot(self) -> bool:
        return self.blob is None


@dataclass(frozen=True, slots=True)
class PartTarget:
    """One part of `upload` about to be written; `offset` is its slot's, None when it has none."""

    cluster: Cluster
    upload: Upload
    copies: int
    offset: int | None

    @property
    def small_bytes(self) -> int:
        """Bodies up to this size may be sent whole; what goes into a slot is streamed, whatever its size."""
        return SMALL_BLOB_BYTES if self.offset is None else -1

    async def put_small(self, data: Buffer) -> PartPlace:
        return PartPlace(await put_small(self.cluster, data, self.copies, prefer=self.upload.nodes))

    async def open(self, size: int | None) -> Sink[PartPlace]:
        """The slot on every node of the upload, else a blob. NotEnoughNodes, SlowDown."""
        if self.offset is not None and size is not None:
            slot = await _open_slot(self.cluster, self.upload, self.copies, self.offset, size)
            if slot is not None:
                return slot
        return _OwnBlob(await open_replicated(self.cluster, size, self.copies, prefer=self.upload.nodes))


class _OwnBlob:
    def __init__(self, writer: ReplicatedWriter) -> None:
        self._writer = writer

    async def write(self, data: Buffer) -> None:
        await self._writer.write(data)

    async def abort(self) -> None:
        await self._writer.abort()

    async def commit(self) -> PartPlace:
        return PartPlace(await self._writer.commit())


async def _open_slot(cluster: Cluster, upload: Upload, copies: int, offset: int, size: int) -> "_Slot | None":
    """The slot opened on all nodes of the upload, or nothing."""

    async def open_one(node: BlobNode) -> BlobWriter:
        return await node.open_slot(upload.blob_id, offset, size)

    if not all(cluster.is_alive(node_id) for node_id in upload.nodes):
        return None
    outcomes = await each_node(cluster, upload.nodes, open_one)
    opened = {node_id: writer for node_id, writer in outcomes.items() if not isinstance(writer, MantaError)}
    if len(opened) == len(upload.nodes):
        return _Slot(cluster, upload, copies, offset, opened)
    for writer in opened.values():
        await writer.abort()
    return None


class _Slot:
    """A part on its way into its slot on every node of the upload."""

    def __init__(
        self, cluster: Cluster, upload: Upload, copies: int, offset: int, writers: dict[str, BlobWriter]
    ) -> None:
        self._cluster = cluster
        self._upload = upload
        self._copies = copies
        self._offset = offset
        self._replicas = Replicas(cluster, writers)

    async def write(self, data: Buffer) -> None:
        await self._replicas.write(data)

    async def abort(self) -> None:
        await self._replicas.abort()

    async def commit(self) -> PartPlace:
        stored = await self._replicas.commit()
        if not self._replicas.lost:
            return PartPlace(None)
        blob_id = names.new_id(self._cluster.now_ms())
        piece = Piece(self._upload.blob_id, self._offset, stored.size, growing=True)
        blob = await assemble_where_growing(self._cluster, blob_id, self._replicas.nodes, [piece], self._copies)
        return PartPlace(blob)
