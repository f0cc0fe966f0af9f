"""Copies of a new blob: written to K nodes at once, complete or not at all.

A node that fails is replaced: by another node when nothing of the body is lost yet (small blobs, the opening of a
stream), by a copy made from a surviving one before the commit when it fails in mid-stream. The client does not notice.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from manta.catalog.records import Blob
from manta.core import names
from manta.core.checksums import Buffer
from manta.core.errors import InternalError, MantaError, NotEnoughNodes, ServiceUnavailable
from manta.gateway.cluster import Cluster
from storage_nodes.api import BlobNode, BlobWriter, Piece, Stored

Result = TypeVar("Result")
Outcomes = dict[str, "Result | MantaError"]


async def put_small(cluster: Cluster, data: Buffer, copies: int) -> Blob:
    """`data` as a new blob on `copies` nodes. NotEnoughNodes, SlowDown."""
    blob_id = names.new_id(cluster.now_ms())
    nodes = await on_nodes(cluster, blob_id, copies, lambda node: node.put(blob_id, data))
    return Blob(blob_id, len(data), tuple(nodes))


async def open_replicated(cluster: Cluster, size: int | None, copies: int) -> "ReplicatedWriter":
    """A stream into a new blob on `copies` nodes. NotEnoughNodes, SlowDown."""
    blob_id = names.new_id(cluster.now_ms())
    opened: dict[str, BlobWriter] = {}

    async def open_one(node: BlobNode) -> None:
        opened[node.node_id] = await node.open_put(blob_id, size)

    try:
        nodes = await on_nodes(cluster, blob_id, copies, open_one)
    except BaseException:
        await asyncio.gather(*(writer.abort() for writer in opened.values()))
        raise
    return ReplicatedWriter(cluster, blob_id, {node_id: opened[node_id] for node_id in nodes})


async def on_nodes(
    cluster: Cluster,
    blob_id: str,
    copies: int,
    call: Callable[[BlobNode], Awaitable[object]],
    *,
    done: Sequence[str] = (),
    avoid: Sequence[str] = (),
) -> list[str]:
    """Nodes on which `call` went well: `done` and as many more as make `copies`; others are tried for those that fail.

    When too few are left, the copies made so far are deleted and the last error is raised.
    """
    good = list(done)
    tried = {*done, *avoid}
    while len(good) < copies:
        try:
            chosen = cluster.choose(copies - len(good), tried, good)
        except ServiceUnavailable:
            cluster.discard(blob_id, good)
            raise
        tried.update(chosen)
        for node_id, outcome in (await _each(cluster, chosen, call)).items():
            if not isinstance(outcome, MantaError):
                good.append(node_id)
    return good


async def _each(
    cluster: Cluster, nodes: Sequence[str], call: Callable[[BlobNode], Awaitable[Result]]
) -> "Outcomes[Result]":
    """`call` on all of these nodes at once, with what came of it."""

    async def one(node_id: str) -> "Result | MantaError":
        try:
            return await call(cluster.node(node_id))
        except MantaError as error:
            cluster.failed(node_id, error)
            return error

    # One copy is the common case of a single machine: no task is made for it.
    if len(nodes) == 1:
        return {nodes[0]: await one(nodes[0])}
    return dict(zip(nodes, await asyncio.gather(*map(one, nodes)), strict=True))


class ReplicatedWriter:
    """A blob being streamed to all of its nodes at once; the slowest sets the pace, so nothing piles up here."""

    def __init__(self, cluster: Cluster, blob_id: str, replicas: dict[str, BlobWriter]) -> None:
        self.blob_id = blob_id
        self._cluster = cluster
        self._copies = len(replicas)
        self._replicas = replicas
        self._lost: list[str] = []
        self._size = 0

    @property
    def nodes(self) -> list[str]:
        """Those that still take the stream."""
        return list(self._replicas)

    async def write(self, data: Buffer) -> None:
        """NotEnoughNodes once no copy is left to continue."""
        self._size += len(data)
        if len(self._replicas) == 1:
            [(node_id, writer)] = self._replicas.items()
            await self._settle({node_id: await self._guard(node_id, writer.write(data))})
            return
        pending = [self._guard(node_id, writer.write(data)) for node_id, writer in self._replicas.items()]
        await self._settle(dict(zip(list(self._replicas), await asyncio.gather(*pending), strict=True)))

    async def commit(self) -> Blob:
        """Every copy durable, lost ones made anew from the others. NotEnoughNodes, SlowDown."""
        names_of = list(self._replicas)
        pending = [self._guard(node_id, writer.commit()) for node_id, writer in self._replicas.items()]
        outcomes = dict(zip(names_of, await asyncio.gather(*pending), strict=True))
        stored = {value for value in outcomes.values() if isinstance(value, Stored)}
        await self._settle(outcomes)
        if len(stored) != 1 or next(iter(stored)).size != self._size:
            await self.abort()
            raise InternalError("The copies of the blob differ; nothing was stored. Please try again.")
        nodes = list(self._replicas)
        if len(nodes) < self._copies:
            nodes = await self._replace_lost(nodes, next(iter(stored)))
        return Blob(self.blob_id, self._size, tuple(nodes))

    async def abort(self) -> None:
        replicas, self._replicas = self._replicas, {}
        await asyncio.gather(*(writer.abort() for writer in replicas.values()))
        self._cluster.discard(self.blob_id, list(replicas))

    async def _replace_lost(self, survivors: list[str], stored: Stored) -> list[str]:
        async def copy(node: BlobNode) -> None:
            sources = self._cluster.sources(survivors, self.blob_id)
            made = await node.assemble(self.blob_id, [Piece(self.blob_id, 0, self._size, sources=sources)])
            if made != stored:
                raise InternalError("A new copy of the blob differs from its source.")

        return await on_nodes(self._cluster, self.blob_id, self._copies, copy, done=survivors, avoid=self._lost)

    async def _guard(self, node_id: str, call: Awaitable[Result]) -> "Result | MantaError":
        try:
            return await call
        except MantaError as error:
            self._cluster.failed(node_id, error)
            return error

    async def _settle(self, outcomes: "Outcomes[Result]") -> None:
        """Give up the replicas that failed."""
        for node_id, outcome in outcomes.items():
            if isinstance(outcome, MantaError):
                self._lost.append(node_id)
                await self._replicas.pop(node_id).abort()
        if not self._replicas:
            raise NotEnoughNodes("Every storage node that took the body failed; please try again.")
