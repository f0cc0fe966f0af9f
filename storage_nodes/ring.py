"""Memory that processes of one machine share: a large body reaches its node's disk without being copied to the node.

The gateway takes a body off the client's socket into a ring, hashes it there, and tells each node of the machine where
in the ring the next bytes lie; the node writes them to its disk from there and says so. The memory cannot shrink, so
that nobody who maps it can be hurt by whom it came from.
"""

import ctypes
import fcntl
import mmap
import os
import weakref

from manta.core.checksums import Buffer
from manta.core.errors import InvalidArgument
from manta.core.limits import RING_BYTES, RINGS_MAX

_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


class Ring(mmap.mmap):
    """RING_BYTES of shared memory, aligned to pages. `descriptor` is what another process maps."""

    descriptor: int = -1
    spoiled: bool = False
    """Somebody may still be reading what lies here: not to be used for another body."""


def make() -> Ring:
    descriptor = os.memfd_create("manta-ring", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(descriptor, RING_BYTES)
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
        ring = Ring(descriptor, RING_BYTES)
    except BaseException:
        os.close(descriptor)
        raise
    ring.descriptor = descriptor
    weakref.finalize(ring, os.close, descriptor)
    return ring


def attach(descriptor: int) -> memoryview:
    """Another process's ring, to be read; closes the descriptor. InvalidArgument unless it is one."""
    try:
        if (
            os.fstat(descriptor).st_size != RING_BYTES
            or not fcntl.fcntl(descriptor, fcntl.F_GET_SEALS) & fcntl.F_SEAL_SHRINK
        ):
            raise InvalidArgument("What was handed over is not shared memory of the agreed size.")
        return memoryview(mmap.mmap(descriptor, RING_BYTES, prot=mmap.PROT_READ))
    except OSError:
        raise InvalidArgument("What was handed over is not shared memory.") from None
    finally:
        os.close(descriptor)


def locate(data: Buffer) -> tuple[Ring, int] | None:
    """The ring that `data` is a part of, and where in it; None for any other memory."""
    if not isinstance(data, memoryview) or not isinstance(data.obj, Ring):
        return None
    return data.obj, _address(data) - _address(data.obj)


def _address(memory: memoryview | Ring) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(memory))


class Rings:
    """The rings of a process: made when needed, used again, never more than `limit`."""

    def __init__(self, limit: int = RINGS_MAX) -> None:
        self._limit = limit
        self._idle: list[Ring] = []
        self._living: weakref.WeakSet[Ring] = weakref.WeakSet()

    def take(self) -> Ring | None:
        """None when all are in use: the body goes another way."""
        if self._idle:
            return self._idle.pop()
        if len(self._living) >= self._limit:
            return None
        ring = make()
        self._living.add(ring)
        return ring

    def give_back(self, ring: Ring) -> None:
        """Nobody writes to it any more. (One that is not given back is simply forgotten.)"""
        if not ring.spoiled:
            self._idle.append(ring)


rings = Rings()
