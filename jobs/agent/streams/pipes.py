"""Pipes between the agent and a task: read without threads, and, for tasks that end at once, without the event loop."""

import array
import asyncio
import fcntl
import os
import termios
from abc import ABC, abstractmethod
from typing import Final

from manta.core.errands import give_up

WATCH_AFTER_S: Final = 0.005
"""A task that ends sooner costs no registration with the event loop: its pipe is read once, after the end."""
READ_BYTES: Final = 256 * 1024


class Ends:
    """A pipe's read end, which does not block, and its write end."""

    def __init__(self) -> None:
        self.read_fd, self.write_fd = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self.read_fd, False)

    def close(self) -> None:
        os.close(self.read_fd)
        os.close(self.write_fd)


class OutPipe(ABC):
    """A pipe that a task writes and the agent reads. Subclasses say what becomes of the bytes.

    With `shared` it reads that pipe for a time: whoever writes there is asked to pause before the next one reads it.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, shared: Ends | None = None) -> None:
        self._loop = loop
        ends = shared or Ends()
        self._is_own = shared is None
        self._read_fd, self.write_fd = ends.read_fd, ends.write_fd
        self._watched = False
        self._timer: asyncio.TimerHandle | None = loop.call_later(WATCH_AFTER_S, self._watch)

    @abstractmethod
    def take(self, data: bytes) -> None:
        """The next bytes that the task wrote."""

    def drain(self) -> None:
        """Every process that wrote is dead, or waits: take what is left in the pipe. One that was to wait and writes on
        might be read for ever, so what comes meanwhile stays there."""
        self._unwatch()
        left = self._left()
        while left > 0 and (data := self._read()):
            self.take(data)
            left -= len(data)

    def close(self) -> None:
        self._unwatch()
        if self._read_fd >= 0 and self._is_own:
            os.close(self._read_fd)
            os.close(self.write_fd)
        self._read_fd = self.write_fd = -1

    def _watch(self) -> None:
        self._timer = None
        self._watched = True
        self._loop.add_reader(self._read_fd, self._on_readable)

    def _unwatch(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._watched:
            self._loop.remove_reader(self._read_fd)
            self._watched = False

    def _on_readable(self) -> None:
        """Nothing there is no end, since the other end is open here too: a task may read its own pipe."""
        if data := self._read():
            self.take(data)

    def _left(self) -> int:
        if self._read_fd < 0:
            return 0
        left = array.array("i", [0])
        fcntl.ioctl(self._read_fd, termios.FIONREAD, left)
        return left[0]

    def _read(self) -> bytes:
        """What is there now; b"" when that is nothing."""
        if self._read_fd < 0:
            return b""
        try:
            return os.read(self._read_fd, READ_BYTES)
        except BlockingIOError:
            return b""


class TailPipe(OutPipe):
    """Keeps the last `limit` bytes of what a task wrote."""

    def __init__(self, loop: asyncio.AbstractEventLoop, limit: int, shared: Ends | None = None) -> None:
        super().__init__(loop, shared)
        self._limit = limit
        self._kept = bytearray()
        self.said = 0
        """All bytes so far, kept or not."""

    def take(self, data: bytes) -> None:
        self.said += len(data)
        self._kept += data
        if len(self._kept) > 2 * self._limit:
            del self._kept[: -self._limit]

    def finish(self) -> bytes:
        """The tail, once every writer is dead."""
        self.drain()
        self.close()
        return self.tail()

    def tail(self) -> bytes:
        """What is kept so far: a running task's stderr can be watched."""
        return bytes(self._kept[-self._limit :])


class InPipe:
    """A pipe that the agent writes and a task reads, at the pace of the task."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.read_fd, self._write_fd = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._write_fd, False)

    async def write(self, data: bytes | memoryview) -> None:
        """Returns once the pipe has taken all. A task that reads no more keeps this waiting until it ends."""
        view = memoryview(data)
        written = 0
        while written < len(view):
            try:
                written += os.write(self._write_fd, view[written:])
            except BlockingIOError:
                await self._writable()

    def end(self) -> None:
        """No more input: the task sees the end of its stdin."""
        if self._write_fd >= 0:
            self._loop.remove_writer(self._write_fd)
            os.close(self._write_fd)
            self._write_fd = -1

    def close(self) -> None:
        self.end()
        if self.read_fd >= 0:
            os.close(self.read_fd)
            self.read_fd = -1

    async def _writable(self) -> None:
        ready = self._loop.create_future()
        self._loop.add_writer(self._write_fd, _resolve, ready)
        try:
            await ready
        finally:
            if self._write_fd >= 0:
                self._loop.remove_writer(self._write_fd)


async def readable(loop: asyncio.AbstractEventLoop, descriptor: int, ended: asyncio.Event) -> None:
    """Until `descriptor` has bytes or its end, or `ended` is set."""
    ready = loop.create_future()
    loop.add_reader(descriptor, _resolve, ready)
    stop = loop.create_task(ended.wait())
    stop.add_done_callback(lambda _: _resolve(ready))
    try:
        await ready
    finally:
        loop.remove_reader(descriptor)
        await give_up([stop])


def _resolve(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)
