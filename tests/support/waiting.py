"""Waiting for what will come, and not for ever."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from manta.core.errands import give_up

_PAUSE_S = 0.01


def await_condition(condition: Callable[[], bool], what: str, timeout_s: float = 30.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"waited {timeout_s} s for: {what}"
        time.sleep(_PAUSE_S)


async def eventually(condition: Callable[[], object], timeout_s: float = 30.0) -> None:
    """The same on the event loop."""
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(_PAUSE_S)


@asynccontextmanager
async def turns_of_others() -> AsyncIterator[Callable[[], int]]:
    """How often another task of the event loop has had its turn while the block runs."""
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count_turns())
    try:
        yield lambda: turns
    finally:
        await give_up([counting])
