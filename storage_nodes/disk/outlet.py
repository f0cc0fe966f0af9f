"""The bytes of one body on their way into an open file, one after another: past the page cache as long as that goes."""

import os
from collections.abc import Sequence

from manta.core.checksums import Buffer
from manta.core.limits import MIB
from storage_nodes.disk import durable

_WRITEBACK_BYTES = 8 * MIB


class Outlet:
    """Writes from offset `start` on. Blocking.

    Bodies of `direct_min` bytes and more pass by the page cache (O_DIRECT), as long as memory, offset and lengths are
    aligned; what is not, mostly the end, goes the usual way.
    """

    def __init__(self, descriptor: int, start: int, direct_min: int) -> None:
        self._descriptor = descriptor
        self._start = self._flushed = self._position = start
        self._direct_min = direct_min
        self._direct = False

    def expect(self, size: int) -> None:
        """So many bytes will come: take them of the disk now, so that ENOSPC comes now too."""
        durable.preallocate(self._descriptor, self._start, size)
        self._direct = size >= self._direct_min and durable.set_direct(self._descriptor, direct=True)

    @property
    def written(self) -> int:
        return self._position - self._start

    def write(self, chunks: Sequence[Buffer]) -> None:
        if self._direct:
            if durable.write_direct(self._descriptor, chunks, self._position):
                self._position += sum(len(chunk) for chunk in chunks)
                return
            self._direct = durable.set_direct(self._descriptor, direct=False)
            self._flushed = self._position
        self._position += write_all(self._descriptor, chunks, self._position)
        if self._position - self._flushed >= _WRITEBACK_BYTES:
            durable.start_writeback(self._descriptor, self._flushed, self._position - self._flushed)
            self._flushed = self._position


def write_all(descriptor: int, chunks: Sequence[Buffer], offset: int) -> int:
    """Write the chunks one after another at `offset`; how many bytes they were."""
    total = sum(len(chunk) for chunk in chunks)
    done = os.pwritev(descriptor, chunks, offset) if chunks else 0
    if done < total:
        rest = memoryview(b"".join(chunks))
        while done < total:
            done += os.pwrite(descriptor, rest[done:], offset + done)
    return total
