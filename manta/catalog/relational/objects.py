"""Objects, in tables. Their versions are committed here and nowhere else: PUT, completed uploads and jobs' outputs."""

from collections.abc import Sequence

from manta.catalog.listing import Listing
from manta.catalog.ops import Op, Script
from manta.catalog.packing import pack_algorithms, pack_attributes, pack_id, unpack_attributes, unpack_id
from manta.catalog.records import (
    Blob,
    Bucket,
    BucketKind,
    Located,
    ObjectPage,
    ObjectVersion,
    WriteCondition,
)
from manta.catalog.relational.blobs import References, add_new_blob, release_packed
from manta.catalog.relational.buckets import bucket_for_change, no_bucket
from manta.catalog.relational.shared import Part, Shared
from manta.catalog.rules import check_condition, check_delete_condition

_KINDS = {kind.value: kind for kind in BucketKind}


class Objects(Part):
    async def locate(self, bucket: str, key: str) -> Located:
        return await self.engine.look(lambda: _locate(self.shared, bucket, key))

    async def put_object(
        self,
        bucket: str,
        version: ObjectVersion,
        condition: WriteCondition | None = None,
        *,
        new_blob: bool = True,
        bucket_id: int | None = None,
    ) -> None:
        if version.blob is not None:
            await self.shared.learn(version.blob.nodes)
        await self.engine.change(
            lambda: _put_object(self.shared, bucket, version, condition, new_blob=new_blob, wanted=bucket_id)
        )

    async def delete_object(self, bucket: str, key: str, condition: WriteCondition | None = None) -> bool:
        return await self.engine.change(lambda: _delete_object(self.shared, bucket, key, condition))

    async def delete_objects(self, bucket: str, keys: Sequence[str], *, bucket_id: int | None = None) -> None:
        await self.engine.change(lambda: _delete_objects(self.shared, bucket, keys, bucket_id))

    async def list_objects(
        self, bucket: str, *, prefix: str = "", delimiter: str = "", after: str = "", limit: int = 1000
    ) -> ObjectPage:
        return await self.engine.look(lambda: _list_objects(bucket, Listing(prefix, delimiter, after, limit)))


def put_version(
    shared: Shared,
    bucket_id: int,
    version: ObjectVersion,
    condition: WriteCondition | None = None,
    *,
    new_blob: bool = True,
) -> Script[None]:
    """Make `version` the current one, for use inside other scripts; the bucket is held by `bucket_for_change`.

    A version that is current already was committed by an earlier try whose answer was lost: nothing is done.
    """
    fresh, old = yield from set_current(bucket_id, version, condition)
    if not fresh:
        return
    if version.blob is not None and not new_blob:
        yield from _refer_instead(shared, version.blob, old)
        return
    if version.blob is not None:
        yield from add_new_blob(shared, version.blob)
    if old is not None:
        yield from release_packed(old, shared.now_ms())


def _refer_instead(shared: Shared, blob: Blob, old: bytes | None) -> Script[None]:
    references = References()
    references.gain(pack_id(blob.blob_id))
    if old is not None:
        references.lose(old)
    yield from references.settle(shared)


def set_current(
    bucket_id: int, version: ObjectVersion, condition: WriteCondition | None
) -> Script[tuple[bool, bytes | None]]:
    """The key's row alone, without its blobs: whether `version` was not current before, and the replaced blob's id."""
    row = object_row(bucket_id, version)
    while True:
        found = yield Op("current_object", row[:2])
        if not found:
            check_condition(condition, None)
            if (yield Op("insert_object", row)):
                return True, None
            continue  # another gateway was quicker: its row is the current one now
        version_id, etag, blob_id = found[0]
        if version_id == row[2]:
            return False, None
        check_condition(condition, etag)
        yield Op("update_object", row)
        return True, blob_id


def remove_object(shared: Shared, bucket_id: int, key: str, condition: WriteCondition | None = None) -> Script[bool]:
    """Whether there was one."""
    found, old = yield from remove_row(bucket_id, key, condition)
    if old is not None:
        yield from release_packed(old, shared.now_ms())
    return found


def remove_row(bucket_id: int, key: str, condition: WriteCondition | None = None) -> Script[tuple[bool, bytes | None]]:
    """The key's row alone, for use inside other scripts: whether there was one, and its blob's id."""
    at = bucket_id, key.encode()
    found = yield Op("current_object", at)
    check_delete_condition(condition, found[0][1] if found else None)
    if not found:
        return False, None
    yield Op("delete_object", at)
    return True, found[0][2]


def object_row(bucket_id: int, version: ObjectVersion) -> tuple[object, ...]:
    return (
        bucket_id,
        version.key.encode(),
        pack_id(version.version_id),
        version.size,
        version.etag,
        version.modified_ms,
        pack_algorithms(version.attributes.checksums),
        None if version.blob is None else pack_id(version.blob.blob_id),
        pack_attributes(version.attributes),
    )


def _locate(shared: Shared, bucket: str, key: str) -> Script[Located]:
    rows = yield Op("locate", (bucket, key.encode()))
    if not rows:
        raise no_bucket(bucket)
    bucket_id, owner, created_ms, kind, policy, *of_object = rows[0]
    version_id, size, etag, modified_ms, attributes, blob_id, length, nodes = of_object
    found = Bucket(bucket_id, bucket, owner, created_ms, _KINDS[kind], policy)
    if version_id is None:
        return Located(found, None)
    blob = None
    if blob_id is not None:
        blob = Blob(unpack_id(blob_id), length, (yield from shared.unpack_nodes(nodes)))
    packed = unpack_attributes(attributes)
    return Located(found, ObjectVersion(key, unpack_id(version_id), size, etag, modified_ms, blob, packed))


def _put_object(
    shared: Shared,
    bucket: str,
    version: ObjectVersion,
    condition: WriteCondition | None,
    *,
    new_blob: bool,
    wanted: int | None,
) -> Script[None]:
    bucket_id = yield from bucket_for_change(bucket, wanted)
    yield from put_version(shared, bucket_id, version, condition, new_blob=new_blob)


def _delete_object(shared: Shared, bucket: str, key: str, condition: WriteCondition | None) -> Script[bool]:
    bucket_id = yield from bucket_for_change(bucket)
    return (yield from remove_object(shared, bucket_id, key, condition))


def _delete_objects(shared: Shared, bucket: str, keys: Sequence[str], wanted: int | None) -> Script[None]:
    bucket_id = yield from bucket_for_change(bucket, wanted)
    references = References()
    for key in sorted(keys):  # in one order everywhere, so that two such deletes never wait for each other
        _, old = yield from remove_row(bucket_id, key)
        if old is not None:
            references.lose(old)
    yield from references.settle(shared)


def _list_objects(bucket: str, listing: Listing) -> Script[ObjectPage]:
    rows = yield Op("get_bucket", (bucket,))
    if not rows:
        raise no_bucket(bucket)
    bucket_id = rows[0][0]
    while not listing.done:
        span = (bucket_id, listing.low, listing.high, listing.chunk)
        if listing.walking:
            listing.feed((yield Op("walk_objects", (*span, listing.delimiter, len(listing.prefix)))))
        else:
            listing.feed((yield Op("scan_objects", span)))
    return listing.page()
