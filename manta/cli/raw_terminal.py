"""The user's own terminal while a session has it: raw, given back as it was however the session ends."""

import fcntl
import os
import signal
import struct
import sys
import termios
import tty
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Final, Self

ENDING: Final = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT)
_SEEN: Final = (*ENDING, signal.SIGWINCH, signal.SIGCONT)


class RawTerminal:
    """A context. `wakeup` becomes readable when a signal came; `signals` then says which."""

    def __init__(self) -> None:
        self.input = sys.stdin.fileno()
        self.output = sys.stdout.fileno()
        self.wakeup, self._written = os.pipe()
        os.set_blocking(self.wakeup, False)
        os.set_blocking(self._written, False)
        self._before: list[object] = []

    def __enter__(self) -> Self:
        self._before = termios.tcgetattr(self.input)
        self._handlers = [(number, signal.signal(number, _noted)) for number in _SEEN]
        self._woken = signal.set_wakeup_fd(self._written, warn_on_full_buffer=False)
        self.take()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(termios.error):  # one that was closed takes nothing any more
            termios.tcsetattr(self.input, termios.TCSADRAIN, self._before)  # type: ignore[arg-type]
        signal.set_wakeup_fd(self._woken)
        for number, handler in self._handlers:
            signal.signal(number, handler)
        os.close(self.wakeup)
        os.close(self._written)

    def take(self) -> None:
        """Make it raw: also again, once the user's shell had it back meanwhile."""
        tty.setraw(self.input, termios.TCSADRAIN)

    def signals(self) -> list[int]:
        try:
            return list(os.read(self.wakeup, 256))
        except BlockingIOError:
            return []


def size(descriptor: int) -> tuple[int, int]:
    """(rows, columns) of a terminal."""
    packed = fcntl.ioctl(descriptor, termios.TIOCGWINSZ, bytes(8))
    rows, columns, _, _ = struct.unpack("HHHH", packed)
    return rows, columns


def _noted(_number: int, _frame: FrameType | None) -> None:
    """The wakeup descriptor tells the loop."""


class Escape:
    """`~.` at the beginning of a line leaves a session that does not answer, as with ssh; `~~` sends one. Pure."""

    def __init__(self) -> None:
        self._line_begins = True
        self._held = False

    def filter(self, typed: bytes) -> bytes | None:
        """What to send; None to leave."""
        sent = bytearray()
        for byte in typed:
            if self._held:
                self._held = False
                if byte == ord("."):
                    return None
                sent += b"" if byte == ord("~") else b"~"
            elif byte == ord("~") and self._line_begins:
                self._held = True
                continue
            sent.append(byte)
            self._line_begins = byte in b"\r\n"
        return bytes(sent)
