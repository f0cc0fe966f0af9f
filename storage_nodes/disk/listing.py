"""Lists blobs in the order of their ids, page by page, although folders hold them in another order.

A folder is named by the random end of an id, so the first page reads every folder. It is kept, 16 bytes for each blob,
and the pages after it are cut from it, until a new listing begins or it is too old.
"""

import os
import threading
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from manta.core.errors import NoSuchBlob
from manta.core.limits import LISTING_MAX_AGE_S
from manta.core.names import birth_ms
from storage_nodes.api import BlobInfo
from storage_nodes.disk.layout import Layout
from storage_nodes.disk.volume import Volume

_ID_BYTES = 16


class _Ids:
    """Sorted ids, packed."""

    def __init__(self, ids: list[bytes]) -> None:
        self._packed = b"".join(ids)

    def __len__(self) -> int:
        return len(self._packed) // _ID_BYTES

    def __getitem__(self, index: int) -> bytes:
        return self._packed[index * _ID_BYTES : (index + 1) * _ID_BYTES]


class Listing:
    """The listing of a volume, from one or many callers. Blocking."""

    def __init__(self, volume: Volume, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._volume = volume
        self._monotonic_s = monotonic_s
        self._lock = threading.Lock()
        self._ids = _Ids([])
        self._read_s = -LISTING_MAX_AGE_S

    def page(self, after: str, limit: int, older_than_ms: int | None) -> list[BlobInfo]:
        """Up to `limit` blobs that come after `after`, born before `older_than_ms`."""
        ids = self._ids_for(after)
        found: list[BlobInfo] = []
        index = bisect_right(ids, bytes.fromhex(after)) if after else 0
        while index < len(ids) and len(found) < limit:
            blob_id = ids[index].hex()
            index += 1
            if older_than_ms is not None and birth_ms(blob_id) >= older_than_ms:
                break
            with suppress(NoSuchBlob):
                found.append(self._volume.stat(blob_id))
        return found

    def _ids_for(self, after: str) -> _Ids:
        with self._lock:
            now_s = self._monotonic_s()
            if not after or now_s - self._read_s > LISTING_MAX_AGE_S:
                self._ids = _Ids(sorted(set(_scan(self._volume.layout))))
                self._read_s = now_s
            return self._ids


def stored_blobs(root: Path) -> Iterator[BlobInfo]:
    """What lies in the volume at `root`, by id, read without its node: for a stopped one. Blocking."""
    layout = Layout(root)
    for packed in sorted(set(_scan(layout))):
        blob_id = packed.hex()
        growing = not os.path.exists(layout.blob(blob_id))
        with suppress(FileNotFoundError):
            found = os.stat(layout.growing_blob(blob_id) if growing else layout.blob(blob_id))
            yield BlobInfo(blob_id, found.st_size, found.st_mtime_ns // 1_000_000, growing)


def _scan(layout: Layout) -> Iterator[bytes]:
    """The ids of all blobs, then of all growing ones."""
    for outer in _names(str(layout.blobs)):
        for inner in _names(f"{layout.blobs}/{outer}"):
            yield from _ids_in(f"{layout.blobs}/{outer}/{inner}")
    yield from _ids_in(str(layout.growing))


def _ids_in(folder: str) -> Iterator[bytes]:
    for name in _names(folder):
        if len(name) == 2 * _ID_BYTES:
            with suppress(ValueError):
                yield bytes.fromhex(name)


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
