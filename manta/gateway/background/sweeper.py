"""The orphan sweeper: files on a node that the catalog knows nothing of, and that are too old to be still on their way.

A commit refuses a blob born more than half the grace time ago, so nothing that is deleted here can be referred to
later. Growing files of open uploads, garbage that is not due and tasks' outputs are known to the catalog. What is older
than the catalog is left alone: whoever lost a catalog, or named the wrong one, must not lose the objects as well. So is
what was born in a gap of a restored catalog, until the operator says that it may go.
"""

import asyncio

from manta.catalog.store import NodeStore
from manta.core.errors import MantaError
from manta.core.limits import ORPHAN_GRACE_S, SWEEP_BATCH, SWEEP_PAUSE_S
from manta.core.names import birth_ms
from manta.gateway.background.workers import Progress
from manta.gateway.datapath.cluster import Cluster


class Sweeper:
    """One round goes through the blobs of every living node, in batches with a pause between them."""

    def __init__(self, catalog: NodeStore, cluster: Cluster, pause_s: float = SWEEP_PAUSE_S) -> None:
        self._catalog = catalog
        self._cluster = cluster
        self._pause_s = pause_s

    async def round(self, progress: Progress) -> None:
        for member in self._cluster.members():
            if not member.alive:
                continue
            try:
                await self._sweep(member.node.node_id, progress)
            except MantaError as error:
                self._cluster.failed(member.node.node_id, error)
                progress.last_error = str(error)

    async def _sweep(self, node_id: str, progress: Progress) -> None:
        node = self._cluster.node(node_id)
        oldest_ms = self._cluster.now_ms() - int(ORPHAN_GRACE_S * 1000)
        born_ms, gaps = await self._catalog.born_ms(), await self._catalog.gaps()
        after = ""
        while found := await node.list(after=after, limit=SWEEP_BATCH, older_than_ms=oldest_ms):
            after = found[-1].blob_id
            # The id tells when the blob was born, whatever the node says of its file.
            births = {info.blob_id: birth_ms(info.blob_id) for info in found}
            old = [blob_id for blob_id, birth in births.items() if born_ms <= birth < oldest_ms]
            if gaps:
                old = [blob_id for blob_id in old if not any(gap.covers(births[blob_id]) for gap in gaps)]
            orphans = await self._catalog.unknown_blobs(node_id, old)
            if orphans:
                await node.delete(sorted(orphans))
                progress.handled += len(orphans)
            await asyncio.sleep(self._pause_s)
