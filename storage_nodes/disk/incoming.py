"""A blob on its way in: temporary file, checksums, fsync, link into place, fsync of the folder."""

import os
from collections.abc import Callable, Sequence
from contextlib import suppress

from manta.core.checksums import Buffer
from manta.core.errors import AlreadyExists, BlobDamaged, NoSuchBlob
from manta.core.limits import DIRECT_MIN_BYTES
from storage_nodes.api import Stored
from storage_nodes.disk import durable, sums
from storage_nodes.disk.folders import Folders
from storage_nodes.disk.layout import Layout, slots_of, sums_of
from storage_nodes.disk.outlet import Outlet, write_all
from storage_nodes.disk.sums import Summer, Sums
from storage_nodes.disk.verify import load_sums

FILE_MODE = 0o444


class IncomingBlob:
    """One blob being written. Blocking: used from a worker thread, one call at a time. Ends with commit or abort."""

    _descriptor = -1

    def __init__(
        self, layout: Layout, folders: Folders, blob_id: str, number: int, size: int | None, *, xattrs: bool
    ) -> None:
        self.blob_id = blob_id
        self._layout = layout
        self._folders = folders
        self._xattrs = xattrs
        self._temporary = layout.temporary(blob_id, number)
        self._summer = Summer()
        self._descriptor = os.open(
            self._temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, FILE_MODE
        )
        os.fchmod(self._descriptor, FILE_MODE)
        durable.step("temporary-opened")
        self._outlet = Outlet(self._descriptor, 0, DIRECT_MIN_BYTES)
        if size:
            self._or_abort(lambda: self._outlet.expect(size))

    def __del__(self) -> None:
        # A thread may open it for a caller that was cancelled meanwhile.
        self._forget()

    @property
    def size(self) -> int:
        return self._outlet.written

    def write(self, chunks: Sequence[Buffer]) -> None:
        self._outlet.write(chunks)
        for chunk in chunks:
            self._summer.update(chunk)

    def commit(self) -> Stored:
        """Returns once the blob survives a power cut. AlreadyExists if the id is taken by other bytes; SyncFailed."""
        written = self._summer.sums(self.blob_id)
        self._or_abort(lambda: self._publish(written))
        self._forget()
        return Stored(written.size, written.whole)

    def abort(self) -> None:
        self._forget()

    def _publish(self, written: Sums) -> None:
        durable.step("temporary-written")
        os.ftruncate(self._descriptor, written.size)
        attach_sums(self._descriptor, self._temporary, written, xattrs=self._xattrs)
        durable.sync_file(self._descriptor)
        durable.step("temporary-synced")
        self._folders.ensure(self.blob_id)
        target = self._layout.blob(self.blob_id)
        place(self._temporary, target, written)
        self._folders.sync(self.blob_id)
        durable.step("folder-synced")

    def _or_abort(self, action: Callable[[], None]) -> None:
        try:
            action()
        except BaseException:
            self._forget()
            raise

    def _forget(self) -> None:
        if self._descriptor < 0:
            return
        os.close(self._descriptor)
        self._descriptor = -1
        remove(self._temporary)


def attach_sums(descriptor: int, path: str, written: Sums, *, xattrs: bool) -> None:
    """Write the checksums beside the file: in its attribute if they are of one block, else in a durable sidecar."""
    if xattrs and len(written.blocks) <= 1:
        os.setxattr(descriptor, sums.XATTR, written.encode())
        return
    sidecar = os.open(sums_of(path), os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, FILE_MODE)
    try:
        write_all(sidecar, [written.encode()], 0)
        durable.sync_file(sidecar)
    finally:
        os.close(sidecar)


def place(source: str, target: str, written: Sums) -> None:
    """Link a file and its sidecar, if it has one, to their final names. Placing the same blob twice is fine.

    The sidecar goes last: without it the file is not a blob yet, and a sweep still finds it after a crash.
    """
    if not durable.link(source, target):
        if is_complete(target, written):
            return
        remove(target)
        durable.link(source, target)
    durable.step("blob-linked")
    if os.path.exists(sums_of(source)):
        durable.link(sums_of(source), sums_of(target))
    durable.step("sums-linked")


def is_complete(target: str, written: Sums) -> bool:
    """Whether this very blob is there already: a write that was sent twice. False for what a crash left unfinished.

    AlreadyExists if other bytes bear the id.
    """
    descriptor = os.open(target, os.O_RDONLY | os.O_CLOEXEC)
    try:
        found = load_sums(descriptor, target, written.blob_id)
    except (NoSuchBlob, BlobDamaged):
        return False
    finally:
        os.close(descriptor)
    if found != written:
        raise AlreadyExists(f"The node holds other bytes under the id {written.blob_id}.")
    return True


def remove(path: str) -> None:
    """Unlink a blob's sidecar and file, if they exist; the file last, so that a sweep finds what a crash leaves."""
    _unlink(sums_of(path), path)


def remove_growing(path: str) -> None:
    """The same for a growing blob."""
    _unlink(slots_of(path), sums_of(path), path)


def _unlink(*names: str) -> None:
    for name in names:
        with suppress(FileNotFoundError):
            os.unlink(name)
