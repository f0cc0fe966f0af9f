"""One page of a listing, built from rows in key order: a pure decision of what a row becomes and where to seek next.

A group of keys that share a common prefix is passed by seeking beyond it, never by reading it. Keys are UTF-8, so no
key has the byte 0xFF: `group + 0xFF` comes after every key of the group and before every other later key.
"""

from collections.abc import Sequence

from manta.catalog.packing import unpack_algorithms
from manta.catalog.records import ListedObject, ObjectPage

Row = tuple[bytes, int, str, int, int]
"""key, size, etag, modified_ms, algorithms (packed)"""

BEYOND = b"\xff"
_FIRST_CHUNK = 64
_GROWTH = 4


def key_range(prefix: bytes, after: bytes) -> tuple[bytes, bytes]:
    """(first key that may come, first that may not) for keys with `prefix` after `after`."""
    return max(prefix, after + b"\0") if after else prefix, prefix + BEYOND


class Listing:
    """Until `done`, `feed` it at most `chunk` rows of keys from `low` (with it) to `high` (without it), in order.

    While `walking`, the rows given are the first of each group only. Where keys stand side by side a plain scan is
    quicker, where groups do a walk is: the last chunk seen decides.
    """

    def __init__(self, prefix: str, delimiter: str, after: str, limit: int) -> None:
        self.delimiter = delimiter.encode()
        self.prefix = prefix.encode()
        self.low, self.high = key_range(self.prefix, after.encode())
        self.walking = False
        self.done = limit == 0
        self._limit = limit
        self._step = _FIRST_CHUNK if delimiter else limit + 1
        self._objects: list[ListedObject] = []
        self._groups: list[bytes] = []
        self._last = ""
        self._more = False
        if after.startswith(prefix) and self._group(after.encode()) == after.encode():
            self.low = after.encode() + BEYOND

    @property
    def chunk(self) -> int:
        return min(self._step, self._limit - len(self._objects) - len(self._groups) + 1)

    def feed(self, rows: Sequence[Row]) -> None:
        exhausted = len(rows) < self.chunk
        groups_before = len(self._groups)
        for row in rows:
            if len(self._objects) + len(self._groups) == self._limit:
                self._more = self.done = True
                return
            group = self._group(row[0])
            if group is None:
                self._add(row)
            else:
                self._groups.append(group)
                self._last = group.decode()
                self.low = group + BEYOND
                if not self.walking:
                    self._set_walking(walking=True)
                    return
        self.done = exhausted
        self._step *= _GROWTH
        if self.walking and len(self._groups) == groups_before:
            self._set_walking(walking=False)

    def _set_walking(self, *, walking: bool) -> None:
        self.walking = walking
        self._step = _FIRST_CHUNK

    def _group(self, key: bytes) -> bytes | None:
        end = key.find(self.delimiter, len(self.prefix)) if self.delimiter else -1
        return None if end < 0 else key[: end + len(self.delimiter)]

    def _add(self, row: Row) -> None:
        key, size, etag, modified_ms, algorithms = row
        self._last = key.decode()
        self.low = key + b"\0"
        self._objects.append(ListedObject(self._last, size, etag, modified_ms, unpack_algorithms(algorithms)))

    def page(self) -> ObjectPage:
        return ObjectPage(
            objects=tuple(self._objects),
            common_prefixes=tuple(group.decode() for group in self._groups),
            next_after=self._last if self._more else None,
        )
