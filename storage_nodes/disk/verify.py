"""The check between a blob's file and whoever reads it: block checksums, remembered while nothing changes (D4).

A block that matched once is trusted for the scrub period, as long as the file's inode, size, mtime and ctime are what
they were. The memory is bounded: the oldest half is forgotten when it is full.
"""

import errno
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from manta.core.checksums import crc32c
from manta.core.errors import BlobDamaged, InvalidRange, MantaError, NoSuchBlob, ServiceUnavailable
from manta.core.limits import BLOCK_BYTES, SCRUB_PERIOD_S, VERIFIED_FILES_MAX
from storage_nodes.disk import sums
from storage_nodes.disk.layout import sums_of
from storage_nodes.disk.sums import Sums

_NOT_THE_FILE = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EACCES, errno.EPERM)
_Key = tuple[int, int, int, int]


@dataclass(slots=True)
class _Checked:
    since_s: float
    blocks: int
    """Bit i is set when block i matched."""


class Verifier:
    """Checks blocks of open files and remembers which matched. Safe to use from several threads."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic, capacity: int = VERIFIED_FILES_MAX) -> None:
        self._monotonic = monotonic
        self._capacity = capacity
        self._checked: dict[_Key, _Checked] = {}
        self._lock = threading.Lock()

    def check(
        self,
        descriptor: int,
        found: os.stat_result,
        path: str,
        blob_id: str,
        start: int,
        length: int,
        sidecar: int | None = None,
    ) -> None:
        """Return if every block with a byte of the range is good; BlobDamaged, NoSuchBlob without checksums.

        `sidecar` is the open file of checksums of a blob that may have been deleted since it was opened.
        """
        size = found.st_size
        if start < 0 or length < 0 or start + length > size:
            raise InvalidRange
        key = _key(found)
        known = self._known(key)
        wanted = _mask(start, length)
        missing = wanted & ~known.blocks if known else wanted
        if known is not None and not missing:
            return
        expected = load_sums(descriptor, path, blob_id, sidecar)
        if expected.size != size:
            raise BlobDamaged
        _check_blocks(descriptor, expected, missing)
        self._remember(key, missing)

    def trusts(self, found: os.stat_result, start: int, length: int) -> bool:
        """Whether every block with a byte of the range was checked before, and the file has not changed since."""
        known = self._known(_key(found))
        return known is not None and not _mask(start, length) & ~known.blocks

    def trust_whole(self, found: os.stat_result) -> None:
        """Remember that a file of one block matched."""
        self._remember(_key(found), 1)

    def _known(self, key: _Key) -> _Checked | None:
        entry = self._checked.get(key)
        if entry is None or self._monotonic() - entry.since_s > SCRUB_PERIOD_S:
            return None
        return entry

    def _remember(self, key: _Key, blocks: int) -> None:
        with self._lock:
            entry = self._known(key)
            if entry is not None:
                entry.blocks |= blocks
                return
            if len(self._checked) >= self._capacity:
                for old in list(self._checked)[: max(1, self._capacity // 2)]:
                    del self._checked[old]
            self._checked.pop(key, None)
            self._checked[key] = _Checked(self._monotonic(), blocks)


def _key(found: os.stat_result) -> _Key:
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def unreadable(error: OSError) -> MantaError:
    """What a failed read says of a blob: a process that lacks something must not take a good copy for damaged."""
    if error.errno in _NOT_THE_FILE:
        return ServiceUnavailable(f"The node cannot read the blob now: {error.strerror}.")
    return BlobDamaged()


def load_sums(descriptor: int, path: str, blob_id: str, sidecar: int | None = None) -> Sums:
    """What the blob's bytes must be. NoSuchBlob if it has none (it is not complete), BlobDamaged if they are bad."""
    try:
        written = os.getxattr(descriptor, sums.XATTR)
    except OSError as error:
        if error.errno not in (errno.ENODATA, errno.EOPNOTSUPP):
            raise unreadable(error) from None
        written = _read_sidecar(path) if sidecar is None else _read_open(sidecar)
    found = sums.decode(written, blob_id)
    if found is None:
        raise BlobDamaged
    return found


def _read_sidecar(path: str) -> bytes:
    try:
        return Path(sums_of(path)).read_bytes()
    except FileNotFoundError:
        raise NoSuchBlob from None
    except OSError as error:
        raise unreadable(error) from None


def _read_open(sidecar: int) -> bytes:
    try:
        return os.pread(sidecar, os.fstat(sidecar).st_size, 0)
    except OSError as error:
        raise unreadable(error) from None


def _mask(start: int, length: int) -> int:
    first, end = start // BLOCK_BYTES, -(-(start + length) // BLOCK_BYTES)
    return ((1 << (end - first)) - 1) << first if length else 0


def _check_blocks(descriptor: int, expected: Sums, mask: int) -> None:
    index = 0
    while mask:
        skip = (mask & -mask).bit_length() - 1
        mask >>= skip
        index += skip
        read_block(descriptor, expected, index)
        mask >>= 1
        index += 1


def read_block(descriptor: int, expected: Sums, index: int) -> bytes:
    """Block `index`, checked. BlobDamaged if it does not match or cannot be read."""
    wanted = sums.block_size(expected.size, index)
    try:
        data = os.pread(descriptor, wanted, index * BLOCK_BYTES)
    except OSError as error:
        raise unreadable(error) from None
    if len(data) != wanted or crc32c(data) != expected.blocks[index]:
        raise BlobDamaged
    return data
