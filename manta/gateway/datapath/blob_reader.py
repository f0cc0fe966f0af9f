"""Bytes of a blob from whichever copy can give them, in order, without a seam.

A copy on this machine is read from its own file. A copy that fails or proves damaged is left for the next one at the
byte where it stopped; the node that holds a damaged copy is told by being asked for it, and quarantines it (D4).
"""

import asyncio
from collections import deque

from manta.catalog.records import Blob
from manta.core.errors import BlobDamaged, InternalError, MantaError, NodeUnavailable, NoSuchBlob, ServiceUnavailable
from manta.core.limits import BLOCK_BYTES
from manta.gateway.datapath.cluster import Cluster
from storage_nodes.api import BlobReader
from storage_nodes.disk.reader import OpenBlob, VolumeReader


def read_local(cluster: Cluster, blob: Blob, start: int, length: int) -> bytes | None:
    """A short range from a copy on this machine, on the event loop; None when no copy can be read here."""
    for node_id in blob.nodes:
        volume = cluster.volume(node_id)
        if volume is not None:
            try:
                return volume.read(blob.blob_id, start, length)
            except BlobDamaged:
                cluster.damaged(node_id, blob.blob_id)
            except MantaError:
                continue
    return None


async def open_local(cluster: Cluster, blob: Blob, start: int, length: int) -> int | None:
    """A descriptor of a copy's file on this machine, that range checked; None when there is none."""
    for node_id in blob.nodes:
        volume = cluster.volume(node_id)
        if volume is not None:
            try:
                opened = await asyncio.to_thread(volume.open_verified, blob.blob_id, start, length)
            except BlobDamaged:
                cluster.damaged(node_id, blob.blob_id)
                continue
            except MantaError:
                continue
            descriptor, opened.descriptor = opened.descriptor, -1
            opened.close()
            return descriptor
    return None


async def read_small(cluster: Cluster, blob: Blob, start: int, length: int) -> bytes:
    """A short range, whole. Errors as of `FailoverReader`."""
    data = read_local(cluster, blob, start, length)
    if data is not None:
        return data
    reader = await open_blob(cluster, blob, start, length)
    try:
        pieces = []
        while piece := await reader.read():
            pieces.append(piece)
    finally:
        await reader.close()
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


async def open_blob(cluster: Cluster, blob: Blob, start: int, length: int) -> "FailoverReader":
    """A reader that has its first bytes already, so that a blob nobody can give is an error before any reply."""
    await cluster.know(blob.nodes)
    reader = FailoverReader(cluster, blob, start, length)
    try:
        await reader.prime()
    except BaseException:
        await reader.close()
        raise
    return reader


class FailoverReader:
    """A BlobReader over all copies. ServiceUnavailable or InternalError when none is left to go on from.

    `node_id` is the node that is being read, "" while a local file is.
    """

    def __init__(self, cluster: Cluster, blob: Blob, start: int, length: int) -> None:
        self._cluster = cluster
        self._blob = blob
        self._at = start
        self._end = start + length
        self._reader: BlobReader | None = None
        self.node_id = ""
        self._untried = deque(cluster.reading_order(blob.nodes))
        self._locals = deque(node_id for node_id in self._untried if cluster.volume(node_id) is not None)
        self._unavailable = False
        self._first: bytes | None = None

    async def prime(self) -> None:
        self._first = await self.read()

    async def read(self) -> bytes:
        if self._first is not None:
            first, self._first = self._first, None
            return first
        while self._at < self._end:
            try:
                if self._reader is None:
                    self._reader = await self._next()
                data = await self._reader.read()
                if not data:
                    raise NodeUnavailable("The node ended the blob early.")
            except MantaError as error:
                await self._give_up(error)
                continue
            data = data[: self._end - self._at]
            self._at += len(data)
            return data
        return b""

    async def close(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            await reader.close()

    async def _next(self) -> BlobReader:
        if self._locals:
            volume = self._cluster.volume(self._locals.popleft())
            if volume is not None:
                return LocalReader(volume, self._blob.blob_id, self._at, self._end)
        if not self._untried:
            raise self._exhausted()
        self.node_id = self._untried.popleft()
        node = self._cluster.node(self.node_id)
        return await node.open_get(self._blob.blob_id, self._at, self._end - self._at)

    async def _give_up(self, error: MantaError) -> None:
        if isinstance(error, _Exhausted | _ExhaustedDamaged):
            raise error
        if isinstance(error, NodeUnavailable):
            self._unavailable = True
            if self.node_id:
                self._cluster.failed(self.node_id, error)
        elif not isinstance(error, BlobDamaged | NoSuchBlob):
            self._unavailable = True
        await self.close()
        self.node_id = ""

    def _exhausted(self) -> MantaError:
        if self._unavailable:
            return _Exhausted("No storage node that holds the object answers; please try again.")
        return _ExhaustedDamaged("No good copy of the object was found on its storage nodes.")


class _Exhausted(ServiceUnavailable):
    pass


class _ExhaustedDamaged(InternalError):
    pass


class LocalReader:
    """A BlobReader of a file on this machine, a checked block at a time, off the event loop.

    The file stays open, so that a slow reader gets all of it although the object is replaced and its garbage collected.
    """

    def __init__(self, volume: VolumeReader, blob_id: str, start: int, end: int) -> None:
        self._volume = volume
        self._blob_id = blob_id
        self._at = start
        self._end = end
        self._opened: OpenBlob | None = None
        self._reading: asyncio.Future[bytes] | None = None

    async def read(self) -> bytes:
        length = min(self._end - self._at, BLOCK_BYTES - self._at % BLOCK_BYTES)
        if length <= 0:
            return b""
        self._reading = asyncio.get_running_loop().run_in_executor(None, self._take, length)
        data = await asyncio.shield(self._reading)
        self._at += len(data)
        return data

    async def close(self) -> None:
        """A read whose caller was cancelled is waited for: it uses the descriptor."""
        if self._reading is not None and not self._reading.done():
            await asyncio.wait([self._reading])
            self._reading.exception()
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    def _take(self, length: int) -> bytes:
        if self._opened is None:
            self._opened = self._volume.open(self._blob_id)
        return self._opened.read(self._at, length)
