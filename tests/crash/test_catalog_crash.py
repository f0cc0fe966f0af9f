"""kill -9 of the process that writes a SQLite catalog: everything it acknowledged is there, nothing is half there."""

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from manta.catalog.sqlite.schema import connect
from manta.catalog.store import Catalog
from manta.core.clock import SystemClock
from tests.support.catalog import opened, sqlite_url

ROUNDS = 6
WRITER = """
import asyncio, sys
from manta.catalog.open import open_catalog
from manta.core.clock import SystemClock
from tests.support.catalog import version

async def main(url, start):
    clock = SystemClock()
    catalog = await open_catalog(url, clock)
    async def work(lane):
        for step in range(10**9):
            passing = step % 3 == 0
            name = f"{start}-{lane}-{step}-{'passing' if passing else 'staying'}"
            await catalog.put_object("books", version(clock, name))
            print("put", name, flush=True)
            if passing:
                await catalog.delete_object("books", name)
                print("gone", name, flush=True)
    await asyncio.gather(*(work(lane) for lane in range(16)))

asyncio.run(main(sys.argv[1], sys.argv[2]))
"""


def run_until_killed(url: str, round_number: int, acknowledged: int) -> list[str]:
    """The acknowledgements that the writer printed before it was killed."""
    command = [sys.executable, "-c", WRITER, url, str(round_number)]
    root = Path(__file__).parents[2]
    writer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root)
    assert writer.stdout is not None
    lines = []
    for line in writer.stdout:
        lines.append(line)
        if len(lines) == acknowledged:
            os.kill(writer.pid, signal.SIGKILL)
    writer.stdout.close()
    assert writer.wait() == -signal.SIGKILL
    return [line.strip() for line in lines if line.endswith("\n")]


@pytest.mark.invariant("D1")
async def test_what_was_acknowledged_survives_kill_9(tmp_path: Path) -> None:
    """D1: after each of several kills at random moments."""
    url, ledger = sqlite_url(tmp_path), set[tuple[str, str]]()
    async with opened(url, SystemClock()) as catalog:
        await catalog.create_bucket("books", "alice", 1)
    moments = random.Random(11)
    for round_number in range(ROUNDS):
        for line in run_until_killed(url, round_number, moments.randrange(20, 400)):
            what, name = line.split()
            ledger.add((what, name))
        async with opened(url, SystemClock()) as catalog:
            listed = await _all_keys(catalog)
        assert {name for what, name in ledger if what == "put" and name.endswith("staying")} <= listed
        assert not {name for what, name in ledger if what == "gone"} & listed
    _check_references(tmp_path / "catalog.db")


async def _all_keys(catalog: Catalog) -> set[str]:
    keys: set[str] = set()
    after: str | None = ""
    while after is not None:
        page = await catalog.list_objects("books", after=after)
        keys |= {row.key for row in page.objects}
        after = page.next_after
    return keys


def _check_references(path: Path) -> None:
    """Every blob has exactly the references it counts, and a replica row per node."""
    connection = connect(path, read_only=True)
    try:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        wrong = """SELECT count(*) FROM blobs b
                   WHERE refs != (SELECT count(*) FROM objects o WHERE o.blob_id = b.blob_id)
                   OR length(nodes) / 2 != (SELECT count(*) FROM replicas r WHERE r.blob_id = b.blob_id)"""
        assert connection.execute(wrong).fetchall() == [(0,)]
        assert connection.execute("SELECT count(*) > 0 FROM blobs").fetchall() == [(1,)]
    finally:
        connection.close()
