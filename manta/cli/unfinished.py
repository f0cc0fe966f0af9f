"""Files that are not yet whole: none of them stays, however their command ends."""

import contextlib
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Final

_ENDING: Final = (signal.SIGTERM, signal.SIGHUP)
_files: set[Path] = set()


@contextmanager
def unfinished(path: Path) -> Iterator[None]:
    """Once this is over the file is gone, unless it was renamed."""
    _files.add(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        _files.discard(path)


def sweep_at_signals() -> None:
    """From now on a `timeout`, or a terminal that is closed, leaves none either. Called in the main thread."""
    for number in _ENDING:
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _end)


def _end(number: int, _frame: FrameType | None) -> None:
    """At once: transfers of a store that hangs are not waited for."""
    for path in _files.copy():
        with contextlib.suppress(OSError):
            path.unlink()
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
