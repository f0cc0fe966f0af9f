"""What a storage node does for others: the values that cross the wire and the protocol its client offers.

A blob is immutable bytes under an opaque id (`manta.core.names.new_id`). A *growing* blob belongs to an open multipart
upload: parts are written at their final offsets, then `finish` makes it a blob without copying.
"""

from typing import Protocol

import msgspec

from manta.core.checksums import Buffer
from manta.core.peers import PeerSource


class Stored(msgspec.Struct, frozen=True):
    """What the node has made durable: size in bytes and CRC-32C of the whole."""

    size: int
    crc32c: int


class Piece(msgspec.Struct, frozen=True):
    """A range of an existing (or growing) blob that becomes part of a new one; read here, else from a source."""

    blob_id: str
    offset: int
    size: int
    growing: bool = False
    sources: tuple[PeerSource, ...] = ()


class BlobInfo(msgspec.Struct, frozen=True):
    blob_id: str
    size: int
    modified_ms: int
    growing: bool = False


class NodeStatus(msgspec.Struct, frozen=True):
    """`writable` is False after a failed fsync (D5) or at the reserve (D6); `reason` says which.

    `served_bytes`: of blobs, sent over the network or a socket since it started, to gateways and to other nodes.
    """

    node_id: str
    version: str
    total_bytes: int
    free_bytes: int
    writable: bool
    reason: str
    blobs_quarantined: int
    uptime_s: float
    agent: dict[str, object] = {}
    served_bytes: int = 0


class BlobWriter(Protocol):
    """A stream into a node. Exactly one of commit or abort ends it; abort never raises."""

    async def write(self, data: Buffer) -> None:
        """Memory of a ring may change once RING_KEPT_BYTES more were written, any other when this returns."""
        ...

    async def commit(self) -> Stored:
        """Returns once the bytes survive a power cut."""
        ...

    async def abort(self) -> None: ...


class BlobReader(Protocol):
    """A stream out of a node: bytes in order, b"" at the end. `NodeUnavailable` or `BlobDamaged` in mid-stream."""

    async def read(self) -> bytes: ...

    async def close(self) -> None: ...


class BlobNode(Protocol):
    """One storage node. Errors: NodeUnavailable, NoSuchBlob, BlobDamaged, InsufficientStorage, VolumeReadOnly."""

    @property
    def node_id(self) -> str: ...

    async def put(self, blob_id: str, data: Buffer) -> Stored:
        """A whole small blob (up to limits.SMALL_BLOB_BYTES), sent together with its neighbours in time."""
        ...

    async def open_put(self, blob_id: str, size: int | None) -> BlobWriter:
        """A blob of any size; `size` lets the node refuse early and preallocate."""
        ...

    async def open_slot(self, blob_id: str, offset: int, size: int) -> BlobWriter:
        """One part of a growing blob. Commits only if exactly `size` bytes came."""
        ...

    async def finish(self, blob_id: str, size: int) -> Stored:
        """The growing blob, cut at `size`, becomes a blob. Repeating it is fine."""
        ...

    async def assemble(self, blob_id: str, pieces: list[Piece]) -> Stored:
        """A new blob from ranges of others, copied on the node where it has them, fetched from peers where not."""
        ...

    async def open_get(self, blob_id: str, start: int, length: int, *, growing: bool = False) -> BlobReader: ...

    async def stat(self, blob_id: str) -> BlobInfo: ...

    async def verify(self, blob_id: str) -> None:
        """Have the node read the whole blob; it quarantines a damaged one and raises BlobDamaged."""
        ...

    async def delete(self, blob_ids: list[str]) -> None:
        """Blobs and growing blobs of these ids; those that do not exist are fine."""
        ...

    async def list(self, *, after: str = "", limit: int = 1000, older_than_ms: int | None = None) -> list[BlobInfo]:
        """In order of blob id; growing ones too."""
        ...

    async def status(self) -> NodeStatus: ...

    def interrupt(self) -> None:
        """End every call under way with NodeUnavailable: the node was found dead, so nobody shall wait for it."""
        ...

    async def close(self) -> None: ...
