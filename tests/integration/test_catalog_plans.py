"""Statements whose cost must not grow with what others store: which index each engine takes, on worthwhile tables."""

import re
from pathlib import Path

import apsw
import asyncpg

from manta.catalog.statements import load
from tests.support.catalog import StandingClock, opened, sqlite_url

MANY = 20_000
WAITING = 5000
"""So few that a planner may read them all."""
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


async def test_of_many_jobs_that_wait_only_the_oldest_are_looked_up_in_postgresql(postgres_url: str) -> None:
    """Each lease asks, on every node: it must not cost more, the more jobs an account has."""
    async with opened(postgres_url, StandingClock()):
        pass
    database = await asyncpg.connect(postgres_url, statement_cache_size=0)
    try:
        await database.execute(
            f"INSERT INTO jobs ({_JOB}) SELECT 'j' || lpad(({WAITING} - n)::text, 8, '0'), 'bob', '', 'running', 1, "
            f"'', 1 FROM generate_series(1, {WAITING}) n"
        )
        await database.execute(
            "INSERT INTO ready (node_id, owner_id, job_id, task_id, since_ms) "
            "SELECT 'n1', 'bob', job_id, 1, 1 FROM jobs"
        )
        await database.execute("ANALYZE jobs")
        await database.execute(f"PREPARE oldest AS {load('manta.catalog.postgres')['ready_jobs']}")
        found = [row[0] for row in await database.fetch("EXECUTE oldest('n1', 'bob', 9)")]
        rows = await database.fetch("EXPLAIN (ANALYZE, FORMAT TEXT) EXECUTE oldest('n1', 'bob', 9)")
    finally:
        await database.close()
    assert found == [f"j{number:08d}" for number in range(9)]
    plan = "\n".join(row[0] for row in rows)
    (looked_up,) = re.findall(r"Recursive Union .*actual .*rows=(\d+)", plan)
    assert int(looked_up) <= 10, plan
    assert "Seq Scan on jobs" not in plan, plan
