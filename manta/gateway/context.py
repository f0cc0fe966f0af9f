"""What every handler may use: the catalog, the blobs, time, and the configuration."""

import asyncio
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from manta.catalog.records import Blob
from manta.catalog.store import Catalog
from manta.core.checksums import Buffer
from manta.core.clock import Clock
from manta.core.config import GatewayConfig
from manta.core.errors import NotImplementedHere
from manta.gateway.metrics import Metrics
from storage_nodes.api import BlobReader

Part = TypeVar("Part")


class BlobSink(Protocol):
    """A blob being written to all of its nodes at once. Exactly one of commit or abort ends it; abort never raises."""

    async def write(self, data: Buffer) -> None: ...

    async def commit(self) -> Blob:
        """Returns once every copy survives a power cut."""
        ...

    async def abort(self) -> None: ...


class Blobs(Protocol):
    """The storage nodes as one place: `manta.gateway.datapath.cluster` has the real one, tests/support a fake."""

    async def put_small(self, data: Buffer) -> Blob:
        """A whole blob of up to limits.SMALL_BLOB_BYTES; NotEnoughNodes, SlowDown."""
        ...

    async def open_put(self, size: int | None) -> BlobSink:
        """A blob of any size, streamed; NotEnoughNodes, SlowDown."""
        ...

    async def open_get(self, blob: Blob, start: int, length: int) -> BlobReader:
        """A range of a blob; goes on from another copy when a node fails in mid-stream."""
        ...

    async def read_small(self, blob: Blob, start: int, length: int) -> bytes:
        """A short range, whole."""
        ...

    async def open_file(self, blob: Blob, start: int, length: int) -> int | None:
        """A descriptor of the checked local file for sendfile, owned by the caller; None when none may be read here."""
        ...

    def discard(self, blob: Blob | None) -> None:
        """A blob that was refused a place in the catalog may go."""
        ...


@dataclass(slots=True)
class Context:
    """One per gateway process. `extras` holds what a room composes for its own handlers, by type.

    `draining` is set once the process is to end: long polls and streams then answer with what they have.
    """

    config: GatewayConfig
    catalog: Catalog
    blobs: Blobs
    clock: Clock
    metrics: Metrics = field(default_factory=Metrics)
    draining: asyncio.Event = field(default_factory=asyncio.Event)
    extras: dict[type, object] = field(default_factory=dict)

    def provide(self, *parts: object) -> None:
        """Make these available to handlers, each by its own type."""
        for part in parts:
            self.extras[type(part)] = part

    def extra(self, kind: type[Part]) -> Part:
        """What was provided under that type; NotImplementedHere when this gateway was composed without it."""
        found = self.extras.get(kind)
        if not isinstance(found, kind):
            raise NotImplementedHere(f"This gateway runs without {kind.__name__}.")
        return found

    def shared(self, kind: type[Part]) -> Part:
        """The one of that type in this gateway, made when it is first asked for."""
        if kind not in self.extras:
            self.provide(kind())
        return self.extra(kind)

    def now_ms(self) -> int:
        return int(self.clock.wall_s() * 1000)
