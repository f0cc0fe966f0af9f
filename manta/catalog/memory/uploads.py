"""Multipart uploads in memory."""

from collections.abc import Sequence
from dataclasses import replace

from manta.catalog.memory.state import CompletedRow, MemoryState, UploadRow
from manta.catalog.records import CompletedPart, ObjectVersion, Part, SlotReservation, Upload, WriteCondition
from manta.catalog.rules import (
    COMPLETED_KEEP_MS,
    check_birth,
    check_condition,
    check_parts,
    fits_slot,
    slot_size,
)
from manta.core.errors import NoSuchUpload
from manta.core.names import check_id


class MemoryUploads:
    state: MemoryState

    async def create_upload(self, upload: Upload) -> None:
        check_id(upload.upload_id)
        bucket = self.state.bucket(upload.bucket)
        check_birth(upload.blob_id, self.state.now_ms())
        self.state.check_free(upload.blob_id)
        self.state.uploads[upload.upload_id] = UploadRow(upload, bucket.id)
        self.state.add_blob(upload.blob_id, None, upload.nodes)

    async def get_upload(self, bucket: str, key: str, upload_id: str) -> Upload:
        return self._named(bucket, key, upload_id).upload

    async def reserve_part(self, upload_id: str, number: int, size: int) -> SlotReservation:
        row = self._row(upload_id)
        slot = slot_size(row.upload.slot_bytes, size)
        row.upload = replace(row.upload, slot_bytes=slot)
        if slot is None or not fits_slot(slot, size) or number in row.taken_slots:
            return SlotReservation(None)
        row.taken_slots.add(number)
        return SlotReservation((number - 1) * slot)

    async def commit_part(self, upload_id: str, part: Part) -> None:
        row = self._row(upload_id)
        old = row.parts.get(part.number)
        old_blob = None if old is None else old.blob
        if part.blob is not None and (old_blob is None or old_blob.blob_id != part.blob.blob_id):
            self.state.check_new_blob(part.blob)
            self.state.add_blob(part.blob.blob_id, part.blob.size, part.blob.nodes)
        row.parts[part.number] = part
        if old_blob is not None and (part.blob is None or part.blob.blob_id != old_blob.blob_id):
            self.state.release_blob(old_blob.blob_id)

    async def list_parts(self, upload_id: str, *, after: int = 0, limit: int = 1000) -> list[Part]:
        row = self.state.uploads.get(upload_id)
        parts = {} if row is None else row.parts
        return [parts[number] for number in sorted(parts) if number > after][:limit]

    async def list_uploads(
        self, bucket: str, *, prefix: str = "", after: tuple[str, str] = ("", ""), limit: int = 1000
    ) -> list[Upload]:
        bucket_id = self.state.bucket(bucket).id
        mine = [row.upload for row in self.state.uploads.values() if row.bucket_id == bucket_id]
        found = [up for up in mine if up.key.startswith(prefix) and _place(up) > (after[0].encode(), after[1])]
        return sorted(found, key=_place)[:limit]

    async def complete_upload(
        self,
        upload: Upload,
        parts: Sequence[CompletedPart],
        version: ObjectVersion,
        condition: WriteCondition | None = None,
    ) -> None:
        check_id(version.version_id)
        row = self._named(upload.bucket, upload.key, upload.upload_id)
        check_parts(list(parts), {number: part.etag for number, part in row.parts.items()})
        objects = self.state.objects[row.bucket_id]
        old = objects.get(upload.key.encode())
        check_condition(condition, None if old is None else old.etag)
        self._take_blob(row, version)
        objects[upload.key.encode()] = version
        if old is not None and old.blob is not None:
            self.state.release_blob(old.blob.blob_id)
        self._forget(row)
        self._remember(row, version)

    def _take_blob(self, row: UploadRow, version: ObjectVersion) -> None:
        """The upload's reference to its growing blob passes to the object, or ends."""
        if version.blob is not None and version.blob.blob_id == row.upload.blob_id:
            self.state.finish_blob(version.blob)
            return
        if version.blob is not None:
            self.state.check_new_blob(version.blob)
            self.state.add_blob(version.blob.blob_id, version.blob.size, version.blob.nodes)
        self.state.release_blob(row.upload.blob_id)

    def _remember(self, row: UploadRow, version: ObjectVersion) -> None:
        at = row.bucket_id, row.upload.upload_id
        self.state.completed[at] = CompletedRow(row.upload.key, version, self.state.now_ms())

    async def completed_upload(self, bucket: str, key: str, upload_id: str) -> ObjectVersion | None:
        found = self.state.buckets.get(bucket)
        row = None if found is None else self.state.completed.get((found.id, upload_id))
        if row is None or row.key != key or row.completed_ms <= self.state.now_ms() - COMPLETED_KEEP_MS:
            return None
        return row.version

    async def expired_uploads(self, initiated_before_ms: int, limit: int) -> list[Upload]:
        old = [row.upload for row in self.state.uploads.values() if row.upload.initiated_ms < initiated_before_ms]
        return sorted(old, key=lambda upload: (upload.initiated_ms, upload.upload_id))[:limit]

    async def forget_completed_uploads(self, completed_before_ms: int, limit: int) -> int:
        rows = self.state.completed.items()
        old = sorted((row.completed_ms, at) for at, row in rows if row.completed_ms < completed_before_ms)
        for _, at in old[:limit]:
            del self.state.completed[at]
        return len(old[:limit])

    async def abort_upload(self, bucket: str, key: str, upload_id: str) -> None:
        row = self._named(bucket, key, upload_id)
        self._forget(row)
        self.state.release_blob(row.upload.blob_id)

    def _forget(self, row: UploadRow) -> None:
        for part in row.parts.values():
            if part.blob is not None:
                self.state.release_blob(part.blob.blob_id)
        del self.state.uploads[row.upload.upload_id]

    def _row(self, upload_id: str) -> UploadRow:
        try:
            return self.state.uploads[upload_id]
        except KeyError:
            raise NoSuchUpload from None

    def _named(self, bucket: str, key: str, upload_id: str) -> UploadRow:
        row = self._row(upload_id)
        if (row.upload.bucket, row.upload.key) != (bucket, key):
            raise NoSuchUpload
        return row


def _place(upload: Upload) -> tuple[bytes, str]:
    return upload.key.encode(), upload.upload_id
