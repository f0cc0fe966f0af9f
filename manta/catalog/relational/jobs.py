"""Jobs, in tables: the scripts of `job_scripts`, with what they ask of objects and blobs spelt out in statements."""

import json
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from manta.catalog.job_records import FoundObject
from manta.catalog.job_scripts.store import ScriptedJobs
from manta.catalog.listing import key_range
from manta.catalog.ops import Many, Op, Row, Script
from manta.catalog.packing import pack_id, unpack_id, unpack_numbers
from manta.catalog.records import BucketKind, ObjectVersion
from manta.catalog.relational.buckets import bucket_for_change
from manta.catalog.relational.objects import object_row, remove_object, set_current
from manta.catalog.relational.shared import Shared
from manta.catalog.rules import GARBAGE_DELAY_MS, blob_gone
from manta.core.errors import InternalError
from manta.core.names import JOB_BUCKET_PREFIX

T = TypeVar("T")


class RelationalJobs(ScriptedJobs):
    """`job_store.JobStore` over the engine of `shared`."""

    def __init__(self, shared: Shared) -> None:
        super().__init__(shared.clock)
        self._shared = shared
        self._catalog: dict[str, Callable[..., Script[list[Any]]]] = {
            "bucket_owner": self._bucket_owner,
            "bucket_ensure": self._bucket_ensure,
            "bucket_drop": self._bucket_drop,
            "objects_find": self._objects_find,
            "objects_page": self._objects_page,
            "object_put": self._put_objects,
            "object_link": self._link_objects,
            "object_delete": self._delete_objects,
            "blob_add": self._add_blobs,
            "blobs_taken": self._taken_blobs,
            "blob_retain": self._retain_blobs,
            "blob_release": self._release_blobs,
        }

    async def write(self, make: Callable[[], Script[T]]) -> T:
        return await self._shared.engine.change(lambda: self._spell_out(make()))

    async def read(self, make: Callable[[], Script[T]]) -> T:
        return await self._shared.engine.look(lambda: self._spell_out(make()))

    def _spell_out(self, script: Script[T]) -> Script[T]:
        """The same script in statements of the engine. Lists travel as JSON: one statement for any number."""
        try:
            request = next(script)
            while True:
                spelt = self._catalog.get(request.name)
                if spelt is None:
                    if isinstance(request, Op):
                        request.args = tuple(
                            json.dumps(value) if isinstance(value, list) else value for value in request.args
                        )
                    rows = yield request
                elif isinstance(request, Op):
                    rows = yield from spelt(*request.args)
                else:
                    rows = yield from spelt(request.rows)
                request = script.send(rows)
        except StopIteration as end:
            value: T = end.value
            return value

    # --- buckets and objects

    def _bucket_owner(self, name: str) -> Script[list[Any]]:
        return [(row[2], row[5]) for row in (yield Op("get_bucket", (name,)))]

    def _bucket_ensure(self, name: str, owner_id: str, now_ms: int, kind: BucketKind) -> Script[list[Any]]:
        return (yield Op("create_bucket", (name, owner_id, now_ms, kind.value)))

    def _bucket_drop(self, name: str) -> Script[list[Any]]:
        rows = yield Op("bucket_for_removal", (name,))
        if rows:
            yield Op("delete_bucket", (rows[0][0],))
        return []

    def _objects_find(self, bucket: str, keys: list[str]) -> Script[list[Any]]:
        found = yield Op("get_bucket", (bucket,))
        rows = (yield Op("job_objects_find", (found[0][0], json.dumps(keys)))) if found else []
        return (yield from self._found(rows))

    def _objects_page(self, bucket: str, prefix: str, after: str, limit: int) -> Script[list[Any]]:
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

    def _put_objects(self, rows: Sequence[tuple[str, ObjectVersion]]) -> Script[list[Any]]:
        """Keys in a job's own bucket are new, since only a committed attempt names them; elsewhere they may replace."""
        added = [(v.blob.blob_id, v.blob.size, ",".join(v.blob.nodes)) for _, v in rows if v.blob is not None]
        if added:
            yield from self._add_blobs(added)
        return (yield from self._set_objects(rows))

    def _link_objects(self, rows: Sequence[tuple[str, ObjectVersion]]) -> Script[list[Any]]:
        """The same for blobs that are recorded already: each gains a reference."""
        linked = [(version.blob.blob_id,) for _, version in rows if version.blob is not None]
        if linked:
            yield from self._retain_blobs(linked)
        return (yield from self._set_objects(rows))

    def _set_objects(self, rows: Sequence[tuple[str, ObjectVersion]]) -> Script[list[Any]]:
        for bucket in dict.fromkeys(bucket for bucket, _ in rows):
            bucket_id = yield from bucket_for_change(bucket)
            versions = sorted((v for name, v in rows if name == bucket), key=lambda version: version.key)
            if bucket.startswith(JOB_BUCKET_PREFIX):
                yield Many("job_object_insert", [object_row(bucket_id, version) for version in versions])
                continue
            for version in versions:
                _, old = yield from set_current(bucket_id, version, None)
                if old is not None:
                    yield from self._release_blobs([(unpack_id(old),)])
        return []

    def _delete_objects(self, rows: Sequence[tuple[str, str]]) -> Script[list[Any]]:
        bucket_id = yield from bucket_for_change(rows[0][0])
        for _, key in rows:
            yield from remove_object(self._shared, bucket_id, key)
        return []

    # --- blobs

    def _add_blobs(self, rows: Sequence[tuple[str, int, str]]) -> Script[list[Any]]:
        packed: dict[str, bytes] = {}
        for _, _, holders in rows:
            if holders not in packed:
                packed[holders] = yield from self._shared.pack_nodes(holders.split(","))
        yield Many("job_blob_insert", [(pack_id(blob), size, packed[holders]) for blob, size, holders in rows])
        replicas = [(number, pack_id(blob)) for blob, _, holders in rows for number in unpack_numbers(packed[holders])]
        yield Many("add_replica", replicas)
        return []

    def _taken_blobs(self, blob_ids: list[str]) -> Script[list[Any]]:
        rows = yield Op("taken_blobs", (json.dumps(blob_ids),))
        return [(unpack_id(row[0]),) for row in rows]

    def _retain_blobs(self, rows: Sequence[tuple[str]]) -> Script[list[Any]]:
        """Conflict when one was deleted meanwhile: the page is resolved again."""
        wanted = [row[0] for row in rows]
        kept = yield Op("retain_blobs", (json.dumps(wanted),))
        if len(kept) != len(set(wanted)):
            missing = set(wanted).difference(unpack_id(row[0]) for row in kept)
            raise blob_gone(min(missing))
        return []

    def _release_blobs(self, rows: Sequence[tuple[str]]) -> Script[list[Any]]:
        wanted = [row[0] for row in rows]
        left = yield Op("release_blobs", (json.dumps(wanted),))
        if len(left) != len(set(wanted)):
            raise InternalError("A blob of a job is referred to but not recorded: run `manta fsck`.")
        unused = [(bytes(blob_id), bytes(nodes)) for blob_id, refs, nodes in left if refs <= 0]
        if unused:
            yield Many("delete_blob", [(blob_id,) for blob_id, _ in unused])
            due_ms = self._shared.now_ms() + GARBAGE_DELAY_MS
            copies = [(number, blob_id) for blob_id, nodes in unused for number in unpack_numbers(nodes)]
            yield Many("delete_replica", copies)
            yield Many("add_garbage", [(*copy, due_ms) for copy in copies])
        return []
