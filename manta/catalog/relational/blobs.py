"""References to blobs, for use inside other scripts: objects, parts, open uploads and task rows hold them.

Each holder counts one in `blobs.refs`. When the last one lets go, the row ends and each copy becomes garbage, to be
deleted from its node after limits.GARBAGE_DELAY_S.
"""

import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

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
        yield from _discard([(identity, pack_numbers(sorted(before - after)))], shared.now_ms())


class References:
    """What one transaction gains and lets go of blobs that were there before it.

    They are changed together, at its end and in the order of their ids: transactions that meet here never wait for each
    other in a circle. One that it both gains and lets go is left alone.
    """

    __slots__ = ("_many",)

    def __init__(self) -> None:
        self._many: Counter[bytes] = Counter()

    def gain(self, identity: bytes) -> None:
        self._many[identity] += 1

    def lose(self, identity: bytes) -> None:
        self._many[identity] -= 1

    def settle(self, shared: Shared) -> Script[None]:
        """Without any reference, each of a blob's copies becomes garbage. Conflict for one to gain that is gone."""
        wanted = {identity: many for identity, many in sorted(self._many.items()) if many}
        if not wanted:
            return
        self._many.clear()
        rows = yield Op("refer_to_blobs", (json.dumps({one.hex(): many for one, many in wanted.items()}),))
        if len(rows) != len(wanted):
            _refuse_missing(wanted, {bytes(row[0]) for row in rows})
        unused = [(bytes(identity), bytes(nodes)) for identity, refs, nodes in rows if refs <= 0]
        if unused:
            yield Many("delete_blob", [(identity,) for identity, _ in unused])
            yield from _discard(unused, shared.now_ms())


def _refuse_missing(wanted: Mapping[bytes, int], found: Collection[bytes]) -> None:
    missing = [(one, many) for one, many in wanted.items() if one not in found]
    for identity, many in missing:
        if many > 0:
            raise blob_gone(identity.hex())
    raise InternalError(f"The blob {missing[0][0].hex()} is referred to but not recorded: run `manta fsck`.")


def release_packed(identity: bytes, now_ms: int) -> Script[None]:
    """One reference less, by the column's value; without any, each of its copies becomes garbage."""
    rows = yield Op("release_blob", (identity,))
    if not rows:
        raise InternalError(f"The blob {identity.hex()} is referred to but not recorded: run `manta fsck`.")
    refs, nodes = rows[0]
    if refs == 0:
        yield Op("delete_blob", (identity,))
        yield from _discard([(identity, nodes)], now_ms)


def _discard(unused: Sequence[tuple[bytes, bytes]], now_ms: int) -> Script[None]:
    """Copies of these blobs on these nodes."""
    copies = [(number, identity) for identity, nodes in unused for number in unpack_numbers(nodes)]
    yield Many("delete_replica", copies)
    yield Many("add_garbage", [(*copy, now_ms + GARBAGE_DELAY_MS) for copy in copies])
