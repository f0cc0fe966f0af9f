"""Something asynchronous in a thread with a loop of its own: for clients that block, such as boto3."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import TypeVar

Running = TypeVar("Running")
_START_TIMEOUT_S = 30.0
_END_TIMEOUT_S = 90.0


@contextmanager
def in_thread(opened: Callable[[], AbstractAsyncContextManager[Running]]) -> Iterator[Running]:
    """What it opens, until the block ends. What fails in the thread is raised here."""
    started: list[tuple[Running, asyncio.AbstractEventLoop, asyncio.Event]] = []
    failures: list[BaseException] = []
    ready = threading.Event()

    async def run() -> None:
        async with opened() as running:
            stop = asyncio.Event()
            started.append((running, asyncio.get_running_loop(), stop))
            ready.set()
            await stop.wait()

    def body() -> None:
        try:
            asyncio.run(run())
        except BaseException as error:
            failures.append(error)
        finally:
            ready.set()

    thread = threading.Thread(target=body)
    thread.start()
    ready.wait(_START_TIMEOUT_S)
    try:
        if started:
            yield started[0][0]
    finally:
        for _, loop, stop in started:
            loop.call_soon_threadsafe(stop.set)
        thread.join(_END_TIMEOUT_S)
    if failures:
        raise failures[0]
