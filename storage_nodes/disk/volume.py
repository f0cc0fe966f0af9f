"""A volume: the one writer of a folder of blobs. Blocking; the server calls it from worker threads.

Everything that may go wrong on the disk becomes one of the store's errors here: a failing fsync ends all writing until
the process is started again (D5), a full disk refuses new bytes and nothing else (D6).
"""

import errno
import fcntl
import itertools
import os
import secrets
import stat
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from manta.core.checksums import Buffer
from manta.core.errors import BlobDamaged, Conflict, InsufficientStorage, NoSuchBlob, VolumeReadOnly
from manta.core.limits import BLOCK_BYTES, QUARANTINE_MAX_FILES
from storage_nodes.api import BlobInfo, Stored
from storage_nodes.disk import durable, space
from storage_nodes.disk.durable import SyncFailed
from storage_nodes.disk.folders import Folders
from storage_nodes.disk.incoming import FILE_MODE, IncomingBlob, remove, remove_growing
from storage_nodes.disk.layout import Layout, sums_of
from storage_nodes.disk.reader import VolumeReader
from storage_nodes.disk.sums import XATTR

_FULL = (errno.ENOSPC, errno.EDQUOT)
_BROKEN = (errno.EIO, errno.EROFS)


class Identity(msgspec.Struct, frozen=True):
    """Written once: which node a volume belongs to, so that no other node ever adopts it."""

    node_id: str
    volume_id: str
    version: int = 1


@dataclass(frozen=True, slots=True)
class Abilities:
    """What this file system and process do: keep attributes; give new files another mode than asked (the umask)."""

    xattrs: bool
    needs_chmod: bool


