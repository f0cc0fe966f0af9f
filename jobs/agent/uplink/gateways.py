"""The gateways a node knows: calls that any of them may answer."""

import asyncio
import contextlib
import itertools
from collections.abc import Sequence
from typing import Final, TypeVar

import msgspec

from jobs.agent.ports import Gateway
from jobs.agent.uplink.transport import GatewayUnreachable
from manta.core.limits import LEASE_S

Reply = TypeVar("Reply", bound=msgspec.Struct)
ANSWER_S: Final = 5.0
"""A gateway that has nothing to wait for answers within this time."""
_BACKOFF_S: Final = (0.05, 0.1, 0.2, 0.4, 0.8, 1.0)


class Gateways:
    """Calls that any gateway may answer: the one that answered last is asked first."""

    def __init__(self, gateways: Sequence[Gateway]) -> None:
        self.all = tuple(gateways)
        self._order = list(gateways)

    async def call(self, name: str, message: msgspec.Struct, kind: type[Reply]) -> Reply:
        """The reply of the first that answers; GatewayUnreachable when none did within the time of a lease."""
        loop = asyncio.get_running_loop()
        give_up_s = loop.time() + LEASE_S
        for turn in itertools.count():
            for gateway in list(self._order):
                with contextlib.suppress(GatewayUnreachable):
                    reply = await gateway.call(name, message, kind, ANSWER_S)
                    self._prefer(gateway)
                    return reply
            if loop.time() > give_up_s:
                break
            await asyncio.sleep(backoff_s(turn))
        raise GatewayUnreachable("No gateway answers this node: its tasks cannot go on.")

    def _prefer(self, gateway: Gateway) -> None:
        if self._order[0] is not gateway:
            self._order.remove(gateway)
            self._order.insert(0, gateway)


def backoff_s(turn: int) -> float:
    return _BACKOFF_S[min(turn, len(_BACKOFF_S) - 1)]
