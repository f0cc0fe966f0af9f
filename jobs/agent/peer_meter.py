"""What an agent reads from other nodes, counted where it comes in: nothing reaches it from them by another way (J5).

Bytes of an object that a map task has as its input are that task's, whoever in the agent read them and why. All others
are of reducers' inputs, which are counted as they are poured, or of assets, images and what programs ask for by name.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from jobs.agent.attempt import Attempt
from jobs.agent.counters import Counters
from jobs.agent.ports import Peers
from manta.core.checksums import Buffer
from manta.core.peers import PeerSource
from storage_nodes.api import BlobReader, BlobWriter, Stored


class MeteredPeers:
    """`ports.Peers` over others, which tells `Counters.peer_read_bytes` and the `moved_bytes` of attempts."""

    def __init__(self, peers: Peers, counters: Counters) -> None:
        self._peers = peers
        self.counters = counters
        self._readers: dict[str, list[Attempt]] = {}

    @contextmanager
    def map_inputs_of(self, attempts: Sequence[Attempt]) -> Iterator[None]:
        """While the block runs, what is read of their inputs is theirs; of ranges of one object, the first one's."""
        claims = [(blob_id, attempt) for attempt in attempts for blob_id in attempt.input_blobs]
        for blob_id, attempt in claims:
            self._readers.setdefault(blob_id, []).append(attempt)
        try:
            yield
        finally:
            for blob_id, attempt in claims:
                readers = self._readers[blob_id]
                readers.remove(attempt)
                if not readers:
                    del self._readers[blob_id]

    def count(self, blob_id: str, size: int) -> None:
        self.counters.peer_read_bytes += size
        for attempt in self._readers.get(blob_id, ())[:1]:
            attempt.moved_bytes += size
            self.counters.moved_bytes += size

    async def put(self, source: PeerSource, blob_id: str, data: Buffer) -> Stored:
        return await self._peers.put(source, blob_id, data)

    async def open_put(self, source: PeerSource, blob_id: str, size: int | None) -> BlobWriter:
        return await self._peers.open_put(source, blob_id, size)

    async def open_get(self, source: PeerSource, blob_id: str, start: int, length: int) -> BlobReader:
        return _MeteredReader(await self._peers.open_get(source, blob_id, start, length), self, blob_id)

    async def close(self) -> None:
        await self._peers.close()


class _MeteredReader:
    """A `BlobReader` from a peer."""

    def __init__(self, reader: BlobReader, meter: MeteredPeers, blob_id: str) -> None:
        self._reader = reader
        self._meter = meter
        self._blob_id = blob_id

    async def read(self) -> bytes:
        data = await self._reader.read()
        self._meter.count(self._blob_id, len(data))
        return data

    async def close(self) -> None:
        await self._reader.close()
