"""The pipe on which a child says that it is ready, and whose end says that it runs no tasks any more or died."""

import asyncio
import os


class Line:
    """Our end of it; owns `reader`. A gateway, and a node without lanes, close theirs as soon as they are ready."""

    def __init__(self, reader: int) -> None:
        self._reader = reader
        self._loop = asyncio.get_running_loop()
        self._heard: asyncio.Future[bool] = self._loop.create_future()
        self._ended = asyncio.Event()
        self._loop.add_reader(reader, self._readable)

    async def is_ready(self, timeout_s: float) -> bool:
        """Whether the child says so within that time."""
        await asyncio.wait({self._heard}, timeout=timeout_s)
        return self._heard.done() and self._heard.result()

    async def has_ended(self, timeout_s: float) -> bool:
        """Whether the child ends it within that time."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._ended.wait()
        except TimeoutError:
            return False
        return True

    def close(self) -> None:
        if not self._ended.is_set():
            self._ended.set()
            self._loop.remove_reader(self._reader)
            os.close(self._reader)

    def _readable(self) -> None:
        said = os.read(self._reader, 64)
        if not self._heard.done():
            self._heard.set_result(bool(said))
        if not said:
            self.close()
