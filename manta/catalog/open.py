"""Opening a catalog by its URL.

An opened catalog is one object. Its own methods are `store.Catalog`; the jobs part is its attribute `jobs`
(`job_store.JobStore`), which each engine's catalog makes in its constructor from the same shared state:

    MemoryCatalog    jobs = MemoryJobs(self.state)      manta/catalog/memory/jobs.py
    SqliteCatalog    jobs = SqliteJobs(self.shared)     manta/catalog/sqlite/jobs.py
    PostgresCatalog  jobs = PostgresJobs(self.shared)   manta/catalog/postgres/jobs.py
"""

from manta.catalog.memory import MemoryCatalog
from manta.catalog.store import Catalog
from manta.core.clock import Clock
from manta.core.errors import InvalidArgument


async def open_catalog(url: str, clock: Clock) -> Catalog:
    """`memory:`, `sqlite:/path/catalog.db` or `postgresql://…`; the schema is brought up to date first."""
    scheme = url.partition(":")[0]
    if scheme == "memory":
        return MemoryCatalog(clock)
    raise InvalidArgument(f"A catalog is named memory:, sqlite:/path or postgresql://…, not {scheme!r}:….")
