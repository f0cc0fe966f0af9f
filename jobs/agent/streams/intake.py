"""One output that a task's program sends: hashed as it comes, kept while small, else streamed into the volume."""

import asyncio
from collections.abc import Callable
from typing import Final

from jobs.agent.ports import LocalStore
from jobs.agent.streams.capture import Captured
from jobs.model.wire import OutputSlot
from jobs.programs.protocol import OutputCall
from manta.core.checksums import Algorithm, new, new_md5
from manta.core.limits import SMALL_BLOB_BYTES
from storage_nodes.api import BlobWriter

_PIECES_MAX: Final = 1024
"""Of what waits: small ones take more memory than they hold."""


class Intake:
    """`keep` asks for so many bytes of the task's memory for waiting outputs; without them they go to the volume."""

    def __init__(self, store: LocalStore, slot: OutputSlot, call: OutputCall, keep: Callable[[int], bool]) -> None:
        self.slot = slot
        self.call = call
        self.captured: Captured | None = None
        self._store = store
        self._keep = keep
        self._gathered: list[bytes] = []
        self._waiting = 0
        self._size = 0
        self._md5 = new_md5()
        self._crc = new(Algorithm.CRC64NVME)
        self._writer: BlobWriter | None = None

    async def write(self, data: bytes) -> None:
        self._gathered.append(data)
        if len(self._gathered) > _PIECES_MAX:
            self._gathered = [b"".join(self._gathered)]
        self._waiting += len(data)
        self._size += len(data)
        if self._waiting > SMALL_BLOB_BYTES:
            await self._move()

    async def finish(self) -> None:
        """The whole has come: it is kept, or durable in the volume."""
        if self._writer is not None:
            await self._move()
            await self._writer.commit()
            self._writer = None
            self.captured = Captured(self._size, self._md5.digest(), self._crc.digest(), None)
            return
        data = b"".join(self._gathered)
        self._gathered.clear()
        self._hash(data)
        kept: bytes | None = data
        if data and not self._keep(len(data)):
            await self._store.put(self.slot.blob_id, data)
            kept = None
        self.captured = Captured(len(data), self._md5.digest(), self._crc.digest(), kept)

    async def abort(self) -> None:
        """It did not come whole: nothing of it is kept."""
        self._gathered.clear()
        writer, self._writer = self._writer, None
        if writer is not None:
            await writer.abort()

    async def _move(self) -> None:
        if self._writer is None:
            self._writer = await self._store.open_put(self.slot.blob_id, None)
        data = b"".join(self._gathered)
        self._gathered.clear()
        self._waiting = 0
        if data:
            await asyncio.gather(asyncio.to_thread(self._hash, data), self._writer.write(data))

    def _hash(self, data: bytes) -> None:
        self._md5.update(data)
        self._crc.update(data)
