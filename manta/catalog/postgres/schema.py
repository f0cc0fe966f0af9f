"""The PostgreSQL catalog's schema, and the migrations that bring a database up to date.

Several gateways may start at once: each claims a migration by inserting its row first, and whoever comes second waits
for that row and finds the work done.
"""

from functools import cache

import asyncpg

from manta.catalog.statements import Migration, migrations, pending

_LEDGER = """CREATE TABLE IF NOT EXISTS schema_migrations (
    number bigint PRIMARY KEY, name text NOT NULL, applied_ms bigint NOT NULL)"""
_MADE_MEANWHILE = (asyncpg.UniqueViolationError, asyncpg.DuplicateTableError, asyncpg.DuplicateObjectError)
"""Which of them depends on how far the other has come: a table, its type, or a row of PostgreSQL's own."""
_CLAIM = "INSERT INTO schema_migrations VALUES ($1, $2, $3) ON CONFLICT DO NOTHING RETURNING number"


@cache
def known() -> list[Migration]:
    return migrations("manta.catalog.postgres")


async def migrate(connection: "asyncpg.Connection[asyncpg.Record]", where: str, now_ms: int) -> None:
    """InvalidArgument when the schema is newer than this program."""
    await _make_ledger(connection)
    applied = {row[0] for row in await connection.fetch("SELECT number FROM schema_migrations")}
    for migration in pending(known(), applied, where):
        async with connection.transaction():
            if await connection.fetch(_CLAIM, migration.number, migration.name, now_ms):
                await connection.execute(migration.script)


async def version(connection: "asyncpg.Connection[asyncpg.Record]") -> int:
    """The newest migration applied."""
    return int(await connection.fetchval("SELECT coalesce(max(number), 0) FROM schema_migrations"))


async def _make_ledger(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    try:
        await connection.execute(_LEDGER)
    except _MADE_MEANWHILE:  # another gateway makes it right now
        await connection.execute(_LEDGER)
