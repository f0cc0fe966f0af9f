"""Work beside who began it: held while it goes on, forgotten when it has ended, however it did."""

import asyncio

import pytest

from manta.core.errands import spawn


@pytest.mark.parametrize("ends", ["well", "badly", "cancelled"])
async def test_an_errand_is_held_until_it_ends(ends: str) -> None:
    errands: set[asyncio.Task[None]] = set()
    going = asyncio.Event()

    async def work() -> None:
        await going.wait()
        if ends == "badly":
            raise ValueError(ends)

    errand = spawn(errands, work())
    await asyncio.sleep(0)
    assert errands == {errand}
    if ends == "cancelled":
        errand.cancel()
    going.set()
    (how,) = await asyncio.gather(errand, return_exceptions=True)
    await asyncio.sleep(0)
    assert errands == set()
    assert type(how) is {"well": type(None), "badly": ValueError, "cancelled": asyncio.CancelledError}[ends]
