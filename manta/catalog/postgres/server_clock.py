"""Time as the PostgreSQL server has it: what several gateways must agree on is not left to the clock of one of them."""

import asyncpg

from manta.core.clock import Clock


class ServerClock:
    """Read from the server with each new connection, carried on by this machine's monotonic clock in between."""

    def __init__(self, inner: Clock) -> None:
        self._inner = inner
        self._ahead_s: float | None = None
        """The server's wall clock less our monotonic one."""

    async def read(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        before_s = self._inner.monotonic_s()
        wall_s = await connection.fetchval("SELECT extract(epoch FROM clock_timestamp())::float8")
        self._ahead_s = float(wall_s) - (before_s + self._inner.monotonic_s()) / 2

    def wall_s(self) -> float:
        return self._inner.wall_s() if self._ahead_s is None else self._inner.monotonic_s() + self._ahead_s

    def monotonic_s(self) -> float:
        return self._inner.monotonic_s()
