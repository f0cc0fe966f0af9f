"""Statements whose cost must not grow with what others store: which index each engine takes, on worthwhile tables."""

from pathlib import Path

import apsw
import asyncpg

from manta.catalog.statements import load
from tests.support.catalog import StandingClock, opened, sqlite_url

MANY = 20_000
_JOB = "job_id, owner_id, name, state, created_ms, plan, input_ended"


async def test_an_account_s_jobs_are_found_by_their_owner_in_sqlite(tmp_path: Path) -> None:
    async with opened(sqlite_url(tmp_path), StandingClock()):
        pass
    database = apsw.Connection(str(tmp_path / "catalog.db"))
    statement = load("manta.catalog.sqlite")["jobs_page_of"]
    rows = list(database.execute(f"EXPLAIN QUERY PLAN {statement}", ("alice", "", "", "z", 10)))
    database.close()
    (step,) = [str(row[-1]) for row in rows]
    assert step == "SEARCH jobs USING INDEX jobs_by_owner (owner_id=? AND job_id<?)"


async def test_an_account_s_jobs_are_found_by_their_owner_in_postgresql(postgres_url: str) -> None:
    """Two owners share the jobs, as the server's statistics see it; this one has none. The plan is for any owner."""
    async with opened(postgres_url, StandingClock()):
        pass
    database = await asyncpg.connect(postgres_url)
    try:
        await database.execute(
            f"INSERT INTO jobs ({_JOB}) SELECT 'j' || lpad(n::text, 8, '0'), 'bob' || n % 2, '', 'done', 1, '', 1 "
            f"FROM generate_series(1, {MANY}) n"
        )
        await database.execute("ANALYZE jobs")
        await database.execute("SET plan_cache_mode = force_generic_plan")
        await database.execute(f"PREPARE page AS {load('manta.catalog.postgres')['jobs_page_of']}")
        rows = await database.fetch("EXPLAIN (ANALYZE, FORMAT TEXT) EXECUTE page('alice', '', '', 'z', 10)")
    finally:
        await database.close()
    plan = "\n".join(row[0] for row in rows)
    assert "Index Scan Backward using jobs_by_owner" in plan, plan
    assert "Rows Removed by Filter" not in plan
