"""Jobs in this gateway, composed: the scheduler, where outputs go, and the keys that nodes sign with."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Collection, Sequence
from urllib.parse import quote

from jobs.model.questions import StderrNews, StderrTail
from jobs.model.wire import unpack
from jobs.scheduler.scheduler import Scheduler
from manta.catalog.job_records import JobView
from manta.catalog.records import Node, NodeState
from manta.catalog.store import NodeStore
from manta.core.clock import Clock
from manta.core.errands import give_up
from manta.core.errors import AccessDenied, NodeUnavailable, NotEnoughNodes, SlowDown
from manta.core.limits import DAY_S, NODE_REFRESH_S, NODE_TIMEOUT_S
from manta.core.peers import NodeAddress, PeerSource
from manta.gateway.context import Context
from manta.gateway.datapath.cluster import Cluster
from manta.gateway.metering import Meters
from manta.gateway.ops.task_calls import TaskCalls
from storage_nodes import token
from storage_nodes.client.node_client import NodeClient

NODE_HEADER = "x-manta-node"


class ClusterPlacement:
    """Implements `jobs.scheduler.places.Placement` over the cluster as this gateway sees it."""

    def __init__(self, cluster: Cluster, copies: int) -> None:
        self._cluster = cluster
        self._copies = copies

    def copies(self, blob_id: str, node_id: str, ttl_s: float, avoid: Collection[str] = ()) -> tuple[PeerSource, ...]:
        if self._copies == 1:
            return ()
        chosen = self._choose(node_id, avoid)
        nodes = {member.node.node_id: member.node for member in self._cluster.members()}
        expires_s = self._cluster.clock.wall_s() + ttl_s
        return tuple(
            PeerSource(one, nodes[one].url, token.sign(nodes[one].key, "PUT", token.blob_path(blob_id), expires_s))
            for one in chosen
        )

    def takes_tasks(self, node_id: str) -> bool:
        return self._cluster.has_nodes_for(self._copies - 1, node_id)

    def _choose(self, node_id: str, avoid: Collection[str]) -> list[str]:
        if avoid:
            with contextlib.suppress(NotEnoughNodes, SlowDown):
                return self._cluster.choose(self._copies - 1, avoid={node_id, *avoid}, near=(node_id,))
        return self._cluster.choose(self._copies - 1, avoid=(node_id,), near=(node_id,))

    def sources(self, blob_id: str, nodes: Sequence[str], ttl_s: float) -> tuple[PeerSource, ...]:
        return self._cluster.sources(nodes, blob_id, ttl_s)


class NodeKeys:
    """Checks that a call comes from the node it names. Keys are re-read after a while and when one does not fit."""

    def __init__(self, catalog: NodeStore, clock: Clock) -> None:
        self._catalog = catalog
        self._clock = clock
        self._nodes: dict[str, Node] = {}
        self._read_s = float("-inf")

    async def check(self, node_id: str, path: str, signed: str) -> None:
        """AccessDenied unless `signed` is that node's token for a POST of `path`."""
        age_s = self._clock.monotonic_s() - self._read_s
        if age_s > NODE_REFRESH_S or (not self._fits(node_id, path, signed) and age_s > 0.5):
            self._nodes = {node.node_id: node for node in await self._catalog.list_nodes()}
            self._read_s = self._clock.monotonic_s()
        if not self._fits(node_id, path, signed):
            raise AccessDenied("The node is not registered here, or signed with another key.")

    def _fits(self, node_id: str, path: str, signed: str) -> bool:
        node = self._nodes.get(node_id)
        if node is None or node.state is NodeState.GONE:
            return False
        return token.verify(node.key, "POST", path, signed, self._clock.wall_s())


async def read_stderr(context: Context, node_id: str, job_id: str, task_id: int, attempt: int = 0) -> StderrTail:
    """What the node's agent kept of it; with `attempt`, of that one. NodeUnavailable."""
    path = f"stderr/{job_id}/{task_id}" + (f"/{attempt}" if attempt else "")
    return unpack(await _ask_agent(context, node_id, path), StderrTail)


async def read_news(context: Context, node_id: str, view: JobView, after: int, *, wait: bool) -> StderrNews:
    """What tasks of a job said on that node behind `after`; with `wait` it may take a while.

    NodeUnavailable; SlowDown when too many jobs are followed there.
    """
    path = f"said/{view.job_id}/of/{quote(view.owner_id, safe='')}/{after}" + ("" if wait else "/now")
    return unpack(await _ask_agent(context, node_id, path), StderrNews)


async def _ask_agent(context: Context, node_id: str, path: str) -> bytes:
    node = {node.node_id: node for node in await context.catalog.list_nodes()}.get(node_id)
    if node is None:
        raise NodeUnavailable(f"The node {node_id} is not registered any more.")
    client = NodeClient(NodeAddress(node.node_id, node.url, node.key))
    try:
        return await client.call("GET", f"/agent/{path}", timeout_s=NODE_TIMEOUT_S)
    finally:
        await client.close()


@contextlib.asynccontextmanager
async def scheduling(context: Context, cluster: Cluster) -> AsyncIterator[Scheduler]:
    """Jobs run while the block does. Handlers find the scheduler, the cluster and the nodes' keys in the context."""
    placement = ClusterPlacement(cluster, context.config.copies)
    scheduler = Scheduler(
        context.catalog.jobs, context.clock, placement, job_expiry_s=context.config.job_expiry_days * DAY_S
    )
    context.provide(scheduler, cluster, NodeKeys(context.catalog, context.clock), TaskCalls(placement))
    await scheduler.start()
    drainer = asyncio.create_task(_drain(context.draining, scheduler), name="jobs-drain")
    try:
        yield scheduler
    finally:
        await give_up([drainer])
        await context.shared(Meters).settled()
        await scheduler.close()


async def _drain(draining: asyncio.Event, scheduler: Scheduler) -> None:
    await draining.wait()
    scheduler.drain()
