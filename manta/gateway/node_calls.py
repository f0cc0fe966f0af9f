"""One call on several nodes: on all of these, or on as many as a blob has copies, others standing in."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import TypeVar

from manta.core.errors import InternalError, MantaError, ServiceUnavailable, SlowDown
from manta.core.limits import ASSEMBLY_TOKEN_TTL_S
from manta.gateway.datapath.cluster import Cluster
from storage_nodes.api import BlobNode, Piece, Stored

Result = TypeVar("Result")


async def each_node(
    cluster: Cluster, nodes: Sequence[str], call: Callable[[BlobNode], Awaitable[Result]]
) -> "dict[str, Result | MantaError]":
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


async def on_nodes(
    cluster: Cluster,
    blob_id: str,
    copies: int,
    call: Callable[[BlobNode], Awaitable[object]],
    *,
    done: Sequence[str] = (),
    avoid: Collection[str] = (),
    prefer: Sequence[str] = (),
) -> list[str]:
    """Nodes on which `call` went well: `done` and as many more as make `copies`; others are tried for those that fail.

    NotEnoughNodes or SlowDown when too few are left; the copies made here are deleted then, those in `done` never:
    they may be all that is left of a part that was acknowledged (D1).
    """
    good = list(done)
    tried = {*done, *avoid}
    while len(good) < copies:
        try:
            chosen = cluster.choose(copies - len(good), tried, good, prefer)
        except (ServiceUnavailable, SlowDown):
            cluster.discard(blob_id, good[len(done) :])
            raise
        tried.update(chosen)
        outcomes = await each_node(cluster, chosen, call)
        good += [node_id for node_id, outcome in outcomes.items() if not isinstance(outcome, MantaError)]
    return good


async def replicate(
    cluster: Cluster, blob_id: str, stored: Stored, holders: Sequence[str], copies: int, avoid: Collection[str] = ()
) -> list[str]:
    """`holders`, and as many more nodes with a fresh copy as make `copies`. NotEnoughNodes, SlowDown."""
    if len(holders) >= copies:
        return list(holders)
    pieces = [
        Piece(blob_id, 0, stored.size, sources=cluster.sources(holders, blob_id, ASSEMBLY_TOKEN_TTL_S)),
    ]

    async def copy(node: BlobNode) -> None:
        if await node.assemble(blob_id, pieces) != stored:
            raise InternalError("A new copy of the blob differs from its source.")

    return await on_nodes(cluster, blob_id, copies, copy, done=holders, avoid=avoid)
