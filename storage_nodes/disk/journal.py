"""The journal that makes small blobs durable with one fdatasync for many: segments, used in turn and over again.

Segment files are filled with zeros once, so that a later fdatasync has no metadata to write: it costs a fifth of one
after an append. A full segment is sealed; it is free again once everything its records stand for is on the disk by
itself (`retire`). One thread appends; another may retire and prepare.
"""

import os
import threading
from collections.abc import Callable, Iterator, Sequence

from manta.core.errors import VolumeReadOnly
from manta.core.limits import JOURNAL_SEGMENTS_MAX, MIB
from storage_nodes.disk import durable, journal_format
from storage_nodes.disk.journal_format import HEADER_BYTES, Record
from storage_nodes.disk.layout import Layout
from storage_nodes.disk.outlet import write_all

_FILL = bytes(MIB)


class Segment:
    """One file of the journal, in one of its uses."""

    def __init__(self, path: str, size: int) -> None:
        self.path = path
        self.size = size
        self.descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        self.sequence = 0
        self.end = HEADER_BYTES

    @property
    def room(self) -> int:
        return self.size - self.end

    def fill(self) -> None:
        """Give the file its full size in written blocks, durably."""
        if os.fstat(self.descriptor).st_size == self.size:
            return
        os.ftruncate(self.descriptor, 0)
        for offset in range(0, self.size, len(_FILL)):
            write_all(self.descriptor, [_FILL[: self.size - offset]], offset)
        durable.sync_file(self.descriptor)

    def begin(self, sequence: int) -> None:
        self.sequence = sequence
        self.end = HEADER_BYTES
        write_all(self.descriptor, [journal_format.header(sequence)], 0)

    def append(self, records: Sequence[Record]) -> None:
        parts = [part for record in records for part in journal_format.encode(record, self.sequence)]
        for first in range(0, len(parts), 1000):
            self.end += write_all(self.descriptor, parts[first : first + 1000], self.end)

    def clear(self) -> None:
        """Its records are not needed any more. Not synced: replaying them once more does no harm."""
        write_all(self.descriptor, [journal_format.header(0)], 0)

    def close(self) -> None:
        os.close(self.descriptor)


class Journal:
    """Appends records durably. `append` may wait for a free segment, which `retire` makes."""

    def __init__(self, layout: Layout, segment_bytes: int, now_ns: Callable[[], int]) -> None:
        self._layout = layout
        self._segment_bytes = segment_bytes
        self._now_ns = now_ns
        self._sequence = 0
        self._current: Segment | None = None
        self._sealed: list[Segment] = []
        self._free: list[Segment] = []
        self._count = 0
        self._stopped = False
        self._changed = threading.Condition()
        self._making = threading.Lock()
        """One at a time, so that no number is given to two segments when one of them could not be made."""

    def adopt(self) -> list[Segment]:
        """The segments that a process before this one left, oldest use first; all are sealed now."""
        for path in sorted(self._layout.journal.glob("*.journal")):
            segment = Segment(str(path), self._segment_bytes)
            segment.sequence = journal_format.read_header(os.pread(segment.descriptor, HEADER_BYTES, 0))
            self._sequence = max(self._sequence, segment.sequence)
            self._sealed.append(segment)
        self._count = len(self._sealed)
        self._sealed.sort(key=lambda segment: segment.sequence)
        return list(self._sealed)

    def append(self, records: Sequence[Record]) -> int:
        """Write as many of the records as one segment takes, not yet durable: `sync` follows. How many they were.

        It seals the segment in use when that is full, so whatever the earlier records stand for must be written by
        then (to the page cache at least): the sealed segment is given back after one sync of the file system.
        """
        segment = self._current or self._begin_next()
        if records[0].encoded_bytes > segment.room:
            segment = self._rotate(segment)
        count, room = 1, segment.room - records[0].encoded_bytes
        while count < len(records) and records[count].encoded_bytes <= room:
            room -= records[count].encoded_bytes
            count += 1
        segment.append(records[:count])
        return count

    def sync(self) -> None:
        """What was appended survives a power cut from here on."""
        if self._current is not None:
            durable.sync_data(self._current.descriptor)

    def wait_for_sealed(self) -> list[Segment]:
        """Segments to be made free; empty once the journal is stopped."""
        with self._changed:
            self._changed.wait_for(lambda: self._sealed or self._stopped)
            return [] if self._stopped else list(self._sealed)

    def retire(self, segments: Sequence[Segment]) -> None:
        """All that these sealed segments' records stand for is on the disk: they may be used anew."""
        for segment in segments:
            segment.clear()
        with self._changed:
            for segment in segments:
                self._sealed.remove(segment)
                self._free.append(segment)
            self._changed.notify_all()

    def prepare(self) -> None:
        """Have a free segment at hand before it is needed, if one more may be made."""
        with self._making:
            with self._changed:
                if self._free or self._count >= JOURNAL_SEGMENTS_MAX:
                    return
            segment = self._make(self._count + 1)
            with self._changed:
                self._count += 1
                self._free.append(segment)
                self._changed.notify_all()

    def seal(self) -> list[Segment]:
        """End the current segment's use; all segments that hold records."""
        if self._current is not None:
            durable.sync_data(self._current.descriptor)
        with self._changed:
            if self._current is not None:
                self._sealed.append(self._current)
                self._current = None
            self._changed.notify_all()
            return list(self._sealed)

    def stop(self) -> None:
        """Whoever waits for a segment is told that none will come."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def close(self) -> None:
        for segment in (*self._sealed, *self._free, *([self._current] if self._current else [])):
            segment.close()

    def _make(self, number: int) -> Segment:
        segment = Segment(self._layout.segment(number), self._segment_bytes)
        try:
            segment.fill()
            durable.sync_folder(str(self._layout.journal))
        except BaseException:
            segment.close()
            raise
        return segment

    def _rotate(self, full: Segment) -> Segment:
        durable.sync_data(full.descriptor)
        with self._changed:
            self._sealed.append(full)
            self._current = None
            self._changed.notify_all()
        return self._begin_next()

    def _begin_next(self) -> Segment:
        with self._changed:
            none_free = not self._free and self._count < JOURNAL_SEGMENTS_MAX
        if none_free:
            self.prepare()
        with self._changed:
            self._changed.wait_for(lambda: self._free or self._stopped)
            if self._stopped:
                raise VolumeReadOnly
            segment = self._free[-1]
        segment.fill()
        with self._changed:
            self._free.remove(segment)
        self._sequence = max(self._sequence + 1, self._now_ns())
        segment.begin(self._sequence)
        self._current = segment
        return segment


def records_of(segment: Segment) -> Iterator[Record]:
    """What a segment of an earlier process holds."""
    size = os.fstat(segment.descriptor).st_size
    yield from journal_format.read_records(os.pread(segment.descriptor, size, 0))
