"""Objects in memory. Listing scans and groups every key: the plain reading of S3's rules that seeking engines meet."""

from collections.abc import Iterator, Sequence
from itertools import islice

from manta.catalog.memory.state import MemoryState
from manta.catalog.packing import pack_algorithms, unpack_algorithms
from manta.catalog.records import ListedObject, Located, ObjectPage, ObjectVersion, WriteCondition
from manta.catalog.rules import check_condition, check_delete_condition
from manta.core.names import check_id


class MemoryObjects:
    state: MemoryState

    async def locate(self, bucket: str, key: str) -> Located:
        found = self.state.bucket(bucket)
        version = self.state.objects[found.id].get(key.encode())
        return Located(found, None if version is None else self.state.current(version))

    async def put_object(
        self,
        bucket: str,
        version: ObjectVersion,
        condition: WriteCondition | None = None,
        *,
        new_blob: bool = True,
        bucket_id: int | None = None,
    ) -> None:
        check_id(version.version_id)
        objects = self.state.objects[self.state.bucket(bucket, bucket_id).id]
        old = objects.get(version.key.encode())
        if old is not None and old.version_id == version.version_id:
            return
        check_condition(condition, None if old is None else old.etag)
        self._refer(version, new_blob=new_blob)
        objects[version.key.encode()] = version
        if old is not None and old.blob is not None:
            self.state.release_blob(old.blob.blob_id)

    def _refer(self, version: ObjectVersion, *, new_blob: bool) -> None:
        blob = version.blob
        if blob is None:
            return
        if new_blob:
            self.state.check_new_blob(blob)
            self.state.add_blob(blob.blob_id, blob.size, blob.nodes)
        else:
            self.state.retain_blob(blob.blob_id)

    async def delete_object(self, bucket: str, key: str, condition: WriteCondition | None = None) -> bool:
        objects = self.state.objects[self.state.bucket(bucket).id]
        old = objects.get(key.encode())
        check_delete_condition(condition, None if old is None else old.etag)
        return self._remove(objects, key)

    async def delete_objects(self, bucket: str, keys: Sequence[str], *, bucket_id: int | None = None) -> None:
        objects = self.state.objects[self.state.bucket(bucket, bucket_id).id]
        for key in keys:
            self._remove(objects, key)

    def _remove(self, objects: dict[bytes, ObjectVersion], key: str) -> bool:
        old = objects.pop(key.encode(), None)
        if old is not None and old.blob is not None:
            self.state.release_blob(old.blob.blob_id)
        return old is not None

    async def list_objects(
        self, bucket: str, *, prefix: str = "", delimiter: str = "", after: str = "", limit: int = 1000
    ) -> ObjectPage:
        objects = self.state.objects[self.state.bucket(bucket).id]
        entries = list(islice(_entries(objects, prefix.encode(), delimiter.encode(), after.encode()), limit + 1))
        page = entries[:limit]
        more = limit > 0 and len(entries) > limit
        return ObjectPage(
            objects=tuple(_listed(version) for _, version in page if version is not None),
            common_prefixes=tuple(name.decode() for name, version in page if version is None),
            next_after=page[-1][0].decode() if more else None,
        )


def _entries(
    objects: dict[bytes, ObjectVersion], prefix: bytes, delimiter: bytes, after: bytes
) -> Iterator[tuple[bytes, ObjectVersion | None]]:
    """(name, version) in byte order; a common prefix has no version."""
    groups: set[bytes] = set()
    for key in sorted(objects):
        if not key.startswith(prefix) or key <= after:
            continue
        end = key.find(delimiter, len(prefix)) if delimiter else -1
        if end < 0:
            yield key, objects[key]
            continue
        group = key[: end + len(delimiter)]
        if group not in groups and group != after:
            yield group, None
        groups.add(group)


def _listed(version: ObjectVersion) -> ListedObject:
    algorithms = unpack_algorithms(pack_algorithms(version.attributes.checksums))
    return ListedObject(version.key, version.size, version.etag, version.modified_ms, algorithms)
