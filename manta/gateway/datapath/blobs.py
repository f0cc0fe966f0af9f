"""The storage nodes as one place to put blobs and get them: what handlers see of the cluster (`context.Blobs`)."""

from manta.catalog.records import Blob
from manta.core.checksums import Buffer
from manta.core.errors import NotImplementedHere
from manta.gateway.context import Blobs
from manta.gateway.datapath import blob_reader, blob_writer
from manta.gateway.datapath.cluster import Cluster
from storage_nodes.api import BlobReader


def cluster_blobs(blobs: Blobs) -> "ClusterBlobs":
    """The real thing behind `Context.blobs`, for what needs to know the nodes (uploads). NotImplementedHere."""
    if not isinstance(blobs, ClusterBlobs):
        raise NotImplementedHere("Multipart uploads need storage nodes.")
    return blobs


class ClusterBlobs:
    """`copies` of each new blob, on as many nodes."""

    def __init__(self, cluster: Cluster, copies: int) -> None:
        self.cluster = cluster
        self.copies = copies

    async def put_small(self, data: Buffer) -> Blob:
        return await blob_writer.put_small(self.cluster, data, self.copies)

    async def open_put(self, size: int | None) -> blob_writer.ReplicatedWriter:
        return await blob_writer.open_replicated(self.cluster, size, self.copies)

    async def open_get(self, blob: Blob, start: int, length: int) -> BlobReader:
        return await blob_reader.open_blob(self.cluster, blob, start, length)

    async def read_small(self, blob: Blob, start: int, length: int) -> bytes:
        return await blob_reader.read_small(self.cluster, blob, start, length)

    async def open_file(self, blob: Blob, start: int, length: int) -> int | None:
        return await blob_reader.open_local(self.cluster, blob, start, length)

    def discard(self, blob: Blob | None) -> None:
        """A blob that was refused a place in the catalog."""
        if blob is not None:
            self.cluster.discard(blob.blob_id, blob.nodes)
