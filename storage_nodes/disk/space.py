"""How much of a volume may be filled: the reserve that keeps deletes and reads going on a full disk (D6)."""

import os
from dataclasses import dataclass

from manta.core.errors import InsufficientStorage
from manta.core.limits import RESERVE_FRACTION, RESERVE_MIN_BYTES


@dataclass(frozen=True, slots=True)
class Space:
    total_bytes: int
    free_bytes: int

    @property
    def reserve_bytes(self) -> int:
        return reserve_bytes(self.total_bytes)


def reserve_bytes(total_bytes: int) -> int:
    """What stays free: a fraction of the volume, at least a fixed size, never more than half of it."""
    return min(max(int(total_bytes * RESERVE_FRACTION), RESERVE_MIN_BYTES), total_bytes // 2)


def measure(path: str | int) -> Space:
    found = os.statvfs(path)
    return Space(found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize)


def share(path: str | int, fraction: float, most: int) -> int:
    """That fraction of the whole volume, but never more than `most`."""
    return min(most, int(measure(path).total_bytes * fraction))


def require(path: str | int, size_bytes: int) -> None:
    """InsufficientStorage unless `size_bytes` more fit above the reserve. Measured anew: it heals by itself."""
    space = measure(path)
    if space.free_bytes - size_bytes < space.reserve_bytes:
        raise InsufficientStorage
