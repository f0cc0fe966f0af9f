"""The catalog in plain dictionaries: the oracle of the property tests, and a store for tests of other rooms."""

from manta.catalog.memory.accounts import MemoryAccounts, MemoryBuckets
from manta.catalog.memory.jobs import MemoryJobs
from manta.catalog.memory.nodes import MemoryNodes
from manta.catalog.memory.objects import MemoryObjects
from manta.catalog.memory.state import MemoryState
from manta.catalog.memory.uploads import MemoryUploads
from manta.core.clock import Clock


class MemoryCatalog(MemoryAccounts, MemoryBuckets, MemoryObjects, MemoryUploads, MemoryNodes):
    """Nothing is durable; everything else is as the protocol says."""

    def __init__(self, clock: Clock) -> None:
        self.state = MemoryState(clock)
        self.jobs = MemoryJobs(self.state)

    def _knows(self, node_id: str, blob_id: str) -> bool:
        return super()._knows(node_id, blob_id) or self.jobs.tables.is_slot(blob_id)

    async def close(self) -> None:
        return
