"""How a session passes bytes on: what its shell says without end leaves the node's other work its turn (S5)."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from jobs.agent.login.session import Patience, Session
from manta.core.clock import SystemClock
from tests.support.waiting import turns_of_others

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
    talker = cast(Any, _Talker())
    session = Session(cast(Any, SimpleNamespace()), talker, talker, talker, SystemClock(), Patience())
    async with turns_of_others() as turns:
        await session._to_client()
    assert talker.sent == _PIECES
    assert turns() >= _PIECES // 2
