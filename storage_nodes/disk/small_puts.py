"""Small blobs put through the journal: one fdatasync for all that wait, plain files at once, their fsync at leisure.

Two threads. The committer takes everything that waits, appends it to the journal, makes the plain files (in a third
thread, while the fdatasync runs) and acknowledges. The settler, whenever a segment is full, brings the file system to
the disk (`syncfs`) and gives the segment back.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from manta.core.checksums import Buffer
from manta.core.errors import InsufficientStorage, InternalError, MantaError, NodeUnavailable
from manta.core.limits import JOURNAL_SEGMENT_BYTES, JOURNAL_VOLUME_FRACTION, MIB
from storage_nodes.disk import durable, plain, sums
from storage_nodes.disk.durable import SyncFailed
from storage_nodes.disk.journal import Journal, records_of
from storage_nodes.disk.journal_format import Kind, Record
from storage_nodes.disk.sums import Sums
from storage_nodes.disk.volume import Volume

Outcome = int | MantaError
"""CRC-32C of a blob that is durable now, or why it is not."""


@dataclass(slots=True)
class _Batch:
    """Puts or deletes of one caller; `settle` is called once, from the committer, with one outcome per put."""

    records: Sequence[Record]
    settle: Callable[[list[Outcome]], None]


class Puts(Protocol):
    """How a node takes small blobs: `SmallPuts`, or `simple_puts.SimplePuts` without a journal."""

    def start(self) -> None: ...

    async def put(self, blobs: Sequence[tuple[str, Buffer]]) -> list[Outcome]: ...

    async def forget(self, blob_ids: Sequence[str]) -> None: ...

    def close(self) -> None: ...


class SmallPuts:
    """Started by `start`, after it has replayed what the journal holds from before."""

    def __init__(self, volume: Volume, now_ns: Callable[[], int] = time.time_ns) -> None:
        self._volume = volume
        self._journal = Journal(volume.layout, segment_bytes(volume.space().total_bytes), now_ns)
        self._queue: list[_Batch] = []
        self._wake = threading.Condition()
        self._closing = False
        self._files = ThreadPoolExecutor(1, "manta-files")
        self._committer = threading.Thread(target=self._commit_all, name="manta-journal", daemon=True)
        self._settler = threading.Thread(target=self._settle_all, name="manta-settle", daemon=True)

    def start(self) -> None:
        """Bring back what a power cut took from the plain files, then take puts. VolumeReadOnly if the disk fails."""
        with self._volume.writing():
            self._replay()
        self._committer.start()
        self._settler.start()

    def settle_old(self) -> None:
        """Only replay what the journal holds from before, and end."""
        try:
            with self._volume.writing():
                self._replay()
        finally:
            self._journal.close()
            self._files.shutdown()

    async def put(self, blobs: Sequence[tuple[str, Buffer]]) -> list[Outcome]:
        """One outcome per blob, in order, once all are durable and can be read."""
        return await self._submit([Record(Kind.PUT, blob_id, data) for blob_id, data in blobs])

    async def forget(self, blob_ids: Sequence[str]) -> None:
        """These blobs were deleted: replaying the journal must not bring them back. Not itself durable."""
        await self._submit([Record(Kind.DELETE, blob_id) for blob_id in blob_ids])

    def close(self) -> None:
        """End both threads; what was acknowledged is settled, so that the next start has nothing to replay."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        if self._committer.is_alive():
            self._committer.join()
        self._journal.stop()
        if self._settler.is_alive():
            self._settler.join()
        self._files.shutdown()
        if not self._volume.broken:
            self._settle_rest()
        self._journal.close()

    async def _submit(self, records: Sequence[Record]) -> list[Outcome]:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[list[Outcome]] = loop.create_future()

        def settle(outcomes: list[Outcome]) -> None:
            loop.call_soon_threadsafe(_resolve, done, outcomes)

        with self._wake:
            if self._closing:
                raise NodeUnavailable("The node is ending.")
            self._queue.append(_Batch(records, settle))
            self._wake.notify()
        return await done

    def _commit_all(self) -> None:
        while batches := self._next_group():
            records = [record for batch in batches for record in batch.records]
            outcomes = self._commit(records)
            durable.step("before-reply")
            first = 0
            for batch in batches:
                last = first + len(batch.records)
                batch.settle(outcomes[first:last])
                first = last

    def _next_group(self) -> list[_Batch]:
        with self._wake:
            self._wake.wait_for(lambda: self._queue or self._closing)
            batches, self._queue = self._queue, []
            return batches

    def _commit(self, records: Sequence[Record]) -> list[Outcome]:
        """Segment by segment: the files of a segment's records are made before it can be sealed and given back."""
        outcomes: list[Outcome] = []
        try:
            with self._volume.writing():
                if any(record.kind is Kind.PUT for record in records):
                    self._volume.require_writable(sum(len(record.data) for record in records))
                while len(outcomes) < len(records):
                    outcomes += self._commit_some(records[len(outcomes) :])
        except MantaError as error:
            return outcomes + [error] * (len(records) - len(outcomes))
        except OSError as error:
            # Such as too few descriptors: it concerns these blobs, and the next ones may have more luck.
            failed = InternalError(f"The node's journal failed: {error.strerror}.")
            return outcomes + [failed] * (len(records) - len(outcomes))
        except Exception as error:
            self._volume.fail(f"the journal failed with {type(error).__name__}")
            return [InternalError(f"The node's journal failed: {type(error).__name__}.")] * len(records)
        return outcomes

    def _commit_some(self, records: Sequence[Record]) -> list[Outcome]:
        """As many as the segment takes."""
        count = self._journal.append(records)
        durable.step("journal-written")
        making = self._files.submit(self._make_files, records[:count])
        try:
            self._journal.sync()
        finally:
            outcomes = making.result()
        durable.step("journal-synced")
        return outcomes

    def _make_files(self, records: Sequence[Record]) -> list[Outcome]:
        return [self._make_file(record) if record.kind is Kind.PUT else 0 for record in records]

    def _make_file(self, record: Record) -> Outcome:
        try:
            with self._volume.writing():
                written = self._prepare(record)
                path = self._volume.layout.blob(record.blob_id)
                plain.create(path, record.data, written, xattrs=self._volume.xattrs, chmod=self._volume.chmod)
                durable.step("file-created")
                return written.whole
        except MantaError as error:
            return error

    def _prepare(self, record: Record) -> Sums:
        self._volume.folders.ensure(record.blob_id)
        return sums.of_small(record.blob_id, record.data)

    def _replay(self) -> None:
        segments = self._journal.adopt()
        deleted_at = {
            record.blob_id: (segment.sequence, number)
            for segment in segments
            for number, record in enumerate(records_of(segment))
            if record.kind is Kind.DELETE
        }
        for segment in segments:
            for number, record in enumerate(records_of(segment)):
                if record.kind is Kind.PUT and (segment.sequence, number) > deleted_at.get(record.blob_id, (0, 0)):
                    self._restore(record)
        if segments:
            self._volume.sync_all()
            self._journal.retire(segments)

    def _restore(self, record: Record) -> None:
        written = self._prepare(record)
        path = self._volume.layout.blob(record.blob_id)
        plain.restore(path, record.data, written, xattrs=self._volume.xattrs, chmod=self._volume.chmod)

    def _settle_all(self) -> None:
        while segments := self._journal.wait_for_sealed():
            try:
                with self._volume.writing():
                    self._volume.sync_all()
                    self._journal.retire(segments)
                    # Without room for one more segment those there are serve in turn.
                    with suppress(InsufficientStorage), self._volume.writing():
                        self._journal.prepare()
            except Exception:
                self._volume.fail("the file system could not be brought to the disk")
                self._journal.stop()

    def _settle_rest(self) -> None:
        try:
            segments = self._journal.seal()
            self._volume.sync_all()
            self._journal.retire(segments)
        except (OSError, SyncFailed):
            # What is not settled stays in the journal, and the next start replays it.
            return


def segment_bytes(total_bytes: int) -> int:
    """Size of a segment on a volume of that size, in whole MiB."""
    return max(MIB, min(JOURNAL_SEGMENT_BYTES, int(total_bytes * JOURNAL_VOLUME_FRACTION) // MIB * MIB))


def _resolve(done: "asyncio.Future[list[Outcome]]", outcomes: list[Outcome]) -> None:
    if not done.done():
        done.set_result(outcomes)
