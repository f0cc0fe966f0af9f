"""Whatever the pace of sender and receiver, a raw body comes in order, and what must be kept is not overwritten."""

import asyncio
import os
from collections import deque
from typing import cast

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from storage_nodes.server import raw_body
from storage_nodes.server.raw_body import RawBody

BLOCK = 16
PATTERN = os.urandom(64 * BLOCK)


class FakeTransport:
    def __init__(self) -> None:
        self.reading = True

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True


@given(
    size=st.integers(1, len(PATTERN)),
    blocks=st.integers(2, 6),
    kept_blocks=st.integers(1, 5),
    early=st.integers(0, BLOCK),
    steps=st.lists(st.integers(0, 3 * BLOCK), min_size=1, max_size=50),
)
@example(size=33, blocks=2, kept_blocks=1, early=16, steps=[0, 1, 0])  # a whole block, then a byte from a slow sender
@settings(deadline=None)
def test_a_raw_body_comes_in_order_and_is_kept(
    size: int, blocks: int, kept_blocks: int, early: int, steps: list[int]
) -> None:
    kept = min(kept_blocks, blocks - 1) * BLOCK
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(raw_body, "BLOCK_BYTES", BLOCK)
        patch.setattr(raw_body, "BODY_GATHER_S", 0)
        asyncio.run(_run(PATTERN[:size], bytearray(blocks * BLOCK), kept, early, steps))


async def _run(data: bytes, memory: bytearray, kept: int, early: int, steps: list[int]) -> None:
    """Each step: that many bytes arrive (none: a piece is asked for), as far as the transport is being read."""
    transport = FakeTransport()
    body = RawBody(cast(asyncio.Transport, transport), asyncio.Protocol(), len(data), memoryview(memory), kept)
    body.feed(data[:early])
    sent = min(early, len(data))
    got = bytearray()
    held: deque[memoryview] = deque()

    async def take() -> None:
        piece = await body.next_block()
        assert 0 < len(piece) <= BLOCK
        got.extend(piece)
        held.append(piece)
        while sum(map(len, held)) - len(held[0]) >= kept:
            held.popleft()

    def arrive(count: int) -> int:
        taken = 0
        while taken < count and transport.reading:
            place = body.get_buffer(-1)
            assert len(place) > 0
            part = data[sent + taken : sent + taken + min(count - taken, len(place))]
            place[: len(part)] = part
            taken += len(part)
            body.buffer_updated(len(part))
        return taken

    for step in (*steps, *([BLOCK, 0] * (2 * len(data)))):
        if step:
            sent += arrive(min(step, len(data) - sent))
        elif sent > len(got):
            await take()
        last = b"".join(held)[-kept:]
        assert last == data[len(got) - len(last) : len(got)]
    assert bytes(got) == data
    assert body.exhausted
    assert body.complete
    assert not transport.reading
    assert len(await body.next_block()) == 0
