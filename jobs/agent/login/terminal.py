"""A pseudo terminal, seen from its master's side: read and written at the pace of both ends."""

import asyncio
import fcntl
import os
import struct
import termios
from collections.abc import Callable
from typing import Final

_READ_BYTES: Final = 16 * 1024
_OUTPUT_FLAGS, _LOCAL_FLAGS = 1, 3
END_OF_INPUT: Final = b"\x04"


class Terminal:
    """`slave` is for the session's processes. `plain`: output stays as it is, input is not echoed."""

    def __init__(self, rows: int, columns: int, *, plain: bool = False) -> None:
        self._loop = asyncio.get_running_loop()
        self._master, self.slave = os.openpty()
        os.set_blocking(self._master, False)
        self.resize(rows, columns)
        if plain:
            self._make_plain()

    def resize(self, rows: int, columns: int) -> None:
        """The kernel tells the foreground processes (SIGWINCH)."""
        if self._master >= 0:
            fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    async def read(self) -> bytes:
        """The next output; b"" once nobody has the slave open and all is read."""
        while True:
            try:
                return os.read(self._master, _READ_BYTES)
            except BlockingIOError:
                await self._ready(self._loop.add_reader, self._loop.remove_reader)
            except OSError:  # EIO: the last slave was closed
                return b""

    async def write(self, data: bytes) -> None:
        """Input, as fast as the processes take it."""
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self._master, view) :]
            except BlockingIOError:
                await self._ready(self._loop.add_writer, self._loop.remove_writer)

    def close_slave(self) -> None:
        """No process of the session is left: `read` ends after what they said last."""
        if self.slave >= 0:
            os.close(self.slave)
            self.slave = -1

    def close(self) -> None:
        self.close_slave()
        if self._master >= 0:
            os.close(self._master)
            self._master = -1

    async def _ready(self, watch: Callable[..., object], unwatch: Callable[[int], object]) -> None:
        master = self._master
        ready = self._loop.create_future()
        watch(master, _resolve, ready)
        try:
            await ready
        finally:
            unwatch(master)

    def _make_plain(self) -> None:
        modes = termios.tcgetattr(self.slave)
        modes[_OUTPUT_FLAGS] &= ~termios.OPOST
        modes[_LOCAL_FLAGS] &= ~termios.ECHO
        termios.tcsetattr(self.slave, termios.TCSANOW, modes)


def _resolve(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)
