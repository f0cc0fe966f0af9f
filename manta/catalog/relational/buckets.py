"""Buckets, in tables."""

from manta.catalog.ops import Op, Script
from manta.catalog.records import Bucket, BucketKind
from manta.catalog.relational.shared import Part
from manta.core.errors import BucketAlreadyExists, BucketAlreadyOwnedByYou, BucketNotEmpty, NoSuchBucket


class Buckets(Part):
    async def create_bucket(
        self, name: str, owner_id: str, created_ms: int, kind: BucketKind = BucketKind.USER
    ) -> Bucket:
        return await self.engine.change(lambda: create_bucket(name, owner_id, created_ms, kind))

    async def get_bucket(self, name: str) -> Bucket:
        return await self.engine.look(lambda: get_bucket(name))

    async def list_buckets(self, owner_id: str) -> list[Bucket]:
        return await self.engine.look(lambda: _list_buckets(owner_id))

    async def set_bucket_policy(self, name: str, policy: str | None, *, bucket_id: int | None = None) -> None:
        await self.engine.change(lambda: _set_policy(name, policy, bucket_id))

    async def delete_bucket(self, name: str) -> None:
        await self.engine.change(lambda: delete_bucket(name))


def create_bucket(name: str, owner_id: str, created_ms: int, kind: BucketKind) -> Script[Bucket]:
    rows = yield Op("create_bucket", (name, owner_id, created_ms, kind.value))
    if rows:
        return Bucket(rows[0][0], name, owner_id, created_ms, kind)
    taken = yield Op("get_bucket", (name,))
    raise BucketAlreadyOwnedByYou if taken and taken[0][2] == owner_id else BucketAlreadyExists


def get_bucket(name: str) -> Script[Bucket]:
    rows = yield Op("get_bucket", (name,))
    if not rows:
        raise no_bucket(name)
    return _bucket(rows[0])


def bucket_for_change(name: str, wanted: int | None = None) -> Script[int]:
    """The bucket's id, `wanted` if given; it cannot be deleted before the transaction ends. NoSuchBucket."""
    rows = yield Op("bucket_for_change", (name,))
    if not rows or wanted not in (None, rows[0][0]):
        raise no_bucket(name)
    return int(rows[0][0])


def delete_bucket(name: str) -> Script[None]:
    rows = yield Op("bucket_for_removal", (name,))
    if not rows:
        raise no_bucket(name)
    bucket_id = rows[0][0]
    if (yield Op("bucket_in_use", (bucket_id,)))[0][0]:
        raise BucketNotEmpty
    yield Op("delete_bucket", (bucket_id,))


def _set_policy(name: str, policy: str | None, wanted: int | None) -> Script[None]:
    bucket_id = yield from bucket_for_change(name, wanted)
    yield Op("set_bucket_policy", (bucket_id, policy))


def no_bucket(name: str) -> NoSuchBucket:
    return NoSuchBucket(f"The bucket {name!r} does not exist.")


def _list_buckets(owner_id: str) -> Script[list[Bucket]]:
    return [_bucket(row) for row in (yield Op("list_buckets", (owner_id, BucketKind.USER.value)))]


def _bucket(row: tuple[int, str, str, int, str, str | None]) -> Bucket:
    bucket_id, name, owner_id, created_ms, kind, policy = row
    return Bucket(bucket_id, name, owner_id, created_ms, BucketKind(kind), policy)
