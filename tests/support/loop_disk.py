"""A small ext4 of its own in a file, to be filled up and to lose its power. Needs root and loop devices."""

import ctypes
import fcntl
import os
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest

from tests.support.waiting import await_condition

_FS_IOC_SHUTDOWN = 0x8004587D
_NO_LOG_FLUSH = 2
_CLONE_NEWNS = 0x00020000


def why_not() -> str:
    """The platform's reason why no such disk can be had; empty if it can."""
    if os.geteuid() != 0:
        return "mounting a loop device needs root"
    if not Path("/dev/loop-control").exists():
        return "this kernel has no loop devices"
    return ""


@cache
def _keep_mounts_to_ourselves() -> None:
    """Into a mount namespace of our own: a sandbox made elsewhere meanwhile would copy the mount and keep it busy."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNS) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)


class LoopDisk:
    """`folder` is where it is mounted."""

    def __init__(self, root: Path, size_bytes: int) -> None:
        self.folder = root / "disk"
        self._image = root / "disk.img"
        self.folder.mkdir()
        with self._image.open("wb") as file:
            file.truncate(size_bytes)
        subprocess.run(["mkfs.ext4", "-q", str(self._image)], check=True)
        self._mounted = False

    def mount(self) -> None:
        _keep_mounts_to_ourselves()
        subprocess.run(["mount", "-o", "loop", str(self._image), str(self.folder)], check=True)
        self._mounted = True

    def cut_power(self) -> None:
        """Whatever the kernel has not written to this disk by now is lost.

        So is what an fdatasync wrote that runs meanwhile, though ext4 (Linux 6.18) returns 0 for it: what is said to
        be durable while this call lasts proves nothing.
        """
        descriptor = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.ioctl(descriptor, _FS_IOC_SHUTDOWN, struct.pack("I", _NO_LOG_FLUSH))
        finally:
            os.close(descriptor)

    def unmount(self) -> None:
        """As soon as the last thread of what was killed has let go of its files: that is later than it is gone."""
        if self._mounted:
            await_condition(self._is_unmounted, f"{self.folder} to be held by nobody")
            self._mounted = False

    def _is_unmounted(self) -> bool:
        return subprocess.run(["umount", str(self.folder)], stderr=subprocess.DEVNULL, check=False).returncode == 0


@contextmanager
def loop_disk(root: Path, size_bytes: int = 64 << 20) -> Iterator[LoopDisk]:
    disk = LoopDisk(root, size_bytes)
    disk.mount()
    try:
        yield disk
    finally:
        disk.unmount()


needs_disk = pytest.mark.skipif(bool(why_not()), reason=why_not() or "a loop disk can be had")
