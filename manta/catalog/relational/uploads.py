"""Multipart uploads, in tables. An upload holds its growing blob; completing passes that reference to the object."""

from collections.abc import Sequence

from manta.catalog.listing import BEYOND
from manta.catalog.ops import Op, Row, Script
from manta.catalog.packing import (
    pack_attributes,
    pack_checksums,
    pack_id,
    pack_version,
    unpack_attributes,
    unpack_checksums,
    unpack_id,
    unpack_version,
)
from manta.catalog.records import (
    Blob,
    ChecksumType,
    CompletedPart,
    ObjectVersion,
    Part,
    SlotReservation,
    Upload,
    WriteCondition,
)
from manta.catalog.relational.blobs import add_blob, add_new_blob, finish_blob, release_packed
from manta.catalog.relational.buckets import bucket_for_change, no_bucket
from manta.catalog.relational.objects import set_current
from manta.catalog.relational.shared import Part as CatalogPart
from manta.catalog.relational.shared import Shared
from manta.catalog.rules import (
    COMPLETED_KEEP_MS,
    check_birth,
    check_parts,
    check_upload_id,
    fits_slot,
    is_id,
    slot_size,
)
from manta.core.checksums import Algorithm
from manta.core.errors import NoSuchUpload


class Uploads(CatalogPart):
    async def create_upload(self, upload: Upload) -> None:
        await self.shared.learn(upload.nodes)
        await self.engine.change(lambda: _create(self.shared, upload))

    async def get_upload(self, bucket: str, key: str, upload_id: str) -> Upload:
        return await self.engine.look(lambda: _get(self.shared, bucket, key, upload_id))

    async def reserve_part(self, upload_id: str, number: int, size: int) -> SlotReservation:
        return await self.engine.change(lambda: _reserve(upload_id, number, size))

    async def commit_part(self, upload_id: str, part: Part) -> None:
        if part.blob is not None:
            await self.shared.learn(part.blob.nodes)
        await self.engine.change(lambda: _commit_part(self.shared, upload_id, part))

    async def list_parts(self, upload_id: str, *, after: int = 0, limit: int = 1000) -> list[Part]:
        return await self.engine.look(lambda: _list_parts(self.shared, upload_id, after, limit))

    async def list_uploads(
        self, bucket: str, *, prefix: str = "", after: tuple[str, str] = ("", ""), limit: int = 1000
    ) -> list[Upload]:
        return await self.engine.look(lambda: _list(self.shared, bucket, prefix, after, limit))

    async def complete_upload(
        self,
        upload: Upload,
        parts: Sequence[CompletedPart],
        version: ObjectVersion,
        condition: WriteCondition | None = None,
    ) -> None:
        await self.engine.change(lambda: _complete(self.shared, upload, parts, version, condition))

    async def completed_upload(self, bucket: str, key: str, upload_id: str) -> ObjectVersion | None:
        since_ms = self.shared.now_ms() - COMPLETED_KEEP_MS
        return await self.engine.look(lambda: _completed(bucket, key, upload_id, since_ms))

    async def expired_uploads(self, initiated_before_ms: int, limit: int) -> list[Upload]:
        op = Op("expired_uploads", (initiated_before_ms, limit))
        return await self.engine.look(lambda: _uploads(self.shared, op))

    async def forget_completed_uploads(self, completed_before_ms: int, limit: int) -> int:
        return await self.engine.change(lambda: _forget_completed(completed_before_ms, limit))

    async def abort_upload(self, bucket: str, key: str, upload_id: str) -> None:
        await self.engine.change(lambda: _abort(self.shared, bucket, key, upload_id))


def _create(shared: Shared, upload: Upload) -> Script[None]:
    bucket_id = yield from bucket_for_change(upload.bucket)
    check_birth(upload.blob_id, shared.births_now_ms())
    yield from add_blob(shared, upload.blob_id, None, upload.nodes)
    values = (
        pack_id(upload.upload_id),
        bucket_id,
        upload.key.encode(),
        pack_id(upload.blob_id),
        upload.slot_bytes,
        upload.initiated_ms,
        upload.owner_id,
        upload.checksum_algorithm,
        upload.checksum_type,
        pack_attributes(upload.attributes),
    )
    yield Op("create_upload", values)


def _get(shared: Shared, bucket: str, key: str, upload_id: str) -> Script[Upload]:
    rows = yield Op("get_upload", (pack_id(check_upload_id(upload_id)),))
    if not rows or (rows[0][1], rows[0][2]) != (bucket, key.encode()):
        raise NoSuchUpload
    return (yield from _upload(shared, rows[0]))


def _list(shared: Shared, bucket: str, prefix: str, after: tuple[str, str], limit: int) -> Script[list[Upload]]:
    rows = yield Op("get_bucket", (bucket,))
    if not rows:
        raise no_bucket(bucket)
    after_key, low, high = after[0].encode(), prefix.encode(), prefix.encode() + BEYOND
    op = Op("list_uploads", (rows[0][0], max(low, after_key), high, after_key, after[1], limit))
    return (yield from _uploads(shared, op))


def _uploads(shared: Shared, op: Op) -> Script[list[Upload]]:
    found = []
    for row in (yield op):
        found.append((yield from _upload(shared, row)))
    return found


