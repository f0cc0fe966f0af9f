"""A read-only view of a volume: the node's own reads, and those of a gateway on the same machine. Never writes."""

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from manta.core.errors import BlobDamaged, InvalidRange, NoSuchBlob
from manta.core.limits import BLOCK_BYTES, SMALL_BLOB_BYTES
from storage_nodes.disk import sums
from storage_nodes.disk.layout import Layout, sums_of
from storage_nodes.disk.verify import Verifier, load_sums, read_block, unreadable


@dataclass(slots=True)
class OpenBlob:
    """A blob's open file. Bytes may be taken from `descriptor` after `check` returned for their range."""

    blob_id: str
    path: str
    descriptor: int
    found: os.stat_result
    verifier: Verifier
    sidecar: int | None = None
    """Open beside it, so that its later blocks can be checked after its deletion too."""

    @property
    def size(self) -> int:
        return self.found.st_size

    @property
    def modified_ms(self) -> int:
        return self.found.st_mtime_ns // 1_000_000

    def check(self, start: int, length: int) -> None:
        """BlobDamaged unless every block of the range matches its checksum; InvalidRange outside the blob."""
        self.verifier.check(self.descriptor, self.found, self.path, self.blob_id, start, length, self.sidecar)

    def is_trusted(self, start: int, length: int) -> bool:
        """Whether `check` would return without reading anything."""
        return self.verifier.trusts(self.found, start, length)

    def read(self, start: int, length: int) -> bytes:
        """Those bytes, checked: one read for a blob of one block. NoSuchBlob, BlobDamaged, InvalidRange."""
        if self.size <= BLOCK_BYTES:
            return _checked_part(self, _read_range(self.descriptor, 0, self.size), start, length)
        self.check(start, length)
        return _read_range(self.descriptor, start, length)

    def close(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1
        if self.sidecar is not None:
            os.close(self.sidecar)
            self.sidecar = None

    def __del__(self) -> None:
        # A thread may open it for a caller that was cancelled meanwhile.
        self.close()

    def __enter__(self) -> "OpenBlob":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class VolumeReader:
    """Opens blobs of the volume at `root`, with a memory of what this process has checked.

    Use it beside a live node only, and tell the node of damage (`NodeClient.verify`), so that it quarantines the copy.
    """

    def __init__(self, root: Path, verifier: Verifier | None = None) -> None:
        self.layout = Layout(root)
        self._verifier = verifier or Verifier()

    def open(self, blob_id: str) -> OpenBlob:
        """The blob's file, nothing checked yet. NoSuchBlob."""
        path = self.layout.blob(blob_id)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            raise NoSuchBlob from None
        except OSError as error:
            raise unreadable(error) from None
        blob = OpenBlob(blob_id, path, descriptor, os.fstat(descriptor), self._verifier)
        if blob.size > BLOCK_BYTES:
            with suppress(OSError):
                blob.sidecar = os.open(sums_of(path), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        return blob

    def open_verified(self, blob_id: str, start: int, length: int) -> OpenBlob:
        """The blob's file with that range checked; the caller closes it. NoSuchBlob, BlobDamaged, InvalidRange."""
        blob = self.open(blob_id)
        try:
            blob.check(start, length)
        except BaseException:
            blob.close()
            raise
        return blob

    def blocks(self, blob_id: str, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Those bytes (to the end if `length` is None), read and checked anew, block by block."""
        with self.open(blob_id) as blob:
            expected = load_sums(blob.descriptor, blob.path, blob_id)
            if expected.size != blob.size:
                raise BlobDamaged
            end = blob.size if length is None else start + length
            if not 0 <= start <= end <= blob.size:
                raise InvalidRange
            position = start
            while position < end:
                number, skip = divmod(position, BLOCK_BYTES)
                data = read_block(blob.descriptor, expected, number)[skip : skip + end - position]
                yield data
                position += len(data)

    def read(self, blob_id: str, start: int, length: int) -> bytes:
        """Those bytes of a blob, checked. NoSuchBlob, BlobDamaged, InvalidRange."""
        with self.open(blob_id) as blob:
            return blob.read(start, length)

    def read_from_memory(self, blob_id: str, start: int, length: int) -> bytes | None:
        """The same for a small blob that the kernel has in memory, without ever waiting for the disk; else None."""
        with self.open(blob_id) as blob:
            if not 0 < blob.size <= SMALL_BLOB_BYTES:
                return None
            data = bytearray(blob.size)
            try:
                if os.preadv(blob.descriptor, [data], 0, os.RWF_NOWAIT) != blob.size:
                    return None
            except OSError:
                # Not in memory, or a file system that cannot say so.
                return None
            return _checked_part(blob, bytes(data), start, length)


def _checked_part(blob: OpenBlob, data: bytes, start: int, length: int) -> bytes:
    """A part of a blob's whole bytes, once these are found to be right: now, or before and unchanged since."""
    if start < 0 or length < 0 or start + length > blob.size:
        raise InvalidRange
    if not blob.is_trusted(0, blob.size):
        expected = load_sums(blob.descriptor, blob.path, blob.blob_id)
        if sums.of_small(blob.blob_id, data) != expected:
            raise BlobDamaged
        blob.verifier.trust_whole(blob.found)
    return data if length == len(data) else data[start : start + length]


def _read_range(descriptor: int, start: int, length: int) -> bytes:
    """Exactly that range: a file that is shorter than its own size is damaged."""
    try:
        data = os.pread(descriptor, length, start)
        while len(data) < length:
            more = os.pread(descriptor, length - len(data), start + len(data))
            if not more:
                raise BlobDamaged
            data += more
    except OSError as error:
        raise unreadable(error) from None
    return data
