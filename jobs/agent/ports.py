"""What the agent asks of its surroundings: its own volume, its peers' volumes, and a gateway."""

from collections.abc import Sequence
from typing import Protocol, TypeVar

import msgspec

from manta.core.checksums import Buffer
from manta.core.peers import PeerSource
from storage_nodes.api import BlobReader, BlobWriter, Stored
from storage_nodes.disk.space import Space

Reply = TypeVar("Reply", bound=msgspec.Struct)


class LocalStore(Protocol):
    """This node's own volume, the only one the agent opens (J5). Errors as in `storage_nodes.api.BlobNode`."""

    async def checked(self, blob_id: str, size: int) -> str:
        """The blob's file, as a path below the blobs folder, its checksums verified (or known to be good)."""
        ...

    async def check_ahead(self, blobs: Sequence[tuple[str, int]]) -> None:
        """Verify small (blob id, size) together, so that `checked` soon answers at once, also for large ones that were
        verified before. Never raises."""
        ...

    async def put(self, blob_id: str, data: Buffer) -> Stored: ...

    async def open_put(self, blob_id: str, size: int | None) -> BlobWriter: ...

    async def open_get(self, blob_id: str, start: int, length: int) -> BlobReader: ...

    async def copy(self, source: str, target: str, size: int) -> None:
        """A second blob of the same bytes."""
        ...

    async def delete(self, blob_ids: list[str]) -> None: ...

    def space(self) -> Space:
        """What the volume's disk has now."""
        ...


class Peers(Protocol):
    """Other nodes' blobs, reached with the token of the source. `NodeUnavailable` when the peer does not answer."""

    async def put(self, source: PeerSource, blob_id: str, data: Buffer) -> Stored: ...

    async def open_put(self, source: PeerSource, blob_id: str, size: int | None) -> BlobWriter: ...

    async def open_get(self, source: PeerSource, blob_id: str, start: int, length: int) -> BlobReader: ...

    async def close(self) -> None: ...


class Gateway(Protocol):
    """One gateway's calls for nodes."""

    @property
    def url(self) -> str: ...

    async def call(self, name: str, message: msgspec.Struct, kind: type[Reply], timeout_s: float) -> Reply:
        """`name` is lease, report, inputs or slots. `GatewayUnreachable` when there is no answer, or a 5xx."""
        ...

    async def close(self) -> None: ...


class Caller(Protocol):
    """A call to whichever gateway answers."""

    async def call(self, name: str, message: msgspec.Struct, kind: type[Reply]) -> Reply: ...
