"""This node's own volume as the agent uses it: the same files, threads and locks as the node's server."""

import asyncio
import contextlib
from collections.abc import Callable, Sequence

from manta.core.checksums import Buffer
from manta.core.errors import BlobDamaged, MantaError
from manta.core.limits import BLOCK_BYTES, LEASE_BATCH_MAX
from storage_nodes.api import BlobReader, BlobWriter, Stored
from storage_nodes.disk.incoming import IncomingBlob
from storage_nodes.disk.layout import blob_path
from storage_nodes.disk.space import Space
from storage_nodes.disk.volume import Volume
from storage_nodes.server.daemon import StorageServer
from storage_nodes.server.workers import Workers


class VolumeStore:
    """Implements `ports.LocalStore`."""

    def __init__(self, storage: StorageServer) -> None:
        self._volume = storage.volume
        self._workers = storage.workers
        self._small_puts = storage.small_puts
        self._ahead: dict[str, None] = {}
        """Blobs that were found good a moment ago: looking again reads nothing, and needs no thread."""
        self._checking: dict[str, asyncio.Task[None]] = {}
        """Large blobs whose checksums are being verified."""

    async def checked(self, blob_id: str, size: int) -> str:
        def check() -> None:
            self._volume.reader.open_verified(blob_id, 0, size).close()

        if blob_id in self._ahead:
            del self._ahead[blob_id]
            if self._is_good(blob_id, size):
                return blob_path(blob_id)
        if size <= BLOCK_BYTES:
            await self._guarded(blob_id, check)
        else:
            await self._check_once(blob_id, check)
        return blob_path(blob_id)

    async def _check_once(self, blob_id: str, check: Callable[[], None]) -> None:
        """Ranges of one large object begin together: whoever comes while it is being checked waits for that."""
        going = self._checking.get(blob_id)
        if going is None:
            going = self._checking[blob_id] = asyncio.create_task(self._guarded(blob_id, check))
            going.add_done_callback(lambda done: self._forget_check(blob_id, done))
        await asyncio.shield(going)

    def _forget_check(self, blob_id: str, done: "asyncio.Task[None]") -> None:
        del self._checking[blob_id]
        if not done.cancelled():
            done.exception()  # who asked may be gone

    async def check_ahead(self, blobs: Sequence[tuple[str, int]]) -> None:
        for blob_id in await self._workers.run(lambda: self._good(blobs)):
            self._ahead[blob_id] = None
        while len(self._ahead) > 2 * LEASE_BATCH_MAX:
            del self._ahead[next(iter(self._ahead))]

    def _good(self, blobs: Sequence[tuple[str, int]]) -> list[str]:
        return [blob_id for blob_id, size in blobs if self._is_good(blob_id, size)]

    def _is_good(self, blob_id: str, size: int) -> bool:
        """Whether all of it is as it was written, as far as that takes no more than a block to read."""
        with contextlib.suppress(MantaError), self._volume.reader.open(blob_id) as blob:
            if size <= BLOCK_BYTES:
                blob.check(0, size)
            return blob.is_trusted(0, size)
        return False

    async def put(self, blob_id: str, data: Buffer) -> Stored:
        (outcome,) = await self._small_puts.put([(blob_id, data)])
        if isinstance(outcome, MantaError):
            raise outcome
        return Stored(len(data), outcome)

    async def open_put(self, blob_id: str, size: int | None) -> BlobWriter:
        blob = await self._workers.run(lambda: self._volume.incoming(blob_id, size))
        return _Writer(self._volume, self._workers, blob)

    async def open_get(self, blob_id: str, start: int, length: int) -> BlobReader:
        return _Reader(self, blob_id, start, length)

    async def copy(self, source: str, target: str, size: int) -> None:
        writer = await self.open_put(target, size)
        try:
            reader = await self.open_get(source, 0, size)
            while data := await reader.read():
                await writer.write(data)
        except BaseException:
            await writer.abort()
            raise
        await writer.commit()

    def space(self) -> Space:
        return self._volume.space()

    async def delete(self, blob_ids: list[str]) -> None:
        await self._workers.run(lambda: self._volume.delete(blob_ids))
        await self._small_puts.forget(blob_ids)

    async def read(self, blob_id: str, start: int, length: int) -> bytes:
        """Those bytes, checked. A damaged copy is put aside (D4)."""
        found: list[bytes] = []
        await self._guarded(blob_id, lambda: found.append(self._volume.reader.read(blob_id, start, length)))
        return found[0]

    async def _guarded(self, blob_id: str, action: Callable[[], None]) -> None:
        try:
            await self._workers.run(action)
        except BlobDamaged:
            await self._workers.run(lambda: self._volume.quarantine(blob_id))
            raise


class _Writer:
    """A `BlobWriter` into the own volume."""

    def __init__(self, volume: Volume, workers: Workers, blob: IncomingBlob) -> None:
        self._volume = volume
        self._workers = workers
        self._blob = blob

    async def write(self, data: Buffer) -> None:
        await self._workers.run(lambda: self._volume.write(self._blob, [data]))

    async def commit(self) -> Stored:
        return await self._workers.run(lambda: self._volume.commit(self._blob))

    async def abort(self) -> None:
        await self._workers.run(self._blob.abort)


class _Reader:
    """A `BlobReader` over the own volume, a block at a time."""

    def __init__(self, store: VolumeStore, blob_id: str, start: int, length: int) -> None:
        self._store = store
        self._blob_id = blob_id
        self._position = start
        self._end = start + length

    async def read(self) -> bytes:
        size = min(self._end - self._position, BLOCK_BYTES - self._position % BLOCK_BYTES)
        if size <= 0:
            return b""
        data = await self._store.read(self._blob_id, self._position, size)
        self._position += len(data)
        return data

    async def close(self) -> None:
        self._position = self._end
