"""A session's pseudo terminal from its master's side: made in the zone, read and written at the pace of both ends."""

import asyncio
import errno
import fcntl
import logging
import os
import socket
import stat
import struct
import termios
from collections.abc import Callable
from typing import Final

_LOG = logging.getLogger("manta.agent")
_READ_BYTES: Final = 16 * 1024
_OUTPUT_FLAGS, _LOCAL_FLAGS = 1, 3
_PTMX: Final = os.makedev(5, 2)
_TIOCSPTLCK, _TIOCGPTN, _TIOCGPTPEER = 0x40045431, 0x80045430, 0x5441
_FOLDERS_MAX: Final = 4
END_OF_INPUT: Final = b"\x04"


class Terminal:
    """Lies in a devpts that its task alone has. `plain`: output stays as it is, input is not echoed.

    The task's first process offers that folder by `guest`, a socket that it is given as stdin, and awaits a byte. The
    terminal is opened here, so that no one in the zone has this side's file and could make reading it block.
    """

    def __init__(self, rows: int, columns: int, *, plain: bool = False) -> None:
        self._loop = asyncio.get_running_loop()
        self._plain = plain
        self._size = rows, columns
        self._master = self._slave = -1
        self._settled = asyncio.Event()
        """It is there, or never will be."""
        self._ours, theirs = socket.socketpair()
        self._ours.setblocking(False)
        self.guest = theirs.detach()
        self._loop.add_reader(self._ours.fileno(), self._on_offer)

    def resize(self, rows: int, columns: int) -> None:
        """The kernel tells the foreground processes (SIGWINCH)."""
        self._size = rows, columns
        if self._master >= 0:
            fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    async def read(self) -> bytes:
        """The next output; b"" once nobody has the slave open and all is read."""
        await self._settled.wait()
        while self._master >= 0:
            try:
                return os.read(self._master, _READ_BYTES)
            except BlockingIOError:
                await self._ready(self._loop.add_reader, self._loop.remove_reader)
            except OSError:  # EIO: the last slave was closed
                break
        return b""

    async def write(self, data: bytes) -> None:
        """Input, as fast as the processes take it."""
        await self._settled.wait()
        view = memoryview(data)
        while view and self._master >= 0:
            try:
                view = view[os.write(self._master, view) :]
            except BlockingIOError:
                await self._ready(self._loop.add_writer, self._loop.remove_writer)

    def close_slave(self) -> None:
        """No process of the session is left: `read` ends after what they said last."""
        self._end_offer()
        for descriptor in (self._slave, self.guest):
            if descriptor >= 0:
                os.close(descriptor)
        self._slave = self.guest = -1
        self._settled.set()

    def close(self) -> None:
        self.close_slave()
        if self._master >= 0:
            os.close(self._master)
            self._master = -1

    # -- its beginning

    def _on_offer(self) -> None:
        try:
            _, folders, _, _ = socket.recv_fds(self._ours, 1, _FOLDERS_MAX, socket.MSG_CMSG_CLOEXEC)
            try:
                self._open(folders[0] if folders else -1)
            finally:
                for folder in folders:
                    os.close(folder)
            self._ours.send(b"\0")
        except OSError as error:
            _LOG.warning("A session gets no terminal: %s", error)
        self._end_offer()
        self._settled.set()

    def _end_offer(self) -> None:
        """Whoever still awaits a byte there learns that none will come."""
        if self._ours.fileno() >= 0:
            self._loop.remove_reader(self._ours.fileno())
            self._ours.close()

    def _open(self, folder: int) -> None:
        """Its first terminal. OSError, also for a folder that is no devpts: a zone may have been taken over."""
        found = os.open("ptmx", os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
        try:
            state = os.fstat(found)
            if not stat.S_ISCHR(state.st_mode) or state.st_rdev != _PTMX:
                raise OSError(errno.ENXIO, "what the zone offers has no terminals")
            flags = os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC
            self._master = os.open(f"/proc/self/fd/{found}", flags)
        finally:
            os.close(found)
        if fcntl.ioctl(self._master, _TIOCGPTN, bytes(4)) != bytes(4):
            raise OSError(errno.EBUSY, "the zone's first terminal is taken")
        fcntl.ioctl(self._master, _TIOCSPTLCK, bytes(4))
        self._slave = fcntl.ioctl(self._master, _TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
        self.resize(*self._size)
        if self._plain:
            self._make_plain()

    async def _ready(self, watch: Callable[..., object], unwatch: Callable[[int], object]) -> None:
        master = self._master
        ready = self._loop.create_future()
        watch(master, _resolve, ready)
        try:
            await ready
        finally:
            unwatch(master)

    def _make_plain(self) -> None:
        modes = termios.tcgetattr(self._slave)
        modes[_OUTPUT_FLAGS] &= ~termios.OPOST
        modes[_LOCAL_FLAGS] &= ~termios.ECHO
        termios.tcsetattr(self._slave, termios.TCSANOW, modes)


def _resolve(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)
