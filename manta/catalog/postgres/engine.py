"""The PostgreSQL engine: scripts over a pool of connections, run again when they lost against another transaction.

READ COMMITTED with row locks: a script locks what it decides on (SELECT … FOR UPDATE) or inserts with ON CONFLICT DO
NOTHING and looks again. The SQL stays in what YugabyteDB and CockroachDB share with PostgreSQL.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeVar, cast

import asyncpg

from manta.catalog.ops import Op, Script
from manta.catalog.postgres.schema import known, migrate, version
from manta.catalog.statements import left_behind, load
from manta.core.errors import InsufficientStorage, InternalError, InvalidArgument, MantaError, ServiceUnavailable
from manta.core.limits import (
    POSTGRES_CONNECTIONS,
    POSTGRES_LOCK_TIMEOUT_S,
    POSTGRES_RETRIES,
    POSTGRES_STATEMENT_TIMEOUT_S,
)

T = TypeVar("T")
Connection = Any
"""An asyncpg connection, or the pool's proxy of one."""

_SQL = load("manta.catalog.postgres")
_LOST = (asyncpg.SerializationError, asyncpg.DeadlockDetectedError)
_UNREACHABLE = (
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    OSError,
)
_REFUSED_BY_SCHEMA = (asyncpg.SyntaxOrAccessError, asyncpg.IntegrityConstraintViolationError)
_BUSY = (*_LOST, asyncpg.LockNotAvailableError, asyncpg.QueryCanceledError)
_BACKOFF_S = 0.01
_BACKOFF_MAX_S = 1.0


class OutcomeUnknown(ServiceUnavailable):
    """The connection broke during COMMIT: the change may have happened. Doing it again is safe, guessing is not."""


class Clash(InternalError):
    """A constraint of the schema refused a change."""


class PostgresEngine:
    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
        self._pool = pool

    @classmethod
    async def open(
        cls, url: str, now_ms: int, on_connection: Callable[[Connection], Awaitable[None]] | None = None
    ) -> "PostgresEngine":
        """ServiceUnavailable when no server answers there; the schema is brought up to date."""

        async def init(connection: Connection) -> None:
            await check_durable(connection)
            if on_connection is not None:
                await on_connection(connection)

        try:
            pool = await asyncpg.create_pool(
                url,
                min_size=1,
                max_size=POSTGRES_CONNECTIONS,
                init=init,
                reset=_keep,
                statement_cache_size=512,
                server_settings=_SETTINGS,
            )
        except (*_UNREACHABLE, asyncpg.PostgresError) as error:
            raise ServiceUnavailable(f"The catalog's PostgreSQL cannot be opened: {error}.") from error
        except ValueError as error:
            raise InvalidArgument(f"The catalog's URL is not valid: {error}.") from None
        try:
            async with pool.acquire() as connection:
                await migrate(connection, url.rpartition("@")[2], now_ms)
        except BaseException:
            await pool.close()
            raise
        return cls(pool)

    async def change(self, script: Callable[[], Script[T]]) -> T:
        return await self._retrying(lambda connection: _transaction(connection, script()))

    async def look(self, script: Callable[[], Script[T]]) -> T:
        return await self._retrying(lambda connection: run(connection, script()))

    async def _retrying(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        for attempt in range(POSTGRES_RETRIES):
            try:
                async with self._pool.acquire() as connection:
                    return await work(connection)
            except (*_LOST, *_UNREACHABLE) as error:
                if self._pool.is_closing() or attempt + 1 == POSTGRES_RETRIES:
                    raise translate(error) from error
            except asyncpg.PostgresError as error:
                raise await self._explain(error) from error
            await asyncio.sleep(min(_BACKOFF_S * 2**attempt, _BACKOFF_MAX_S) * random.uniform(0.5, 1.0))  # noqa: S311
        raise AssertionError("unreachable")

    async def _explain(self, error: asyncpg.PostgresError) -> MantaError:
        """As one of ours. What the schema refuses may come of an upgrade that has left this gateway behind."""
        if isinstance(error, _REFUSED_BY_SCHEMA):
            with suppress(asyncpg.PostgresError, *_UNREACHABLE):
                async with self._pool.acquire() as connection:
                    behind = left_behind(known(), await version(connection))
                if behind is not None:
                    return behind
        return translate(error)

    async def close(self) -> None:
        await self._pool.close()


_SETTINGS = {
    "application_name": "manta",
    "synchronous_commit": "on",
    "default_transaction_isolation": "read committed",
    "lock_timeout": str(int(POSTGRES_LOCK_TIMEOUT_S * 1000)),
    "statement_timeout": str(int(POSTGRES_STATEMENT_TIMEOUT_S * 1000)),
    "idle_in_transaction_session_timeout": str(int(POSTGRES_STATEMENT_TIMEOUT_S * 1000)),
}


async def check_durable(connection: Connection) -> None:
    """InvalidArgument where a commit would not wait for the disk: a pooler in between may drop what we set."""
    if await connection.fetchval("SHOW synchronous_commit") == "off":
        raise InvalidArgument(
            "The catalog's PostgreSQL answers before a commit is durable (synchronous_commit is off): set it to on for "
            "manta's role, and let no connection pooler drop that."
        )


async def _keep(_connection: Connection) -> None:
    """Nothing is left on a connection that a reset would have to clear, and a reset is one more round trip."""


async def _transaction(connection: Connection, script: Script[T]) -> T:
    try:
        await connection.execute("BEGIN")
        result = await run(connection, script)
        await _commit(connection)
    except BaseException:  # a caller that gives up may do so before the server has begun to commit
        with suppress(*_UNREACHABLE):
            await connection.execute("ROLLBACK")
        raise
    return result


async def _commit(connection: Connection) -> None:
    try:
        await connection.execute("COMMIT")
    except _UNREACHABLE as error:
        raise OutcomeUnknown("The catalog's connection broke while it committed; please try again.") from error


async def run(connection: Connection, script: Script[T]) -> T:
    """Await what the script yields; its result."""
    try:
        op = next(script)
        while True:
            if isinstance(op, Op):
                op = script.send(await connection.fetch(_SQL[op.name], *op.args))
            else:
                await _many(connection, _SQL[op.name], op.rows)
                op = script.send([])
    except StopIteration as stop:
        return cast(T, stop.value)


async def _many(connection: Connection, statement: str, rows: Any) -> None:
    if len(rows) == 1:
        await connection.fetch(statement, *rows[0])
    elif rows:
        await connection.executemany(statement, rows)


def translate(error: BaseException) -> MantaError:
    """PostgreSQL's error as one of ours."""
    if isinstance(error, asyncpg.DiskFullError):
        return InsufficientStorage("The catalog's database is full: free space on it; reads go on.")
    if isinstance(error, _BUSY):
        return ServiceUnavailable("The catalog is busy with the same thing; please try again.")
    if isinstance(error, (*_UNREACHABLE, asyncpg.TooManyConnectionsError)):
        return ServiceUnavailable("The catalog's database does not answer; please try again.")
    if isinstance(error, asyncpg.IntegrityConstraintViolationError):
        return Clash(f"The catalog refused a change: {error}.")
    return InternalError(f"The catalog failed: {error}.")
