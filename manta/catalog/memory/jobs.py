"""Jobs in memory: scripts run at once on the event loop, on the same state as buckets and objects."""

from collections.abc import Callable
from typing import Any, TypeVar

from manta.catalog.job_scripts.store import ScriptedJobs
from manta.catalog.memory.job_tables import MemoryJobTables
from manta.catalog.memory.state import MemoryState
from manta.catalog.ops import Many, Op, Script
from manta.catalog.packing import pack_attributes
from manta.catalog.records import Bucket, BucketKind, ObjectVersion

T = TypeVar("T")


class MemoryJobs(ScriptedJobs):
    """`tables` may be looked at by tests."""

    def __init__(self, state: MemoryState) -> None:
        super().__init__(state.clock)
        self.tables = _Statements(state)

    async def write(self, make: Callable[[], Script[T]]) -> T:
        return self._run(make())

    async def read(self, make: Callable[[], Script[T]]) -> T:
        return self._run(make())

    def _run(self, script: Script[T]) -> T:
        rows: list[Any] = []
        try:
            request = next(script)
            while True:
                rows = self._execute(request)
                request = script.send(rows)
        except StopIteration as end:
            value: T = end.value
            return value

    def _execute(self, request: Op | Many) -> list[Any]:
        statement = getattr(self.tables, request.name)
        if isinstance(request, Op):
            return statement(*request.args) or []
        for row in request.rows:
            statement(*row)
        return []


class _Statements(MemoryJobTables):
    """Jobs' statements and those on the catalog's own tables."""

    def __init__(self, state: MemoryState) -> None:
        super().__init__()
        self._state = state

    def bucket_owner(self, name: str) -> list[tuple[str, str | None]]:
        bucket = self._state.buckets.get(name)
        return [(bucket.owner_id, bucket.policy)] if bucket is not None else []

    def bucket_ensure(self, name: str, owner_id: str, now_ms: int, kind: BucketKind) -> None:
        if name not in self._state.buckets:
            self._state.last_bucket_id += 1
            bucket = Bucket(self._state.last_bucket_id, name, owner_id, now_ms, kind)
            self._state.buckets[name] = bucket
            self._state.objects[bucket.id] = {}

    def bucket_drop(self, name: str) -> None:
        bucket = self._state.buckets.pop(name, None)
        if bucket is not None:
            del self._state.objects[bucket.id]

    def objects_find(self, bucket: str, keys: list[str]) -> list[tuple[Any, ...]]:
        objects = self._objects(bucket)
        return [_found(objects[key.encode()]) for key in keys if key.encode() in objects]

    def objects_page(self, bucket: str, prefix: str, after: str, limit: int) -> list[tuple[Any, ...]]:
        objects = self._objects(bucket)
        keys = sorted(key for key in objects if key.startswith(prefix.encode()) and key > after.encode())
        return [_found(objects[key]) for key in keys[:limit]]

    def object_put(self, bucket: str, version: ObjectVersion) -> None:
        objects = self._objects(bucket)
        old = objects.get(version.key.encode())
        if version.blob is not None:
            self._state.add_blob(version.blob.blob_id, version.blob.size, version.blob.nodes)
        objects[version.key.encode()] = version
        if old is not None and old.blob is not None:
            self._state.release_blob(old.blob.blob_id)

    def object_link(self, bucket: str, version: ObjectVersion) -> None:
        objects = self._objects(bucket)
        old = objects.get(version.key.encode())
        if version.blob is not None:
            self._state.retain_blob(version.blob.blob_id)
        objects[version.key.encode()] = version
        if old is not None and old.blob is not None:
            self._state.release_blob(old.blob.blob_id)

    def object_delete(self, bucket: str, key: str) -> None:
        old = self._objects(bucket).pop(key.encode(), None)
        if old is not None and old.blob is not None:
            self._state.release_blob(old.blob.blob_id)

    def blob_add(self, blob_id: str, size: int, holders: str) -> None:
        self._state.add_blob(blob_id, size, tuple(holders.split(",")))

    def blobs_taken(self, blob_ids: list[str]) -> list[tuple[str]]:
        garbage = {blob_id for blob_id, _ in self._state.garbage}
        return [(blob_id,) for blob_id in blob_ids if blob_id in self._state.blobs or blob_id in garbage]

    def blob_retain(self, blob_id: str) -> None:
        self._state.retain_blob(blob_id)

    def blob_release(self, blob_id: str) -> None:
        self._state.release_blob(blob_id)

    def _objects(self, bucket: str) -> dict[bytes, ObjectVersion]:
        found = self._state.buckets.get(bucket)
        return {} if found is None else self._state.objects[found.id]


def _found(version: ObjectVersion) -> tuple[Any, ...]:
    blob = version.blob
    holders = ",".join(blob.nodes) if blob is not None else ""
    attributes = pack_attributes(version.attributes)
    blob_id = None if blob is None else blob.blob_id
    return version.key, version.version_id, version.size, blob_id, holders, version.modified_ms, attributes
