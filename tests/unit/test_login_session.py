"""How a session passes bytes on: what its shell says without end leaves the node's other work its turn (S5)."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from jobs.agent.login.session import Patience, Session
from manta.core.clock import SystemClock
from manta.core.errands import give_up

_PIECES = 1000


class _Talker:
    """A terminal where there is always more to be read, and a client that always takes it."""

    def __init__(self) -> None:
        self.sent = 0

    async def read(self) -> bytes:
        return b"y\n" if self.sent < _PIECES else b""

    async def write(self, _frame: bytes) -> None:
        self.sent += 1


@pytest.mark.invariant("S5")
async def test_s5_endless_output_leaves_others_their_turn() -> None:
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count_turns())
    talker = cast(Any, _Talker())
    session = Session(cast(Any, SimpleNamespace()), talker, talker, talker, SystemClock(), Patience())
    await session._to_client()
    await give_up([counting])
    assert talker.sent == _PIECES
    assert turns >= _PIECES // 2
