"""The stage hand: becomes the user of a zone that a root's node is about to build, and shows that zone what it needs.

A program of its own (`python -I -S stage.py OWN_FD UID FOLDER PLACE COMMAND…`), standard library only; stage.c is the
same in C. A node's folders are closed to other users, and so to bubblewrap, which runs as the account's own uid from
its first step. In a mount namespace of its own this binds FOLDER, if one is named, at PLACE, where everyone finds the
way; then it becomes that user, and COMMAND. (By itself `subprocess` becomes another user only after a true fork:
milliseconds in which a process of a node's size does nothing else.)
"""

import ctypes
import os
import sys
from typing import NoReturn

_CLONE_NEWNS = 0x00020000
_MS_BIND = 1 << 12
_MS_SLAVE_REC = (1 << 19) | (1 << 14)

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), what)


def _mount(source: bytes | None, target: bytes, flags: int) -> None:
    _check(_libc.mount(source, target, None, ctypes.c_ulong(flags), None), os.fsdecode(target))


def main() -> NoReturn:
    own, uid, (folder, place) = int(sys.argv[1]), int(sys.argv[2]), map(os.fsencode, sys.argv[3:5])
    os.close(own)
    try:
        if folder:
            _check(_libc.unshare(_CLONE_NEWNS), "a mount namespace")
            _mount(None, b"/", _MS_SLAVE_REC)
            _mount(folder, place, _MS_BIND)
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
        os.execv(sys.argv[5], sys.argv[5:])  # noqa: S606 - bubblewrap, as the driver names it
    except OSError as error:
        sys.exit(f"the zone's user cannot be made ready: {error}")


if __name__ == "__main__":
    main()
