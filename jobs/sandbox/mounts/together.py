"""Mounts of several blobs at a time: all of them or none."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence


@contextlib.asynccontextmanager
async def mounted(mount: Callable[[str], Awaitable[int]], blobs: Sequence[str]) -> AsyncIterator[list[int]]:
    """Their descriptors, closed at the end; the first error of `mount` if there is one."""
    found = await asyncio.gather(*map(mount, blobs), return_exceptions=True)
    descriptors = [one for one in found if not isinstance(one, BaseException)]
    try:
        for one in found:
            if isinstance(one, BaseException):
                raise one
        yield descriptors
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
