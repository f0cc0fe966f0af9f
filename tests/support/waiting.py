"""Waiting for what will come, and not for ever."""

import asyncio
import time
from collections.abc import Callable

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
