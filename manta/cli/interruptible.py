"""Uploads that Ctrl-C ends. Stdin for a thread: a read that waits for more would else keep the whole command."""

import errno
import io
import os
import select
import signal
import stat
import sys
from typing import Any, BinaryIO, Final

from manta.cli.exit_codes import INTERRUPTED
from manta.core.errors import InvalidArgument
from manta.core.limits import MIB

_SMALL_BYTES: Final = 8 * MIB


def open_stdin() -> BinaryIO:
    """InvalidArgument where the shell closed it (`<&-`)."""
    if sys.stdin is None:
        raise InvalidArgument("There is nothing to read: stdin is closed.")
    return sys.stdin.buffer


def interruptible_stdin() -> BinaryIO:
    """Made in the main thread, read in any: a signal that this process handles ends a read with OSError.

    A large file stays one: it makes nobody wait, and who knows its size can choose the size of its parts. A small one
    is read to its end: those of /proc and /sys say nothing true of their size.
    """
    source = open_stdin()
    status = os.fstat(source.fileno())
    if stat.S_ISREG(status.st_mode) and status.st_size > _SMALL_BYTES:
        return source
    return io.BufferedReader(_Stdin())


def impatient_interrupts() -> None:
    """From now on a second Ctrl-C ends this process at once: after the first one, uploads that hang are waited for."""
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        return

    def press(*_: object) -> None:
        signal.signal(signal.SIGINT, lambda *_: os._exit(INTERRUPTED))
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, press)


class _Stdin(io.RawIOBase):
    def __init__(self) -> None:
        self._source = sys.stdin.fileno()
        self._wakeup, written = os.pipe()
        os.set_blocking(written, False)
        signal.set_wakeup_fd(written, warn_on_full_buffer=False)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        ready, _, _ = select.select([self._source, self._wakeup], [], [])
        if self._wakeup in ready:
            raise OSError(errno.ECANCELED, "interrupted")
        return os.readv(self._source, [buffer])
