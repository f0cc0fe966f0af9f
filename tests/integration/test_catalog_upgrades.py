"""A gateway and a schema of another version: it is said which versions they are, and what to do."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import apsw
import asyncpg
import pytest

from manta.catalog.open import open_catalog
from manta.catalog.ops import Op, Script
from manta.catalog.relational.catalog import RelationalCatalog
from manta.catalog.statements import migrations
from manta.catalog.store import Catalog
from manta.core.errors import InternalError, InvalidArgument, ServiceUnavailable
from tests.support.catalog import StandingClock, opened, sqlite_url

KNOWN = max(one.number for one in migrations("manta.catalog.sqlite"))
LATER = KNOWN + 3
NEWER = (
    f"INSERT INTO schema_migrations VALUES ({LATER}, 'later', 1)",
    "ALTER TABLE jobs RENAME COLUMN owner_id TO account_id",
    "ALTER TABLE accounts RENAME TO people",
)


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(request.getfixturevalue("postgres_url")) if request.param == "postgres" else sqlite_url(tmp_path)


@pytest.fixture
async def catalog(url: str) -> AsyncIterator[Catalog]:
    async with opened(url, StandingClock()) as catalog:
        await catalog.create_bucket("books", "alice", 1)
        yield catalog


async def _upgrade(url: str) -> None:
    """As a newer gateway does."""
    if not url.startswith("sqlite:"):
        database = await asyncpg.connect(url)
        for statement in NEWER:
            await database.execute(statement)
        await database.close()
        return
    with apsw.Connection(url.removeprefix("sqlite:")) as file:
        for statement in NEWER:
            file.execute(statement)
    file.close()


async def test_a_running_gateway_that_an_upgrade_left_behind_says_so(catalog: Catalog, url: str) -> None:
    await _upgrade(url)
    reads, writes = catalog.list_accounts(), catalog.delete_account("alice")
    for failure in await asyncio.gather(reads, writes, catalog.jobs.list_jobs("alice"), return_exceptions=True):
        assert isinstance(failure, ServiceUnavailable), failure
        assert f"has schema {LATER}" in failure.message
        assert f"up to {KNOWN}" in failure.message
    assert (await catalog.get_bucket("books")).owner_id == "alice", "what it still understands it still does"


async def test_a_gateway_that_is_older_than_the_schema_does_not_start(catalog: Catalog, url: str) -> None:
    await _upgrade(url)
    with pytest.raises(InvalidArgument, match=f"has schema {LATER}, .* up to {KNOWN}: start the newer version"):
        await open_catalog(url, StandingClock())


async def test_what_the_schema_refuses_otherwise_is_no_matter_of_versions(catalog: Catalog) -> None:
    def twice() -> Script[None]:
        for _ in range(2):
            yield Op("job_blob_insert", (b"i" * 16, 1, b""))

    assert isinstance(catalog, RelationalCatalog)
    with pytest.raises(InternalError) as refused:
        await catalog.engine.change(twice)
    assert "schema" not in refused.value.message
