"""Opening a catalog by its URL.

An opened catalog is one object. Its own methods are `store.Catalog`; the jobs part is its attribute `jobs`
(`job_store.JobStore`):

    MemoryCatalog(clock)        jobs made from its `state`
    RelationalCatalog(shared)   jobs made from its `shared`: scripts (manta/catalog/ops.py) over `shared.engine`,
                                the same for SQLite and PostgreSQL, their SQL in each engine's sql/jobs.sql,
                                their tables in each engine's migrations/0002_jobs.sql

Scripts of jobs change objects and blobs by statements of their own, which relational/job_statements.py spells out.
"""

from collections.abc import Callable
from pathlib import Path

from manta.catalog.memory import MemoryCatalog
from manta.catalog.postgres.catalog import PostgresCatalog
from manta.catalog.postgres.engine import PostgresEngine
from manta.catalog.postgres.server_clock import ServerClock
from manta.catalog.relational.catalog import RelationalCatalog
from manta.catalog.relational.shared import Shared
from manta.catalog.rules import now_ms
from manta.catalog.sqlite.engine import SqliteEngine
from manta.catalog.store import Catalog
from manta.core.clock import Clock
from manta.core.errors import InvalidArgument


async def open_catalog(
    url: str, clock: Clock, on_failed_sync: Callable[[], None] | None = None, *, server_time: bool = False
) -> Catalog:
    """`memory:`, `sqlite:/path/catalog.db` or `postgresql://…`; the schema is brought up to date first.

    `on_failed_sync` is called when the disk of a SQLite catalog failed to sync: the process must end then (D5).
    `server_time`: a PostgreSQL server's clock judges the age of new blobs, in place of `clock`.
    """
    scheme, _, rest = url.partition(":")
    if scheme == "memory":
        return MemoryCatalog(clock)
    if scheme == "sqlite" and rest:
        return RelationalCatalog(Shared(SqliteEngine(Path(rest), now_ms(clock), on_failed_sync), clock))
    if scheme in ("postgresql", "postgres"):
        server_clock = ServerClock(clock)
        engine = await PostgresEngine.open(url, now_ms(clock), server_clock.read if server_time else None)
        return PostgresCatalog(Shared(engine, clock, server_clock))
    raise InvalidArgument(f"A catalog is named memory:, sqlite:/path or postgresql://…, not {scheme!r}:….")
