"""Small blobs put without a journal: each made durable on its own, side by side in the worker threads."""

import asyncio
from collections.abc import Sequence

from manta.core.checksums import Buffer
from manta.core.errors import MantaError
from storage_nodes.disk import durable
from storage_nodes.disk.small_puts import Outcome, SmallPuts
from storage_nodes.disk.volume import Volume
from storage_nodes.server.workers import Workers


class SimplePuts:
    """The same offer as `SmallPuts`."""

    def __init__(self, volume: Volume, workers: Workers) -> None:
        self._volume = volume
        self._workers = workers

    def start(self) -> None:
        """Settle what a process with a journal may have left."""
        SmallPuts(self._volume).settle_old()

    async def put(self, blobs: Sequence[tuple[str, Buffer]]) -> list[Outcome]:
        """One outcome per blob, in order, once all are durable."""
        return await asyncio.gather(*(self._put(blob_id, data) for blob_id, data in blobs))

    async def forget(self, blob_ids: Sequence[str]) -> None:
        """Nothing remembers them."""

    def close(self) -> None:
        """Nothing is left to settle."""

    async def _put(self, blob_id: str, data: Buffer) -> Outcome:
        try:
            return await self._workers.run(lambda: self._put_one(blob_id, data))
        except MantaError as error:
            return error

    def _put_one(self, blob_id: str, data: Buffer) -> int:
        stored = self._volume.put(blob_id, data)
        durable.step("before-reply")
        return stored.crc32c
