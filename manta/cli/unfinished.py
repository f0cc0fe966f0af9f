"""Files that are not yet whole: none of them stays, however their command ends."""

import contextlib
import os
import secrets
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from manta.cli import output

_ENDING: Final = (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP)
_PATIENCE_S: Final = 5.0
"""With a file system that hangs, or a terminal that is stopped."""
_files: set[Path] = set()
_naming = threading.Lock()


@contextmanager
def becoming(path: Path) -> Iterator[BinaryIO]:
    """What is written becomes that file as this ends well. Until then it has a name that nobody else has; else none."""
    partial = path.with_name(f".manta-{secrets.token_hex(8)}.part")
    try:
        with _begun(partial) as file:
            yield file
        with _naming:
            partial.rename(path)
    finally:
        partial.unlink(missing_ok=True)
        _files.discard(partial)


def _begun(partial: Path) -> BinaryIO:
    with _naming:
        _files.add(partial)
        return open(partial, "xb")


def sweep_at_signals() -> None:
    """From now on Ctrl-C, a `timeout` and a terminal that is closed end this process at once, and leave none either.

    A thread hears of them: the main one, in which handlers run, may wait for a store that hangs, and then for good.
    Nor are they blocked: a program that is started would inherit that.
    """
    woken, wakeup = socket.socketpair()  # by a name of its number nobody opens one and writes to it, as to a pipe
    wakeup.setblocking(False)
    signal.set_wakeup_fd(wakeup.fileno(), warn_on_full_buffer=False)
    for number in _ENDING:
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, lambda *_: None)
    threading.Thread(target=_end, args=(woken, wakeup), daemon=True).start()


def _end(woken: socket.socket, _held_open: socket.socket) -> None:
    number = woken.recv(1)[0]
    sweeping = threading.Thread(target=_sweep, daemon=True)
    sweeping.start()
    sweeping.join(_PATIENCE_S)
    os._exit(128 + number)


def _sweep() -> None:
    _naming.acquire()  # and never let go: no file begins any more, and none is finished
    for partial in _files.copy():
        with contextlib.suppress(OSError):
            partial.unlink()
    with contextlib.suppress(OSError):
        output.show_cursor()
