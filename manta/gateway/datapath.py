"""The way from this gateway to its storage nodes, composed: cluster, blobs and background workers, begun and ended."""

from dataclasses import dataclass

from manta.catalog.records import Node
from manta.catalog.store import Catalog
from manta.core.clock import Clock
from manta.core.config import GatewayConfig
from manta.core.peers import NodeAddress
from manta.gateway.blobs import ClusterBlobs
from manta.gateway.cluster import Cluster
from storage_nodes.api import BlobNode
from storage_nodes.client import NodeClient
from storage_nodes.reader import VolumeReader


@dataclass(slots=True)
class Datapath:
    """`blobs` is for handlers; put it into `Context.extras` under its type too, for uploads and copies."""

    cluster: Cluster
    blobs: ClusterBlobs

    async def close(self) -> None:
        await self.cluster.close()


async def start_datapath(config: GatewayConfig, catalog: Catalog, clock: Clock) -> Datapath:
    """Returns once every registered node was probed."""
    cluster = Cluster(
        catalog,
        clock,
        connect,
        machine_id=config.machine_id,
        open_volume=VolumeReader if config.direct_reads else None,
    )
    await cluster.start()
    return Datapath(cluster, ClusterBlobs(cluster, config.copies))


def connect(node: Node) -> BlobNode:
    return NodeClient(NodeAddress(node.node_id, node.url, node.key))
