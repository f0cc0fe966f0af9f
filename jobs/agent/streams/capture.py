"""A task's stdout: hashed as it comes, kept in memory while small, streamed into the volume when it grows."""

import asyncio
import contextlib
import fcntl
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from jobs.agent.outcome import unforeseen
from jobs.agent.output_limit import OutputMeter
from jobs.agent.ports import LocalStore
from jobs.agent.streams.pipes import Ends, OutPipe, readable
from manta.core.checksums import Algorithm, new, new_md5
from manta.core.errors import MantaError
from manta.core.limits import HASH_INLINE_BYTES, MIB, SMALL_BLOB_BYTES
from storage_nodes.api import BlobWriter

_WIDE_PIPE_BYTES: Final = MIB


@dataclass(frozen=True, slots=True)
class Captured:
    """The whole of a stdout. `data` is None when it was too large for memory: it lies in the volume by then."""

    size: int
    md5: bytes
    crc64nvme: bytes
    data: bytes | None


class Stdout(OutPipe):
    """`on_trouble` is called when the task's outputs exceed their limit or this one cannot be stored: end it then."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        store: LocalStore,
        blob_id: str,
        on_trouble: Callable[[], None],
        meter: OutputMeter,
        shared: Ends | None = None,
    ) -> None:
        super().__init__(loop, shared)
        self._store = store
        self._blob_id = blob_id
        self._on_trouble = on_trouble
        self._meter = meter
        self._kept: list[bytes] = []
        self._size = 0
        self._md5 = new_md5()
        self._crc = new(Algorithm.CRC64NVME)
        self._ended = asyncio.Event()
        self._rest = 0
        """Bytes to read once it has ended: as many as lay in the pipe then."""
        self._spill: asyncio.Task[None] | None = None
        self.failure: MantaError | None = None

    def take(self, data: bytes) -> None:
        self._kept.append(data)
        self._count(len(data))
        if self._size > SMALL_BLOB_BYTES and self._spill is None:
            self._unwatch()
            self._spill = self._loop.create_task(self._stream())

    async def end(self) -> None:
        """Every writer is dead, or waits: take what is left in the pipe, and let go of it. See `drain` of one that was
        to wait."""
        self.drain()
        if self._spill is not None:
            self._rest = self._left()
            self._ended.set()
            await self._spill
        self.close()

    async def finish(self) -> Captured:
        """What was written, once every writer is dead. Raises what kept it from being stored."""
        await self.end()
        if self._spill is not None:
            if self.failure is not None:
                raise self.failure
            return Captured(self._size, self._md5.digest(), self._crc.digest(), None)
        data = self._kept[0] if len(self._kept) == 1 else b"".join(self._kept)
        self._hash(data)
        return Captured(len(data), self._md5.digest(), self._crc.digest(), data)

    async def discard(self) -> None:
        """Forget it, whatever came; a half-written blob is removed."""
        if self._spill is not None and not self._spill.done():
            self._spill.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._spill
        self.close()

    def _read(self) -> bytes:
        return b"" if self._spill is not None else super()._read()

    async def _stream(self) -> None:
        with contextlib.suppress(OSError):
            fcntl.fcntl(self._read_fd, fcntl.F_SETPIPE_SZ, _WIDE_PIPE_BYTES)
        writer: BlobWriter | None = None
        done = False
        try:
            writer = await self._store.open_put(self._blob_id, None)
            await self._move_all(writer)
            if self._meter.exceeded is None:
                await writer.commit()
                done = True
        except MantaError as error:
            self.failure = error
            self._on_trouble()
        except Exception as error:  # nobody reads the pipe any more: the task would wait until its timeout
            self.failure = unforeseen(error)
            self._on_trouble()
        finally:
            if writer is not None and not done:
                await writer.abort()

    async def _move_all(self, writer: BlobWriter) -> None:
        head, self._kept = b"".join(self._kept), []
        await self._move(writer, head)
        while self._meter.exceeded is None:
            data = self._next()
            if data is None:
                await readable(self._loop, self._read_fd, self._ended)
            elif data:
                self._count(len(data))
                await self._move(writer, data)
            else:
                return

    def _next(self) -> bytes | None:
        """Bytes; b"" at the end; None when there are none yet."""
        ended = self._ended.is_set()
        try:
            data = os.read(self._read_fd, min(_WIDE_PIPE_BYTES, self._rest) if ended else _WIDE_PIPE_BYTES)
        except BlockingIOError:
            return b"" if ended else None
        self._rest -= len(data)
        return data

    async def _move(self, writer: BlobWriter, data: bytes) -> None:
        if len(data) <= HASH_INLINE_BYTES:
            self._hash(data)
            await writer.write(data)
        else:
            await asyncio.gather(asyncio.to_thread(self._hash, data), writer.write(data))

    def _hash(self, data: bytes) -> None:
        self._md5.update(data)
        self._crc.update(data)

    def _count(self, size: int) -> None:
        self._size += size
        if not self._meter.take(size):
            self._on_trouble()
