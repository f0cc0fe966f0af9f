"""Copies of a new blob: written to K nodes at once, complete or not at all.

A node that fails is replaced: by another node when nothing of the body is lost yet (small blobs, the opening of a
stream), by a copy made from a surviving one before the commit when it fails in mid-stream. The client does not notice.
"""

import asyncio
from collections.abc import Awaitable, Sequence
from typing import TypeVar

from manta.catalog.records import Blob
from manta.core import names
from manta.core.checksums import Buffer
from manta.core.errors import InternalError, MantaError, NotEnoughNodes
from manta.gateway.datapath.cluster import Cluster
from manta.gateway.node_calls import on_nodes, replicate
from storage_nodes.api import BlobNode, BlobWriter, Stored

Result = TypeVar("Result")


async def put_small(cluster: Cluster, data: Buffer, copies: int, prefer: Sequence[str] = ()) -> Blob:
    """`data` as a new blob on `copies` nodes. NotEnoughNodes, SlowDown."""
    blob_id = names.new_id(cluster.now_ms())
    nodes = await on_nodes(cluster, blob_id, copies, lambda node: node.put(blob_id, data), prefer=prefer)
    return Blob(blob_id, len(data), tuple(nodes))


async def open_replicated(
    cluster: Cluster, size: int | None, copies: int, prefer: Sequence[str] = ()
) -> "ReplicatedWriter":
    """A stream into a new blob on `copies` nodes. NotEnoughNodes, SlowDown."""
    blob_id = names.new_id(cluster.now_ms())
    opened: dict[str, BlobWriter] = {}

    async def open_one(node: BlobNode) -> None:
        opened[node.node_id] = await node.open_put(blob_id, size)

    try:
        nodes = await on_nodes(cluster, blob_id, copies, open_one, prefer=prefer)
    except BaseException:
        await asyncio.gather(*(writer.abort() for writer in opened.values()))
        raise
    return ReplicatedWriter(cluster, blob_id, {node_id: opened[node_id] for node_id in nodes})


class Replicas:
    """One stream to several nodes at once; the slowest sets the pace, so nothing piles up here."""

    def __init__(self, cluster: Cluster, writers: dict[str, BlobWriter]) -> None:
        self.cluster = cluster
        self.lost: list[str] = []
        self.size = 0
        self._writers = writers

    @property
    def nodes(self) -> list[str]:
        """Those that still take the stream."""
        return list(self._writers)

    async def write(self, data: Buffer) -> None:
        """NotEnoughNodes once no copy is left to continue."""
        self.size += len(data)
        if len(self._writers) == 1:
            [(node_id, writer)] = self._writers.items()
            outcome = await self._guard(node_id, writer.write(data))
            if outcome is not None:
                await self._settle({node_id: outcome})
            return
        await self._settle(await self._all({node: writer.write(data) for node, writer in self._writers.items()}))

    async def commit(self) -> Stored:
        """What every surviving node has made durable. NotEnoughNodes; InternalError when they disagree."""
        outcomes = await self._all({node: writer.commit() for node, writer in self._writers.items()})
        await self._settle(outcomes)
        found = {outcome for outcome in outcomes.values() if isinstance(outcome, Stored)}
        if len(found) != 1 or next(iter(found)).size != self.size:
            raise InternalError("The copies of the blob differ; nothing was stored. Please try again.")
        return found.pop()

    async def abort(self) -> None:
        writers, self._writers = self._writers, {}
        await asyncio.gather(*(writer.abort() for writer in writers.values()))

    async def _all(self, calls: dict[str, Awaitable[Result]]) -> "dict[str, Result | MantaError]":
        guarded = [self._guard(node_id, call) for node_id, call in calls.items()]
        return dict(zip(calls, await asyncio.gather(*guarded), strict=True))

    async def _guard(self, node_id: str, call: Awaitable[Result]) -> "Result | MantaError":
        try:
            return await call
        except MantaError as error:
            self.cluster.failed(node_id, error)
            return error

    async def _settle(self, outcomes: "dict[str, Result | MantaError]") -> None:
        """Give up the replicas that failed."""
        for node_id, outcome in outcomes.items():
            if isinstance(outcome, MantaError):
                self.lost.append(node_id)
                await self._writers.pop(node_id).abort()
        if not self._writers:
            raise NotEnoughNodes("Every storage node that took the body failed; please try again.")


class ReplicatedWriter:
    """A new blob being streamed to all of its nodes. Exactly one of commit or abort ends it; abort never raises."""

    def __init__(self, cluster: Cluster, blob_id: str, writers: dict[str, BlobWriter]) -> None:
        self.blob_id = blob_id
        self._cluster = cluster
        self._copies = len(writers)
        self._replicas = Replicas(cluster, writers)

    @property
    def nodes(self) -> list[str]:
        return self._replicas.nodes

    async def write(self, data: Buffer) -> None:
        """NotEnoughNodes once no copy is left to continue."""
        await self._replicas.write(data)

    async def commit(self) -> Blob:
        """Every copy durable, lost ones made anew from the others. NotEnoughNodes, SlowDown."""
        replicas = self._replicas
        try:
            stored = await replicas.commit()
            nodes = await replicate(self._cluster, self.blob_id, stored, replicas.nodes, self._copies, replicas.lost)
        except MantaError:
            await self.abort()
            raise
        return Blob(self.blob_id, stored.size, tuple(nodes))

    async def abort(self) -> None:
        nodes = self._replicas.nodes
        await self._replicas.abort()
        self._cluster.discard(self.blob_id, nodes)