class Volume:
    """The blobs of one node. `open_volume` makes one; `close` gives up the lock."""

    def __init__(self, layout: Layout, identity: Identity, lock: int, abilities: Abilities) -> None:
        self.layout = layout
        self.identity = identity
        self.reader = VolumeReader(layout.root)
        self.folders = Folders(layout)
        self.xattrs = abilities.xattrs
        self.chmod = abilities.needs_chmod
        self._lock = lock
        self._numbers = itertools.count()
        self._broken = ""
        self._quarantined = sum(1 for name in os.listdir(layout.quarantine) if not name.endswith(".sum"))

    @property
    def broken(self) -> bool:
        """Whether an fsync failed since the start (D5)."""
        return bool(self._broken)

    def sync_all(self) -> None:
        """Everything written to the volume so far reaches the disk. SyncFailed."""
        durable.sync_filesystem(self._lock)

    @property
    def quarantined(self) -> int:
        return self._quarantined

    def close(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def require_writable(self, size: int = 0) -> None:
        """VolumeReadOnly or InsufficientStorage unless `size` more bytes may be written now."""
        self.require_sound()
        space.require(self._lock, size)

    def require_sound(self) -> None:
        """VolumeReadOnly after a failed fsync."""
        if self._broken:
            raise VolumeReadOnly

    def why_not_writable(self) -> str:
        """The reason in one sentence; empty while the volume takes writes of ordinary size."""
        if self._broken:
            return self._broken
        try:
            space.require(self._lock, BLOCK_BYTES)
        except InsufficientStorage as error:
            return error.message
        return ""

    def space(self) -> space.Space:
        return space.measure(self._lock)

    def fail(self, reason: str) -> None:
        """Take no more writes: an fsync failed, and what the kernel dropped it will not report again (D5)."""
        self._broken = self._broken or f"The node stopped taking writes: {reason}. Replace its disk, then restart it."

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Translates what the disk says while something is written."""
        try:
            yield
        except SyncFailed as error:
            self.fail(str(error))
            raise VolumeReadOnly from error
        except OSError as error:
            if error.errno in _FULL:
                raise InsufficientStorage from None
            if error.errno in _BROKEN:
                self.fail(f"write: {error.strerror}")
                raise VolumeReadOnly from error
            raise

    def next_number(self) -> int:
        return next(self._numbers)

    def incoming(self, blob_id: str, size: int | None) -> IncomingBlob:
        """A new blob to write. AlreadyExists at its commit if the id is taken by other bytes."""
        self.require_writable(size or 0)
        with self.writing():
            return IncomingBlob(self.layout, self.folders, blob_id, self.next_number(), size, xattrs=self.xattrs)

    def write(self, blob: IncomingBlob, chunks: Sequence[Buffer]) -> None:
        try:
            self.require_writable(sum(len(chunk) for chunk in chunks))
            with self.writing():
                blob.write(chunks)
        except BaseException:
            blob.abort()
            raise

    def commit(self, blob: IncomingBlob) -> Stored:
        if self._broken:
            blob.abort()
            raise VolumeReadOnly
        with self.writing():
            return blob.commit()

    def put(self, blob_id: str, data: Buffer) -> Stored:
        """A whole blob, durable on its own: the simple form."""
        blob = self.incoming(blob_id, None)
        self.write(blob, [data])
        return self.commit(blob)

    def stat(self, blob_id: str) -> BlobInfo:
        """NoSuchBlob unless the node holds the blob, or it is growing."""
        for path, growing in ((self.layout.blob(blob_id), False), (self.layout.growing_blob(blob_id), True)):
            with suppress(FileNotFoundError):
                found = os.stat(path)
                return BlobInfo(blob_id, found.st_size, found.st_mtime_ns // 1_000_000, growing)
        raise NoSuchBlob

    def delete(self, blob_ids: Sequence[str]) -> None:
        """Blobs, growing or not; what does not exist is fine."""
        for blob_id in blob_ids:
            remove(self.layout.blob(blob_id))
            remove_growing(self.layout.growing_blob(blob_id))

    def verify(self, blob_id: str) -> None:
        """Read all of a blob from the disk. BlobDamaged, after the copy was put in quarantine; NoSuchBlob."""
        try:
            for _ in self.reader.blocks(blob_id):
                pass
        except BlobDamaged:
            self._move_aside(blob_id)
            raise

    def quarantine(self, blob_id: str) -> None:
        """Look at a blob that somebody found damaged once more, and move it aside if it is."""
        with suppress(BlobDamaged, NoSuchBlob):
            self.verify(blob_id)

    def _move_aside(self, blob_id: str) -> None:
        """Never deleted: when quarantine is full a damaged copy stays where it is, and is not served."""
        if self._quarantined >= QUARANTINE_MAX_FILES:
            return
        source = self.layout.blob(blob_id)
        target = self.layout.quarantined(blob_id, time.time_ns())
        with self.writing():
            with suppress(FileNotFoundError):
                durable.rename(sums_of(source), sums_of(target))
            try:
                durable.rename(source, target)
            except FileNotFoundError:
                return
            self._quarantined += 1
            durable.sync_folder(str(self.layout.quarantine))
            durable.sync_folder(self.layout.blob_folder(blob_id))


def open_volume(root: Path, node_id: str) -> Volume:
    """The volume in that folder, made if the folder is empty, cleaned of what a crash left behind.

    Conflict if another process has it open, or if it belongs to another node.
    """
    layout = Layout(root)
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = _lock(root)
    try:
        identity = _identify(layout, node_id)
        for folder in layout.folders:
            durable.make_folder(str(folder))
        durable.sync_folder(str(root))
        for name in os.listdir(layout.tmp):
            os.unlink(layout.tmp / name)
        return Volume(layout, identity, lock, _probe(layout))
    except BaseException:
        os.close(lock)
        raise


def _lock(root: Path) -> int:
    descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise Conflict(f"The volume {root} is in use by another node process: stop that one first.") from None
    return descriptor


def _identify(layout: Layout, node_id: str) -> Identity:
    try:
        identity = msgspec.json.decode(layout.identity.read_bytes(), type=Identity)
    except FileNotFoundError:
        if layout.blobs.exists():
            raise Conflict(f"The folder {layout.root} holds blobs but no identity: it is not a volume.") from None
        identity = Identity(node_id, secrets.token_hex(16))
        durable.write_file(str(layout.identity), msgspec.json.encode(identity))
    except msgspec.DecodeError:
        raise Conflict(f"The identity file of the volume {layout.root} is damaged: restore it.") from None
    if identity.node_id != node_id:
        raise Conflict(f"The volume {layout.root} belongs to node {identity.node_id}, not {node_id}.")
    return identity


def _probe(layout: Layout) -> Abilities:
    path = str(layout.tmp / "probe")
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)
    try:
        with suppress(OSError):
            os.setxattr(descriptor, XATTR, b"probe")
        return Abilities(
            xattrs=XATTR in _attributes(descriptor),
            needs_chmod=stat.S_IMODE(os.fstat(descriptor).st_mode) != FILE_MODE,
        )
    finally:
        os.close(descriptor)
        os.unlink(path)


def _attributes(descriptor: int) -> list[str]:
    try:
        return os.listxattr(descriptor)
    except OSError:
        return []
