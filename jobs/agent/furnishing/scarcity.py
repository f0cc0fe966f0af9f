"""What the caches of a node give up while its disk has little room left: objects come first (D6)."""

import asyncio
import contextlib
from pathlib import Path
from typing import Protocol

from manta.core.limits import CACHE_LOOK_S, CACHE_YIELD_FRACTION
from storage_nodes.disk import space
from storage_nodes.disk.space import Space


class Cache(Protocol):
    async def give_up(self, size_bytes: int) -> int:
        """Remove what nobody uses, the longest unused first, until it is so many bytes. How many it was."""
        ...


def scarce_bytes(disk: Space) -> int:
    """How much room is missing above the reserve. Pure."""
    return max(0, disk.reserve_bytes + int(disk.total_bytes * CACHE_YIELD_FRACTION) - disk.free_bytes)


async def yield_when_scarce(folder: Path, *caches: Cache) -> None:
    """Never returns. `folder` lies on the disk of them all."""
    while True:
        await asyncio.sleep(CACHE_LOOK_S)
        with contextlib.suppress(OSError):
            missing = scarce_bytes(space.measure(str(folder)))
            for cache in caches:
                if missing > 0:
                    missing -= await cache.give_up(missing)
