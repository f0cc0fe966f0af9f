"""The inputs of a batch, taken by one process one after another: each finds what it would find alone."""

from __future__ import annotations

import os
import sys
import time

from jobs.programs.turns import ENDED, TURN_MAX_BYTES, decode_turn

TYPE_CHECKING = False  # typing itself takes longer to import than all the rest
if TYPE_CHECKING:
    from collections.abc import Iterator

_FIRST_PROCESS = b"forkserver\n"
_PAUSE_S = 0.001


def turns() -> Iterator[None]:
    """Each time the next input is this process's: its variables in the environment, its file on stdin."""
    channel = os.dup(0)
    environment = dict(os.environ)
    streams = sys.stdout, sys.stderr
    scratch = os.getcwd()
    is_alone = _is_alone()
    while message := os.read(channel, TURN_MAX_BYTES):
        os.environ.clear()
        os.environ.update(environment)
        os.environ.update(decode_turn(message))
        _open_stdin(os.environ["MANTA_INPUT_FILE"])
        yield
        sys.stdout, sys.stderr = streams
        sys.stderr.flush()
        try:
            if is_alone:
                _end_children()
                _clear(scratch)
            os.chdir(scratch)
            os.umask(0o022)
            os.write(channel, ENDED)
        except (OSError, RecursionError):
            os._exit(0)  # the input has ended well; those to come have to find everything as they would alone


def _open_stdin(path: str) -> None:
    file = os.open(path, os.O_RDONLY)
    os.dup2(file, 0)
    os.close(file)
    sys.stdin = open(0, closefd=False)


def _is_alone() -> bool:
    """Whether whatever else runs here, and whatever lies in the working folder, is of this task: so it is in a zone."""
    with open("/proc/1/comm", "rb") as file:
        return file.read() == _FIRST_PROCESS


def _end_children() -> None:
    """Every other process of the task but its first, which reaps those that have no parent any more."""
    try:
        os.kill(-1, 9)
        while True:
            _reap()
            time.sleep(_PAUSE_S)
            os.kill(-1, 9)
    except ProcessLookupError:
        return


def _reap() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return


def _clear(folder: str) -> None:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                os.chmod(entry.path, 0o700)
                _clear(entry.path)
                os.rmdir(entry.path)
            else:
                os.unlink(entry.path)
