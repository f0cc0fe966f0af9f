"""The threads that do a node's blocking file work, so that its event loop never waits for a disk."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Result = TypeVar("Result")


class Workers:
    """A few threads. What was begun in one runs to its end, whoever stopped waiting for it."""

    def __init__(self, threads: int) -> None:
        self._pool = ThreadPoolExecutor(threads, "manta-disk")

    async def run(self, action: Callable[[], Result]) -> Result:
        """The action's result. If the caller is cancelled the action is still waited for: it owns files."""
        future = asyncio.get_running_loop().run_in_executor(self._pool, action)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            await asyncio.wait([future])
            if not future.cancelled():
                future.exception()
            raise

    def close(self) -> None:
        self._pool.shutdown(wait=True)
