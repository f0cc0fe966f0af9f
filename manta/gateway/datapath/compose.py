"""The way from this gateway to its storage nodes, composed: cluster, blobs and background workers, begun and ended."""

from dataclasses import dataclass

from manta.catalog.records import Node
from manta.catalog.store import Catalog
from manta.core.clock import Clock
from manta.core.config import GatewayConfig
from manta.core.limits import EXPIRY_INTERVAL_S, GARBAGE_INTERVAL_S, SWEEP_INTERVAL_S
from manta.core.peers import NodeAddress
from manta.gateway.background.garbage import GarbageCollector, UploadExpiry
from manta.gateway.background.sweeper import Sweeper
from manta.gateway.background.workers import Worker
from manta.gateway.datapath.blobs import ClusterBlobs
from manta.gateway.datapath.cluster import Cluster
from storage_nodes.api import BlobNode
from storage_nodes.client.node_client import NodeClient
from storage_nodes.disk.reader import VolumeReader


@dataclass(slots=True)
class Datapath:
    """`blobs` is for handlers; `workers` by name, for those who show their progress."""

    cluster: Cluster
    blobs: ClusterBlobs
    workers: dict[str, Worker]

    async def close(self) -> None:
        for worker in self.workers.values():
            await worker.close()
        await self.cluster.close()


async def start_datapath(config: GatewayConfig, catalog: Catalog, clock: Clock) -> Datapath:
    """Returns once every registered node was probed and the workers run."""
    cluster = Cluster(
        catalog,
        clock,
        connect,
        machine_id=config.machine_id,
        open_volume=VolumeReader if config.direct_reads else None,
    )
    await cluster.start()
    workers = [
        Worker("garbage", GarbageCollector(catalog, cluster).round, GARBAGE_INTERVAL_S, clock),
        Worker("expiry", UploadExpiry(catalog, cluster).round, EXPIRY_INTERVAL_S, clock),
        Worker("sweeper", Sweeper(catalog, cluster).round, SWEEP_INTERVAL_S, clock),
    ]
    for worker in workers:
        worker.start()
    return Datapath(cluster, ClusterBlobs(cluster, config.copies), {one.progress.name: one for one in workers})


def connect(node: Node) -> BlobNode:
    return NodeClient(NodeAddress(node.node_id, node.url, node.key))