def _upload(shared: Shared, row: Row) -> Script[Upload]:
    upload_id, bucket, key, blob_id, nodes, slot_bytes, attributes, initiated_ms, owner_id, algorithm, kind = row
    return Upload(
        bucket=bucket,
        key=key.decode(),
        upload_id=unpack_id(upload_id),
        blob_id=unpack_id(blob_id),
        nodes=(yield from shared.unpack_nodes(nodes)),
        slot_bytes=slot_bytes,
        attributes=unpack_attributes(attributes),
        initiated_ms=initiated_ms,
        owner_id=owner_id,
        checksum_algorithm=None if algorithm is None else Algorithm(algorithm),
        checksum_type=None if kind is None else ChecksumType(kind),
    )


def _hold(upload_id: str) -> Script[Row]:
    """slot_bytes, blob_id, bucket_id, key, bucket's name; the upload is ours until the transaction ends."""
    rows: list[Row] = yield Op("upload_for_change", (pack_id(check_upload_id(upload_id)),))
    if not rows:
        raise NoSuchUpload
    return rows[0]


def _hold_named(bucket: str, key: str, upload_id: str) -> Script[Row]:
    row = yield from _hold(upload_id)
    if (row[4], row[3]) != (bucket, key.encode()):
        raise NoSuchUpload
    return row


def _reserve(upload_id: str, number: int, size: int) -> Script[SlotReservation]:
    fixed = (yield from _hold(upload_id))[0]
    slot = slot_size(fixed, size)
    if slot is None or not fits_slot(slot, size):
        return SlotReservation(None)
    if slot != fixed:
        yield Op("fix_slot_bytes", (pack_id(upload_id), slot))
    taken = not (yield Op("take_slot", (pack_id(upload_id), number)))
    return SlotReservation(None if taken else (number - 1) * slot)


def _commit_part(shared: Shared, upload_id: str, part: Part) -> Script[None]:
    yield from _hold(upload_id)
    at = pack_id(upload_id), part.number
    rows = yield Op("part_blob", at)
    old = rows[0][0] if rows else None
    new = None if part.blob is None else pack_id(part.blob.blob_id)
    if part.blob is not None and new != old:
        yield from add_new_blob(shared, part.blob)
    checksums = pack_checksums(part.checksums)
    yield Op("put_part", (*at, part.size, part.etag, part.modified_ms, int(part.in_slot), new, checksums))
    if old is not None and new != old:
        yield from release_packed(old, shared.now_ms())


def _list_parts(shared: Shared, upload_id: str, after: int, limit: int) -> Script[list[Part]]:
    found: list[Part] = []
    if not is_id(upload_id):
        return found
    for row in (yield Op("list_parts", (pack_id(upload_id), after, limit))):
        number, size, etag, modified_ms, in_slot, blob_id, checksums, length, nodes = row
        blob = None
        if blob_id is not None:
            blob = Blob(unpack_id(blob_id), length, (yield from shared.unpack_nodes(nodes)))
        found.append(Part(number, size, etag, modified_ms, bool(in_slot), blob, unpack_checksums(checksums)))
    return found


def _complete(
    shared: Shared,
    upload: Upload,
    parts: Sequence[CompletedPart],
    version: ObjectVersion,
    condition: WriteCondition | None,
) -> Script[None]:
    _, growing, bucket_id, _, _ = yield from _hold_named(upload.bucket, upload.key, upload.upload_id)
    etags = yield Op("part_etags", (pack_id(upload.upload_id),))
    check_parts(list(parts), dict(etags))
    _, old = yield from set_current(bucket_id, version, condition)
    yield from _take_blob(shared, unpack_id(growing), version)
    if old is not None:
        yield from release_packed(old, shared.now_ms())
    yield from _end(shared, upload.upload_id)
    values = (bucket_id, pack_id(upload.upload_id), upload.key.encode(), shared.now_ms(), pack_version(version))
    yield Op("remember_completed", values)


def _take_blob(shared: Shared, growing: str, version: ObjectVersion) -> Script[None]:
    """The upload's reference to its growing blob passes to the object, or ends."""
    if version.blob is not None and version.blob.blob_id == growing:
        yield from finish_blob(shared, version.blob)
        return
    if version.blob is not None:
        yield from add_new_blob(shared, version.blob)
    yield from release_packed(pack_id(growing), shared.now_ms())


def _abort(shared: Shared, bucket: str, key: str, upload_id: str) -> Script[None]:
    row = yield from _hold_named(bucket, key, upload_id)
    yield from _end(shared, upload_id)
    yield from release_packed(row[1], shared.now_ms())


def _end(shared: Shared, upload_id: str) -> Script[None]:
    """The upload, its slots and its parts' own blobs are gone."""
    for (blob_id,) in (yield Op("part_blobs", (pack_id(upload_id),))):
        yield from release_packed(blob_id, shared.now_ms())
    yield Op("delete_upload", (pack_id(upload_id),))


def _completed(bucket: str, key: str, upload_id: str, since_ms: int) -> Script[ObjectVersion | None]:
    if not is_id(upload_id):
        return None
    rows = yield Op("completed_upload", (bucket, pack_id(upload_id), since_ms))
    if not rows or rows[0][0] != key.encode():
        return None
    return unpack_version(key, rows[0][1])


def _forget_completed(completed_before_ms: int, limit: int) -> Script[int]:
    return len((yield Op("forget_completed", (completed_before_ms, limit))))
