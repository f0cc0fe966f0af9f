"""A user at a terminal: a real pseudo terminal with the real `manta` command on it."""

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Protocol, Self

from tests.support.waiting import await_condition

PATIENCE_S = 60.0
PROMPT = "manta:"
_ENDED = os.WEXITED | os.WNOHANG | os.WNOWAIT
_PASTE_MODE = re.compile(r"\x1b\[\?2004(h|l\r)")
"""What readline tells a terminal around each line."""


class _Served(Protocol):
    @property
    def environment(self) -> Mapping[str, str]: ...


class UserTerminal:
    """`manta …` in a terminal of its own. What it shows is taken piece by piece with `until`."""

    def __init__(self, store: _Served, *arguments: str, rows: int = 24, columns: int = 80) -> None:
        environment = {**store.environment, "TERM": "vt100"}
        self.pid, self.master = pty.fork()
        if self.pid == 0:
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
            command = [sys.executable, "-m", "manta.cli.main", *arguments]
            os.execve(sys.executable, command, environment)
        self.shown = b""
        self._ended = False
        self._open = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._ended:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        if self._open:
            os.close(self.master)

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def until(self, text: str) -> str:
        """What was shown up to that text, and with it."""
        wanted = text.encode()
        deadline = time.monotonic() + PATIENCE_S
        while wanted not in self.shown:
            assert self._read(deadline), f"{text!r} was not shown: {self.shown.decode(errors='replace')!r}"
        before, _, self.shown = self.shown.partition(wanted)
        return _PASTE_MODE.sub("", (before + wanted).decode(errors="replace"))

    def run(self, command: str) -> str:
        """What a command line shows, once the shell asks for the next."""
        self.type(f"{command}\r")
        said = self.until(PROMPT)
        self.until("# ")
        return said

    def status(self) -> int:
        """The command's exit code, once it has ended."""
        deadline = time.monotonic() + PATIENCE_S
        while self._read(deadline):
            pass
        self._ended = True
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def hang_up(self) -> int:
        """Close the terminal; the exit code of the command that had it."""
        self._open = False
        os.close(self.master)
        await_condition(lambda: os.waitid(os.P_PID, self.pid, _ENDED) is not None, "the command has ended")
        self._ended = True
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def modes(self) -> list[object]:
        """How the terminal is set."""
        return termios.tcgetattr(self.master)

    def _read(self, deadline: float) -> bool:
        """Whether there was more; False at its end."""
        left_s = deadline - time.monotonic()
        if not select.select([self.master], [], [], max(left_s, 0))[0]:
            return False
        try:
            data = os.read(self.master, 65536)
        except OSError:
            return False
        self.shown += data
        return bool(data)


@contextmanager
def at_prompt(store: _Served, *arguments: str, **options: int) -> Iterator[UserTerminal]:
    """A user who sees the session's prompt."""
    with UserTerminal(store, "login", *arguments, **options) as user:
        user.until(PROMPT)
        user.until("# ")
        yield user
