"""What one transaction on jobs asks of buckets, objects and blobs, in statements of an engine."""

import json
from collections.abc import Sequence
from typing import Any

from manta.catalog.job_records import FoundObject
from manta.catalog.listing import key_range
from manta.catalog.ops import Many, Op, Row, Script
from manta.catalog.packing import pack_id, unpack_id, unpack_numbers
from manta.catalog.records import BucketKind, ObjectVersion
from manta.catalog.relational.blobs import References
from manta.catalog.relational.buckets import bucket_for_change
from manta.catalog.relational.objects import object_row, remove_row, set_current
from manta.catalog.relational.shared import Shared
from manta.core.names import JOB_BUCKET_PREFIX


class JobStatements:
    """Its public methods are the statements' names; made for one transaction, which `settle` ends.

    What others change too, users' objects and the references of blobs, is changed by `settle` alone, each kind in one
    order: transactions of several gateways that meet there wait for each other, and never in a circle.
    """

    __slots__ = ("_references", "_set", "_shared")

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._references = References()
        self._set: list[tuple[str, ObjectVersion]] = []

    def settle(self) -> Script[None]:
        """After everything else. A name that was given twice has the later version."""
        if self._set:
            yield from self._set_objects()
        yield from self._references.settle(self._shared)

    # --- buckets and objects

    def bucket_owner(self, name: str) -> Script[list[Any]]:
        return [(row[2], row[5]) for row in (yield Op("get_bucket", (name,)))]

    def bucket_ensure(self, name: str, owner_id: str, now_ms: int, kind: BucketKind) -> Script[list[Any]]:
        return (yield Op("create_bucket", (name, owner_id, now_ms, kind.value)))

    def bucket_drop(self, name: str) -> Script[list[Any]]:
        rows = yield Op("bucket_for_removal", (name,))
        if rows:
            yield Op("delete_bucket", (rows[0][0],))
        return []

    def objects_find(self, bucket: str, keys: list[str]) -> Script[list[Any]]:
        found = yield Op("get_bucket", (bucket,))
        rows = (yield Op("job_objects_find", (found[0][0], json.dumps(keys)))) if found else []
        return (yield from self._found(rows))

    def objects_page(self, bucket: str, prefix: str, after: str, limit: int) -> Script[list[Any]]:
        found = yield Op("get_bucket", (bucket,))
        low, high = key_range(prefix.encode(), after.encode())
        rows = (yield Op("job_objects_page", (found[0][0], low, high, limit))) if found else []
        return (yield from self._found(rows))

    def _found(self, rows: Sequence[Row]) -> Script[list[Any]]:
        """Names of nodes are read anew: what a change reads may be rolled back, and is not remembered."""
        names: dict[bytes | None, str] = {None: ""}
        found: list[Any] = []
        for key, version_id, size, blob_id, nodes, *more in rows:
            if nodes not in names:
                parts = []
                for number in unpack_numbers(nodes):
                    parts.append((yield Op("node_name", (number,)))[0][0])
                names[nodes] = ",".join(parts)
            blob = None if blob_id is None else unpack_id(blob_id)
            found.append(FoundObject(key.decode(), unpack_id(version_id), size, blob, names[nodes], *more))
        return found

    def object_put(self, rows: Sequence[tuple[str, ObjectVersion]]) -> Script[list[Any]]:
        """Objects with blobs of their own."""
        added = [(v.blob.blob_id, v.blob.size, ",".join(v.blob.nodes)) for _, v in rows if v.blob is not None]
        if added:
            yield from self.blob_add(added)
        self._set += rows
        return []

    def object_link(self, rows: Sequence[tuple[str, ObjectVersion]]) -> Script[list[Any]]:
        """The same for blobs that are recorded already: each gains a reference."""
        yield from self.blob_retain([(one.blob.blob_id,) for _, one in rows if one.blob is not None])
        self._set += rows
        return []

    def _set_objects(self) -> Script[None]:
        """Keys in a job's own bucket are new, since only a committed attempt names them; elsewhere they may replace."""
        for bucket in sorted({bucket for bucket, _ in self._set}):
            bucket_id = yield from bucket_for_change(bucket)
            versions = sorted((v for name, v in self._set if name == bucket), key=lambda version: version.key)
            if bucket.startswith(JOB_BUCKET_PREFIX):
                yield Many("job_object_insert", [object_row(bucket_id, version) for version in versions])
                continue
            for version in versions:
                _, old = yield from set_current(bucket_id, version, None)
                if old is not None:
                    self._references.lose(old)

    def object_delete(self, rows: Sequence[tuple[str, str]]) -> Script[list[Any]]:
        bucket_id = yield from bucket_for_change(rows[0][0])
        for _, key in sorted(rows):
            _, old = yield from remove_row(bucket_id, key)
            if old is not None:
                self._references.lose(old)
        return []

    # --- blobs

    def blob_add(self, rows: Sequence[tuple[str, int, str]]) -> Script[list[Any]]:
        packed: dict[str, bytes] = {}
        for _, _, holders in rows:
            if holders not in packed:
                packed[holders] = yield from self._shared.pack_nodes(holders.split(","))
        yield Many("job_blob_insert", [(pack_id(blob), size, packed[holders]) for blob, size, holders in rows])
        replicas = [(number, pack_id(blob)) for blob, _, holders in rows for number in unpack_numbers(packed[holders])]
        yield Many("add_replica", replicas)
        return []

    def blobs_taken(self, blob_ids: list[str]) -> Script[list[Any]]:
        rows = yield Op("taken_blobs", (json.dumps(blob_ids),))
        return [(unpack_id(row[0]),) for row in rows]

    def blob_retain(self, rows: Sequence[tuple[str]]) -> Script[list[Any]]:
        for (blob_id,) in rows:
            self._references.gain(pack_id(blob_id))
        yield from ()
        return []

    def blob_release(self, rows: Sequence[tuple[str]]) -> Script[list[Any]]:
        for (blob_id,) in rows:
            self._references.lose(pack_id(blob_id))
        yield from ()
        return []
