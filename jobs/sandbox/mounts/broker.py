"""The mount broker: a path below the blobs folder in, a detached mount of that one file out, read-only for good.

A program of its own (`python -I -S broker.py SOCKET_FD BLOBS_DIR`), standard library only. It binds the blobs folder
onto itself read-only, nosuid and nodev in a user and mount namespace of its own, then unshares both a second time: what
a less privileged namespace copies keeps those flags locked, so whoever receives a mount can never make it writable.
"""

import ctypes
import os
import socket
import stat
import struct
import sys
from typing import NoReturn

_CLONE_NEWNS = 0x00020000
_CLONE_NEWUSER = 0x10000000
_AT_FDCWD = -100
_AT_EMPTY_PATH = 0x1000
_AT_RECURSIVE = 0x8000
_OPEN_TREE_CLONE = 1
_OPEN_TREE_CLOEXEC = os.O_CLOEXEC
_MOVE_MOUNT_F_EMPTY_PATH = 4
_MOUNT_ATTR_LOCKED = 0x1 | 0x2 | 0x4  # RDONLY, NOSUID, NODEV
_MS_PRIVATE_REC = (1 << 18) | (1 << 14)
_RESOLVE_STRICT = 0x01 | 0x02 | 0x04 | 0x08  # NO_XDEV, NO_MAGICLINKS, NO_SYMLINKS, BENEATH
_SYS_OPEN_TREE, _SYS_MOVE_MOUNT, _SYS_OPENAT2, _SYS_MOUNT_SETATTR = 428, 429, 437, 442
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE = 1, 4
_PATH_MAX = 4096

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def _syscall(number: int, *arguments: object) -> int:
    result: int = _libc.syscall(ctypes.c_long(number), *arguments)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def _long(value: int) -> ctypes.c_long:
    return ctypes.c_long(value)


def _unshare() -> None:
    uid, gid = os.geteuid(), os.getegid()
    if _libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNS) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"unshare of user and mount namespace: {os.strerror(code)}")
    for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)


def _lock_folder(blobs: str) -> int:
    """A descriptor of the blobs folder through a mount that is read-only and locked so.

    By working directory, not by path: in the namespace the store's root has lost its right to walk others' folders.
    """
    os.chdir(blobs)
    _unshare()
    if _libc.mount(None, b"/", None, ctypes.c_ulong(_MS_PRIVATE_REC), None) != 0:
        raise OSError(ctypes.get_errno(), "mount --make-rprivate")
    tree = _syscall(
        _SYS_OPEN_TREE, _long(_AT_FDCWD), b".", _long(_OPEN_TREE_CLONE | _AT_RECURSIVE | _OPEN_TREE_CLOEXEC)
    )
    attributes = struct.pack("<QQQQ", _MOUNT_ATTR_LOCKED, 0, 0, 0)
    size = ctypes.c_size_t(len(attributes))
    _syscall(_SYS_MOUNT_SETATTR, _long(tree), b"", _long(_AT_EMPTY_PATH | _AT_RECURSIVE), attributes, size)
    _syscall(_SYS_MOVE_MOUNT, _long(tree), b"", _long(_AT_FDCWD), b".", _long(_MOVE_MOUNT_F_EMPTY_PATH))
    os.fchdir(tree)
    os.close(tree)
    _unshare()
    return os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


def _mount_of(folder: int, path: bytes) -> int:
    """A detached mount of the regular file at `path`, which may not lead out of the folder by any means."""
    how = struct.pack("<QQQ", os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, 0, _RESOLVE_STRICT)
    file = _syscall(_SYS_OPENAT2, _long(folder), path, how, ctypes.c_size_t(len(how)))
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise FileNotFoundError(2, "not a regular file")
        flags = _long(_OPEN_TREE_CLONE | _OPEN_TREE_CLOEXEC | _AT_EMPTY_PATH)
        return _syscall(_SYS_OPEN_TREE, _long(file), b"", flags)
    finally:
        os.close(file)


def _serve(channel: socket.socket, folder: int) -> None:
    while path := channel.recv(_PATH_MAX):
        try:
            mount = _mount_of(folder, path)
        except OSError as error:
            channel.send(struct.pack("<i", error.errno or 5))
            continue
        socket.send_fds(channel, [struct.pack("<i", 0)], [mount])
        os.close(mount)


def main() -> NoReturn:
    """Answers 0 once ready, or an errno and the reason; ends when the agent's side of the socket closes."""
    channel = socket.socket(fileno=int(sys.argv[1]))
    _libc.prctl(_PR_SET_PDEATHSIG, 9, 0, 0, 0)
    try:
        folder = _lock_folder(sys.argv[2])
    except OSError as error:
        channel.send(struct.pack("<i", error.errno or 5) + str(error).encode())
        sys.exit(1)
    _libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    channel.send(struct.pack("<i", 0))
    _serve(channel, folder)
    sys.exit(0)


if __name__ == "__main__":
    main()
