"""Growing blobs: parts written at their final offsets, then the file becomes a blob where it lies, without a copy."""

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from manta.core.checksums import Buffer, crc32c
from manta.core.errors import AlreadyExists, BlobDamaged, Conflict, IncompleteBody, InvalidArgument, NoSuchBlob
from manta.core.limits import BLOCK_BYTES, DIRECT_SLOT_MIN_BYTES
from storage_nodes.api import Stored
from storage_nodes.disk import durable, slots, sums
from storage_nodes.disk.incoming import FILE_MODE, attach_sums, place, remove_growing
from storage_nodes.disk.layout import slots_of
from storage_nodes.disk.outlet import Outlet, write_all
from storage_nodes.disk.slots import Block, Slot
from storage_nodes.disk.sums import Summer
from storage_nodes.disk.verify import load_sums
from storage_nodes.disk.volume import Volume


class _Gate:
    """Lets writers in until the blob is finished, and `finish` in when no writer is inside.

    A part that is still on its way when its upload completes without it must not write into the finished blob.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._finisher = threading.Lock()
        self._inside = 0
        self._shut = False

    @contextmanager
    def writing(self) -> Iterator[None]:
        with self._changed:
            if self._shut:
                raise Conflict("The upload was completed while this part was being written.")
            self._inside += 1
        try:
            yield
        finally:
            with self._changed:
                self._inside -= 1
                self._changed.notify_all()

    @contextmanager
    def finishing(self) -> Iterator[None]:
        """One at a time. Writers stay shut out afterwards, unless the finish fails."""
        with self._finisher:
            with self._changed:
                self._shut = True
                self._changed.wait_for(lambda: not self._inside)
            try:
                yield
            except BaseException:
                self._shut = False
                raise


class IncomingSlot:
    """One part on its way in. Blocking, one call at a time; ends with commit or abort."""

    def __init__(self, files: "GrowingFiles", blob_id: str, slot: Slot, gate: _Gate) -> None:
        self._files = files
        self._blob_id = blob_id
        self._slot = slot
        self._gate = gate
        self._summer = Summer()
        self._descriptor = files.open_for_write(blob_id)
        self._outlet = Outlet(self._descriptor, slot.offset, DIRECT_SLOT_MIN_BYTES)
        try:
            self._outlet.expect(slot.size)
        except BaseException:
            os.close(self._descriptor)
            raise

    def write(self, chunks: Sequence[Buffer]) -> None:
        if self._summer.size + sum(len(chunk) for chunk in chunks) > self._slot.size:
            raise InvalidArgument("The part is larger than its slot.")
        with self._gate.writing():
            self._outlet.write(chunks)
        for chunk in chunks:
            self._summer.update(chunk)

    def commit(self) -> Stored:
        """Returns once the part survives a power cut. IncompleteBody unless exactly the slot's size came."""
        try:
            if self._summer.size != self._slot.size:
                raise IncompleteBody
            with self._gate.writing():
                durable.step("slot-written")
                durable.sync_data(self._descriptor)
                durable.step("slot-synced")
                self._files.record(self._blob_id, self._slot, self._summer.blocks())
                durable.step("slot-recorded")
        finally:
            self.abort()
        return Stored(self._slot.size, sums.combine(self._summer.blocks(), self._slot.size))

    def abort(self) -> None:
        """What was written stays where it is: without checksums it counts as never written."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
            self._files.leave(self._blob_id)


class GrowingFiles:
    """The growing blobs of a volume. Blocking."""

    def __init__(self, volume: Volume) -> None:
        self._volume = volume
        self._layout = volume.layout
        self._lock = threading.Lock()
        self._gates: dict[str, tuple[_Gate, int]] = {}

    def open_slot(self, blob_id: str, slot: Slot) -> IncomingSlot:
        """AlreadyExists if the blob is finished already."""
        self._volume.require_writable(slot.size)
        if os.path.exists(self._layout.blob(blob_id)):
            raise AlreadyExists("The upload is complete: it takes no more parts.")
        gate = self._enter(blob_id)
        try:
            with self._volume.writing():
                return IncomingSlot(self, blob_id, slot, gate)
        except BaseException:
            self.leave(blob_id)
            raise

    def write(self, slot: IncomingSlot, chunks: Sequence[Buffer]) -> None:
        self._volume.require_writable(sum(len(chunk) for chunk in chunks))
        with self._volume.writing():
            slot.write(chunks)

    def commit(self, slot: IncomingSlot) -> Stored:
        self._volume.require_sound()
        with self._volume.writing():
            return slot.commit()

    def finish(self, blob_id: str, size: int) -> Stored:
        """Make it a blob of `size` bytes. Repeating it is fine. NoSuchBlob; Conflict if a part is missing."""
        self._volume.require_sound()
        gate = self._enter(blob_id)
        try:
            with gate.finishing(), self._volume.writing():
                done = self._finished(blob_id, size)
                return done or self._publish(blob_id, size)
        finally:
            self.leave(blob_id)

    def read(self, blob_id: str, start: int, length: int) -> Iterator[bytes]:
        """Those bytes of a growing blob, checked block by block. NoSuchBlob unless all of them were committed."""
        with open(_existing(self._layout.growing_blob(blob_id)), "rb", buffering=0) as file:
            blocks = self._blocks(blob_id)
            position, end = start, start + length
            while position < end:
                number, skip = divmod(position, BLOCK_BYTES)
                block = blocks[number] if number < len(blocks) else None
                take = min(end - position, BLOCK_BYTES - skip)
                if block is None or skip + take > block.size:
                    raise NoSuchBlob("That part of the growing blob was not written.")
                yield _checked(file.fileno(), number, block)[skip : skip + take]
                position += take

    def open_for_write(self, blob_id: str) -> int:
        path = self._layout.growing_blob(blob_id)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        durable.step("temporary-opened")
        return descriptor

    def record(self, blob_id: str, slot: Slot, crcs: Sequence[int]) -> None:
        """The slot's bytes are on the disk: now say so, durably."""
        path = slots_of(self._layout.growing_blob(blob_id))
        position, entries = slots.encode(slot, crcs)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            write_all(descriptor, [entries], position)
            durable.sync_data(descriptor)
        finally:
            os.close(descriptor)
        durable.sync_folder(str(self._layout.growing))

    def leave(self, blob_id: str) -> None:
        with self._lock:
            gate, users = self._gates[blob_id]
            if users > 1:
                self._gates[blob_id] = (gate, users - 1)
            else:
                del self._gates[blob_id]

    def _enter(self, blob_id: str) -> _Gate:
        with self._lock:
            gate, users = self._gates.get(blob_id, (None, 0))
            gate = gate or _Gate()
            self._gates[blob_id] = (gate, users + 1)
            return gate

    def _blocks(self, blob_id: str) -> list[Block | None]:
        try:
            return slots.decode(Path(slots_of(self._layout.growing_blob(blob_id))).read_bytes())
        except FileNotFoundError:
            return []

    def _finished(self, blob_id: str, size: int) -> Stored | None:
        path = self._layout.blob(blob_id)
        try:
            with open(path, "rb") as file:
                found = load_sums(file.fileno(), path, blob_id)
        except (FileNotFoundError, NoSuchBlob):
            return None
        if found.size != size:
            raise AlreadyExists(f"The upload was completed with {found.size} bytes, not {size}.")
        remove_growing(self._layout.growing_blob(blob_id))
        return Stored(found.size, found.whole)

    def _publish(self, blob_id: str, size: int) -> Stored:
        path = self._layout.growing_blob(blob_id)
        with open(_existing(path), "r+b", buffering=0) as file:
            descriptor = file.fileno()
            written = sums.from_blocks(blob_id, size, self._final_crcs(descriptor, blob_id, size))
            os.ftruncate(descriptor, size)
            os.fchmod(descriptor, FILE_MODE)
            attach_sums(descriptor, path, written, xattrs=self._volume.xattrs)
            durable.sync_file(descriptor)
        durable.step("finish-synced")
        self._volume.folders.ensure(blob_id)
        place(path, self._layout.blob(blob_id), written)
        self._volume.folders.sync(blob_id)
        durable.step("finish-linked")
        remove_growing(path)
        return Stored(size, written.whole)

    def _final_crcs(self, descriptor: int, blob_id: str, size: int) -> Iterator[int]:
        blocks = self._blocks(blob_id)
        for number in range(sums.block_count(size)):
            wanted = sums.block_size(size, number)
            block = blocks[number] if number < len(blocks) else None
            if block is None or block.size < wanted:
                raise Conflict(f"The growing blob has nothing at {number * BLOCK_BYTES}: a part is missing.")
            if block.size == wanted:
                yield block.crc
            else:
                yield crc32c(_checked(descriptor, number, block)[:wanted])


def _existing(path: str) -> str:
    if not os.path.exists(path):
        raise NoSuchBlob
    return path


def _checked(descriptor: int, number: int, block: Block) -> bytes:
    data = os.pread(descriptor, block.size, number * BLOCK_BYTES)
    if len(data) != block.size or crc32c(data) != block.crc:
        raise BlobDamaged("A part of the growing blob is damaged: upload it again.")
    return data
