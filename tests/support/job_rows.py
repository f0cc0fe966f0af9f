"""What is left of jobs in a catalog's tables, asked of the database itself, on either engine."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import apsw
import asyncpg

_TABLES = (
    "jobs", "job_phases", "job_chunks", "tasks", "elders", "ready", "shuffle", "job_outputs", "job_errors",
)  # fmt: skip


def check_nothing_of_jobs(url: str, bucket: str, objects: int) -> None:
    """Of deleted jobs no row is left: so many objects of the only bucket are there, each blob with one reference."""
    statements = [f"SELECT count(*) FROM {table}" for table in _TABLES]
    *counts, buckets, found, blobs, refs = _asked(
        url,
        [
            *statements,
            "SELECT name FROM buckets",
            "SELECT count(*) FROM objects",
            "SELECT count(blob_id) FROM objects",
            "SELECT refs, count(*) FROM blobs GROUP BY refs",
        ],
    )
    left = [table for table, count in zip(_TABLES, counts, strict=True) if count != [(0,)]]
    assert left == [], f"rows of jobs are left in {left}"
    assert buckets == [(bucket,)], buckets
    assert found == [(objects,)], found
    assert refs == [(1, blobs[0][0])], refs


def _asked(url: str, statements: list[str]) -> list[list[tuple[Any, ...]]]:
    if not url.startswith("sqlite:"):
        with ThreadPoolExecutor(1) as thread:  # the caller may stand inside a running event loop
            return thread.submit(asyncio.run, _asked_of_postgres(url, statements)).result()
    connection = apsw.Connection(url.removeprefix("sqlite:"), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        return [connection.execute(statement).fetchall() for statement in statements]
    finally:
        connection.close()


async def _asked_of_postgres(url: str, statements: list[str]) -> list[list[tuple[Any, ...]]]:
    connection = await asyncpg.connect(url)
    try:
        return [[tuple(row) for row in await connection.fetch(statement)] for statement in statements]
    finally:
        await connection.close()
