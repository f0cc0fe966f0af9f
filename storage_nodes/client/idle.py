"""Connections between two calls."""

import asyncio
from collections import deque

from manta.core.limits import KEEPALIVE_S
from storage_nodes.client.connection import Connection


class IdleConnections:
    """To one place; the one that was used last is used next."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._kept: deque[tuple[float, Connection]] = deque()
        """Since when, by the event loop's clock, and which."""

    def take(self) -> Connection | None:
        """One that can be used again; those that cannot are closed."""
        while self._kept:
            since_s, connection = self._kept.pop()
            if not self._is_old(since_s) and connection.is_quiet():
                return connection
            connection.close()
        return None

    def keep(self, connection: Connection) -> None:
        """After a call that ended well; closed if the reply was its last. Those that nobody needed for long go now."""
        while self._kept and self._is_old(self._kept[0][0]):
            self._kept.popleft()[1].close()
        if connection.reusable:
            self._kept.append((self._loop.time(), connection))
        else:
            connection.close()

    def _is_old(self, since_s: float) -> bool:
        """Whether the other side is about to close it, perhaps just when the next call is on its way."""
        return self._loop.time() - since_s > KEEPALIVE_S / 2

    def close(self) -> None:
        while self._kept:
            self._kept.pop()[1].close()
