"""The SQLite catalog's schema: what a fresh connection is set to, and the migrations that bring a file up to date.

Tables are added by a file of the next number in `migrations/` (0002_jobs.sql …), plain SQL, and the file of the same
name in `manta/catalog/postgres/migrations/`. A file that was released is never edited.
"""

from functools import cache
from pathlib import Path

import apsw

from manta.catalog.statements import Migration, migrations, pending

BUSY_TIMEOUT_MS = 10_000
"""During a replacement two gateways of one supervisor share the file for seconds."""

CHECKPOINT_PAGES = 4000
"""The log's length from which on it is copied into the database."""

CACHE_KIB = 32 * 1024
"""Of one connection; a gateway has two. Beyond it pages come from the kernel's cache: memory stays flat (J7)."""

_LEDGER = """CREATE TABLE IF NOT EXISTS schema_migrations (
    number INTEGER PRIMARY KEY, name TEXT NOT NULL, applied_ms INTEGER NOT NULL)"""
_SETTINGS = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
    "PRAGMA temp_store = MEMORY",
    f"PRAGMA cache_size = -{CACHE_KIB}",
    f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}",
    "PRAGMA journal_size_limit = 67108864",
)


@cache
def known() -> list[Migration]:
    return migrations("manta.catalog.sqlite")


def connect(path: Path, *, read_only: bool = False) -> apsw.Connection:
    """A connection that waits for locks and keeps every commit through a power cut."""
    connection = apsw.Connection(str(path), statementcachesize=512)
    connection.set_busy_timeout(BUSY_TIMEOUT_MS)
    # Else every statement with a join is prepared anew for each set of values: two thirds of the time of a lookup.
    connection.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)
    for setting in _SETTINGS:
        connection.execute(setting)
    if read_only:
        connection.execute("PRAGMA query_only = ON")
    return connection


def write_anew(connection: apsw.Connection) -> None:
    """Copy the whole log into the database, synced, and begin an empty one; not while another process uses them."""
    connection.set_busy_timeout(0)
    try:
        connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    except (apsw.BusyError, apsw.FullError):
        return
    finally:
        connection.set_busy_timeout(BUSY_TIMEOUT_MS)


def version(connection: apsw.Connection) -> int:
    """The newest migration applied; 0 for an empty file."""
    if not connection.table_exists(None, "schema_migrations"):
        return 0
    return max(_applied(connection), default=0)


def migrate(connection: apsw.Connection, where: str, now_ms: int) -> None:
    """Bring the schema up to date; InvalidArgument when it is newer than this program."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.execute(_LEDGER)
        for migration in pending(known(), _applied(connection), where):
            connection.execute(migration.script)
            connection.execute(
                "INSERT INTO schema_migrations VALUES (?, ?, ?)", (migration.number, migration.name, now_ms)
            )
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _applied(connection: apsw.Connection) -> set[int]:
    return {int(str(number)) for (number,) in connection.execute("SELECT number FROM schema_migrations")}
