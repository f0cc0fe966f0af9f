"""Mounts of several blobs at a time: all of them or none."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence


@contextlib.asynccontextmanager
async def mounted(mount: Callable[[str], Awaitable[int]], blobs: Sequence[str]) -> AsyncIterator[list[int]]:
    """Their descriptors, closed at the end; the first error of `mount` if there is one."""
    asked = [asyncio.ensure_future(mount(blob)) for blob in blobs]
    try:
        await asyncio.gather(*asked, return_exceptions=True)
        yield [one.result() for one in asked]
    finally:
        for one in asked:
            if one.done():
                close_mount(one)
            else:  # given up just now: it may yet be there
                one.add_done_callback(close_mount)


def close_mount(asked: "asyncio.Future[int]") -> None:
    """Of a question that was answered, if by a mount."""
    if not asked.cancelled() and asked.exception() is None:
        os.close(asked.result())
