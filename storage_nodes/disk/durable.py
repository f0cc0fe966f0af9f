"""Every fsync, link and rename of a node, and the points where a test may stop it.

With the environment variable `MANTA_CRASH_AT=<step>` the process kills itself (SIGKILL) when it reaches that step: this
is how the crash tests reach every instant between the temporary file and the reply. Unset, as always outside tests,
`step` does nothing.
"""

import ctypes
import errno
import fcntl
import os
import signal
from collections.abc import Sequence

from manta.core.checksums import Buffer

_CRASH_AT = os.environ.get("MANTA_CRASH_AT", "")
_LIBC = ctypes.CDLL(None, use_errno=True)
_SYNC_FILE_RANGE_WRITE = 2

STEPS = (
    "temporary-opened",
    "temporary-written",
    "temporary-synced",
    "sums-linked",
    "blob-linked",
    "folder-synced",
    "journal-written",
    "journal-synced",
    "file-created",
    "slot-written",
    "slot-synced",
    "slot-recorded",
    "finish-synced",
    "finish-linked",
    "before-reply",
)


class SyncFailed(Exception):
    """An fsync failed: what was written may be lost, and the kernel will not say so again (D5)."""


def step(name: str) -> None:
    """A named instant of a write."""
    if name == _CRASH_AT:
        os.kill(os.getpid(), signal.SIGKILL)


def sync_file(descriptor: int) -> None:
    """Data and metadata of an open file reach the disk."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        raise SyncFailed(f"fsync: {error.strerror}") from error


def sync_data(descriptor: int) -> None:
    """Data of an open file, and what is needed to read it back, reach the disk."""
    try:
        os.fdatasync(descriptor)
    except OSError as error:
        raise SyncFailed(f"fdatasync: {error.strerror}") from error


def sync_folder(path: str) -> None:
    """The names in a folder reach the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        sync_file(descriptor)
    finally:
        os.close(descriptor)


def sync_filesystem(descriptor: int) -> None:
    """Everything written so far on the file system of `descriptor` reaches the disk."""
    if _LIBC.syncfs(descriptor) != 0:
        raise SyncFailed(f"syncfs: {os.strerror(ctypes.get_errno())}")


def start_writeback(descriptor: int, offset: int, length: int) -> None:
    """Ask the kernel to begin writing that range now, so that the final fsync is short. Only a hint."""
    _LIBC.sync_file_range(descriptor, ctypes.c_int64(offset), ctypes.c_int64(length), _SYNC_FILE_RANGE_WRITE)


def set_direct(descriptor: int, *, direct: bool) -> bool:
    """Whether further writes go past the page cache (O_DIRECT); not every file system can."""
    flags = fcntl.fcntl(descriptor, fcntl.F_GETFL) & ~os.O_DIRECT
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETFL, flags | (os.O_DIRECT if direct else 0))
    except OSError:
        return False
    return direct


def write_direct(descriptor: int, chunks: Sequence[Buffer], offset: int) -> bool:
    """Write after `set_direct`; False if the memory, the offset or a length is not aligned as the disk wants it."""
    try:
        return os.pwritev(descriptor, chunks, offset) == sum(len(chunk) for chunk in chunks)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return False


def link(source: str, target: str) -> bool:
    """Give the file a second name; False if the name is taken. Never replaces anything."""
    try:
        os.link(source, target)
    except FileExistsError:
        return False
    return True


def rename(source: str, target: str) -> None:
    """Move within the volume, replacing what is there."""
    os.rename(source, target)


def make_folder(path: str, *, mode: int = 0o700) -> bool:
    """Create a folder; False if it was there."""
    try:
        os.mkdir(path, mode)
    except FileExistsError:
        return False
    return True


def preallocate(descriptor: int, offset: int, size: int) -> None:
    """Take `size` bytes of disk from `offset` on, where the file system can: ENOSPC comes now, not in mid-stream."""
    try:
        os.posix_fallocate(descriptor, offset, size)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
            raise


def write_file(path: str, data: bytes, *, mode: int = 0o600) -> None:
    """Write a small file whole and durably: temporary file, fsync, rename, fsync of the folder."""
    temporary = path + ".new"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    try:
        os.write(descriptor, data)
        sync_file(descriptor)
    finally:
        os.close(descriptor)
    os.rename(temporary, path)
    sync_folder(os.path.dirname(path))
