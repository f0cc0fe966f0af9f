"""Errands: work that goes on beside who began it. An event loop holds its tasks but weakly, so that somebody has to."""

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

Result = TypeVar("Result")


def spawn(errands: "set[asyncio.Task[Result]]", work: Coroutine[Any, Any, Result]) -> "asyncio.Task[Result]":
    """Start it; it is one of `errands` until it ends."""
    errand = asyncio.get_running_loop().create_task(work)
    errands.add(errand)
    errand.add_done_callback(errands.discard)
    return errand


async def give_up(tasks: "Iterable[asyncio.Task[Any]]") -> None:
    """Cancel them, and return once they have ended, however they did."""
    given_up = list(tasks)
    for task in given_up:
        task.cancel()
    if given_up:
        await asyncio.gather(*given_up, return_exceptions=True)
