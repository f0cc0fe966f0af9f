"""The garbage collector: what nothing refers to any more is deleted from its nodes, then forgotten.

Deleting twice is harmless and forgetting comes last, so a crash between them, or a second gateway beside this one,
costs a repeated call and nothing else.
"""

from manta.catalog.records import Garbage, NodeState
from manta.catalog.store import Catalog, NodeStore
from manta.core.errors import MantaError, NoSuchUpload
from manta.core.limits import COMPLETED_UPLOAD_KEEP_S, GARBAGE_BATCH, UPLOAD_EXPIRY_S
from manta.gateway.background.workers import Progress
from manta.gateway.datapath.cluster import Cluster


class GarbageCollector:
    """One round deletes what is due on every living node; what lies on a dead one waits for it."""

    def __init__(self, catalog: NodeStore, cluster: Cluster) -> None:
        self._catalog = catalog
        self._cluster = cluster

    async def round(self, progress: Progress) -> None:
        for node in await self._catalog.list_nodes():
            if node.state is NodeState.GONE:
                await self._collect(node.node_id, progress, delete=False)
            elif self._cluster.is_alive(node.node_id):
                try:
                    await self._collect(node.node_id, progress, delete=True)
                except MantaError as error:
                    self._cluster.failed(node.node_id, error)
                    progress.last_error = str(error)

    async def _collect(self, node_id: str, progress: Progress, *, delete: bool) -> None:
        while rows := await self._catalog.due_garbage(self._cluster.now_ms(), GARBAGE_BATCH, node_id=node_id):
            if delete:
                await self._cluster.node(node_id).delete(_ids(rows))
            await self._catalog.forget_garbage(rows)
            progress.handled += len(rows)
            if len(rows) < GARBAGE_BATCH:
                return


def _ids(rows: list[Garbage]) -> list[str]:
    return [row.blob_id for row in rows]


class UploadExpiry:
    """One round aborts uploads that were left open for too long and drops answers that nobody will ask for (O2).

    While the catalog has gaps nothing is aborted: an upload that is open here may have become an object in one of them.
    """

    def __init__(self, catalog: Catalog, cluster: Cluster) -> None:
        self._catalog = catalog
        self._cluster = cluster

    async def round(self, progress: Progress) -> None:
        now_ms = self._cluster.now_ms()
        oldest_ms = now_ms - int(UPLOAD_EXPIRY_S * 1000)
        kept = await self._catalog.gaps()
        while not kept and (expired := await self._catalog.expired_uploads(oldest_ms, GARBAGE_BATCH)):
            for upload in expired:
                try:
                    await self._catalog.abort_upload(upload.bucket, upload.key, upload.upload_id)
                except NoSuchUpload:
                    continue
            progress.handled += len(expired)
        forget_ms = now_ms - int(COMPLETED_UPLOAD_KEEP_S * 1000)
        while await self._catalog.forget_completed_uploads(forget_ms, GARBAGE_BATCH) == GARBAGE_BATCH:
            continue
