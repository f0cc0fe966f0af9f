"""Blobs made on the nodes from ranges of other blobs: completed uploads, and copies in place of lost ones."""

from collections.abc import Awaitable, Callable, Sequence

import msgspec

from manta.catalog.records import Blob, Upload
from manta.core import names
from manta.core.errors import AlreadyExists, InternalError, MantaError, NoSuchBlob, ServiceUnavailable
from manta.core.limits import ASSEMBLY_TOKEN_TTL_S
from manta.gateway.datapath.cluster import Cluster
from manta.gateway.datapath.multipart_plan import Plan, Range
from manta.gateway.node_calls import each_node, on_nodes, replicate
from storage_nodes.api import BlobNode, Piece, Stored


async def complete(cluster: Cluster, upload: Upload, made: Plan, copies: int) -> Blob:
    """The blob of a completed upload, on `copies` nodes. ServiceUnavailable, NotEnoughNodes, SlowDown."""
    if made.in_place:
        try:
            return await finish(cluster, upload, made.size, copies)
        except AlreadyExists:
            # An earlier completion, with other parts, went as far as this: its file holds them all the same.
            made = Plan(made.size, (Range(0, made.size, None),))
    blob_id = names.new_id(cluster.now_ms())
    pieces = _pieces(cluster, upload, made)
    if made.needs_growing:
        try:
            return await assemble_where_growing(cluster, blob_id, upload.nodes, pieces, copies)
        except NoSuchBlob:
            finished = [msgspec.structs.replace(piece, growing=False) for piece in pieces]
            return await assemble_where_growing(cluster, blob_id, upload.nodes, finished, copies)

    async def assemble(node: BlobNode) -> None:
        await node.assemble(blob_id, pieces)

    nodes = await on_nodes(cluster, blob_id, copies, assemble, prefer=upload.nodes)
    return Blob(blob_id, made.size, tuple(nodes))


async def finish(cluster: Cluster, upload: Upload, size: int, copies: int) -> Blob:
    """The growing file becomes the blob on every node that has it; nodes that are gone are replaced by copies."""
    return await _on_holders(
        cluster, upload.blob_id, upload.nodes, size, copies, lambda node: node.finish(upload.blob_id, size)
    )


async def assemble_where_growing(
    cluster: Cluster, blob_id: str, holders: Sequence[str], pieces: list[Piece], copies: int
) -> Blob:
    """A new blob from pieces of which some lie in a growing file: made where that is, copied to where it is not."""
    size = sum(piece.size for piece in pieces)
    try:
        return await _on_holders(cluster, blob_id, holders, size, copies, lambda node: node.assemble(blob_id, pieces))
    except MantaError:
        cluster.discard(blob_id, holders)
        raise


async def _on_holders(
    cluster: Cluster,
    blob_id: str,
    holders: Sequence[str],
    size: int,
    copies: int,
    make: Callable[[BlobNode], Awaitable[Stored]],
) -> Blob:
    """`make` on every holder at once, and copies of what came of it in place of those that failed."""
    outcomes = await each_node(cluster, holders, make)
    good = {node_id: outcome for node_id, outcome in outcomes.items() if not isinstance(outcome, MantaError)}
    if not good:
        raise _reason([outcome for outcome in outcomes.values() if isinstance(outcome, MantaError)])
    found = set(good.values())
    if len(found) != 1 or next(iter(found)).size != size:
        raise InternalError("The copies of the object differ between nodes; nothing was completed.")
    nodes = await replicate(cluster, blob_id, found.pop(), list(good), copies)
    return Blob(blob_id, size, tuple(nodes))


def _pieces(cluster: Cluster, upload: Upload, made: Plan) -> list[Piece]:
    pieces = []
    for one in made.ranges or ():
        blob = one.part.blob if one.part is not None else None
        if blob is None:
            pieces.append(Piece(upload.blob_id, one.offset, one.size, growing=True))
        else:
            sources = cluster.sources(blob.nodes, blob.blob_id, ASSEMBLY_TOKEN_TTL_S)
            pieces.append(Piece(blob.blob_id, one.offset, one.size, sources=sources))
    return pieces


def _reason(errors: Sequence[MantaError]) -> MantaError:
    """What to say when every holder failed: what may pass first, since a node that is away may have it all."""
    if any(error.retryable for error in errors):
        return ServiceUnavailable("The storage nodes that hold the upload's parts do not answer; please try again.")
    return errors[0]
