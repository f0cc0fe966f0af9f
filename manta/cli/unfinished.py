"""Files that are not yet whole: none of them stays, however their command ends."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

_ENDING: Final = (signal.SIGTERM, signal.SIGHUP)
_files: set[Path] = set()
_may_begin = threading.Lock()


@contextmanager
def unfinished(path: Path) -> Iterator[BinaryIO]:
    """A new file to be filled. Once this is over it is gone, unless it was renamed."""
    with contextlib.ExitStack() as undo:
        with _may_begin:
            file = undo.enter_context(open(path, "xb"))
            undo.callback(_remove, path)
            _files.add(path)
        yield file


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)
    _files.discard(path)


def sweep_at_signals() -> None:
    """From now on a `timeout`, or a terminal that is closed, leaves none either. Called before threads are begun."""
    ending = {number for number in _ENDING if signal.getsignal(number) is signal.SIG_DFL}
    # Not handlers: they run in the main thread, which may wait for a store that hangs, and then for good.
    signal.pthread_sigmask(signal.SIG_BLOCK, ending)
    threading.Thread(target=_end, args=(ending,), daemon=True).start()


def _end(ending: set[signal.Signals]) -> None:
    number = signal.sigwait(ending)
    _may_begin.acquire()  # and never let go: no file begins any more
    for path in _files.copy():
        with contextlib.suppress(OSError):
            path.unlink()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ending)
    os.kill(os.getpid(), number)
