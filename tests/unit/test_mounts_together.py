"""Mounts of several blobs: whoever gives up waiting for them leaves none open."""

import asyncio
import os

import pytest

from jobs.sandbox.mounts.together import mounted
from tests.support.waiting import eventually


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


class Broker:
    """`early` is there at once, `late` once it is no longer waited for, `gone` never."""

    def __init__(self) -> None:
        self.opened: list[int] = []

    async def mount(self, blob: str) -> int:
        if blob == "gone":
            raise FileNotFoundError(blob)
        if blob == "late":
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                await asyncio.sleep(0)
        self.opened.append(os.open(os.devnull, os.O_RDONLY))
        return self.opened[-1]


async def _take(broker: Broker, *blobs: str) -> None:
    async with mounted(broker.mount, blobs) as mounts:
        assert mounts == broker.opened
        assert all(map(_is_open, mounts))


async def test_they_are_open_as_long_as_they_are_needed() -> None:
    broker = Broker()
    await _take(broker, "early", "early")
    assert len(broker.opened) == 2
    assert not any(map(_is_open, broker.opened))


async def test_without_one_there_is_none() -> None:
    broker = Broker()
    with pytest.raises(FileNotFoundError):
        await _take(broker, "early", "gone", "early")
    assert len(broker.opened) == 2
    assert not any(map(_is_open, broker.opened))


async def test_given_up_none_stays_open() -> None:
    broker = Broker()
    taking = asyncio.create_task(_take(broker, "early", "late", "early"))
    await eventually(lambda: len(broker.opened) == 2)
    taking.cancel()
    await asyncio.wait([taking])
    await eventually(lambda: len(broker.opened) == 3)
    await eventually(lambda: not any(map(_is_open, broker.opened)))
