"""References to blobs, for use inside other scripts: objects, parts, open uploads and task rows hold them.

Each holder counts one in `blobs.refs`. When the last one lets go, the row ends and each copy becomes garbage, to be
deleted from its node after limits.GARBAGE_DELAY_S.
"""

from collections.abc import Sequence

from manta.catalog.ops import Many, Op, Script
from manta.catalog.packing import pack_id, pack_numbers, unpack_numbers
from manta.catalog.records import Blob
from manta.catalog.relational.shared import Shared
from manta.catalog.rules import GARBAGE_DELAY_MS, blob_gone, blob_taken, check_birth
from manta.core.errors import InternalError


def add_new_blob(shared: Shared, blob: Blob) -> Script[None]:
    """A blob that a client has just stored, with one reference. Conflict when it is too old or its id is taken."""
    check_birth(blob.blob_id, shared.births_now_ms())
    yield from add_blob(shared, blob.blob_id, blob.size, blob.nodes)


def add_blob(shared: Shared, blob_id: str, size: int | None, nodes: Sequence[str]) -> Script[None]:
    """A blob with one reference; `size` is None while it grows. Conflict when the id is taken."""
    packed = yield from shared.pack_nodes(nodes)
    identity = pack_id(blob_id)
    if not (yield Op("add_blob", (identity, size, packed))):
        raise blob_taken(blob_id)
    yield Many("add_replica", [(number, identity) for number in unpack_numbers(packed)])


def finish_blob(shared: Shared, blob: Blob) -> Script[None]:
    """The growing blob is whole, on these nodes; what it left on others is garbage."""
    packed = yield from shared.pack_nodes(blob.nodes)
    identity = pack_id(blob.blob_id)
    rows = yield Op("get_blob", (identity,))
    before, after = set(unpack_numbers(rows[0][2])), set(unpack_numbers(packed))
    yield Op("finish_blob", (identity, blob.size, packed))
    if after - before:
        yield Many("add_replica", [(number, identity) for number in after - before])
    if before - after:
        yield from _discard(identity, pack_numbers(sorted(before - after)), shared.now_ms())


def retain_blob(blob_id: str) -> Script[None]:
    """One more reference. Conflict when the blob is gone."""
    if not (yield Op("retain_blob", (pack_id(blob_id),))):
        raise blob_gone(blob_id)


def release_blob(blob_id: str, now_ms: int) -> Script[None]:
    """One reference less; without any, each of its copies becomes garbage."""
    yield from release_packed(pack_id(blob_id), now_ms)


def release_packed(identity: bytes, now_ms: int) -> Script[None]:
    """`release_blob` by the column's value."""
    rows = yield Op("release_blob", (identity,))
    if not rows:
        raise InternalError(f"The blob {identity.hex()} is referred to but not recorded: run `manta fsck`.")
    refs, nodes = rows[0]
    if refs == 0:
        yield Op("delete_blob", (identity,))
        yield from _discard(identity, nodes, now_ms)


def _discard(identity: bytes, nodes: bytes, now_ms: int) -> Script[None]:
    numbers = unpack_numbers(nodes)
    yield Many("delete_replica", [(number, identity) for number in numbers])
    yield Many("add_garbage", [(number, identity, now_ms + GARBAGE_DELAY_MS) for number in numbers])
