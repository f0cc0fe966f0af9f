"""Backup and restore of the SQLite catalog, and what a catalog of another version is told."""

import asyncio
from pathlib import Path

import apsw
import pytest

from manta.catalog.records import Gap
from manta.catalog.rules import gap_begin_ms
from manta.catalog.sqlite.backup import backup, read_head, restore
from manta.core.errors import AlreadyExists, InvalidArgument
from tests.support.catalog import StandingClock, opened, sqlite_url, version


async def test_a_backup_of_a_busy_catalog_restores_to_what_was_acknowledged_before(tmp_path: Path) -> None:
    clock, target, stop = StandingClock(), tmp_path / "backup", asyncio.Event()
    async with opened(sqlite_url(tmp_path), clock) as catalog:
        await catalog.create_bucket("books", "alice", 1)
        before = [version(clock, f"before{number:03d}") for number in range(50)]
        for put in before:
            await catalog.put_object("books", put)

        async def keep_writing() -> None:
            while not stop.is_set():
                await catalog.put_object("books", version(clock, "during"))

        writer = asyncio.create_task(keep_writing())
        head = await asyncio.to_thread(backup, tmp_path / "catalog.db", target, 7)
        stop.set()
        await writer
        whole = await catalog.list_objects("books", prefix="before")
    assert read_head(target) == head
    assert head.created_ms == 7
    assert target.stat().st_mode & 0o777 == 0o600
    restored = tmp_path / "restored"
    restored.mkdir()
    restore(target, restored / "catalog.db", 9)
    async with opened(sqlite_url(restored), clock) as catalog:
        assert await catalog.list_objects("books", prefix="before") == whole
        assert (await catalog.locate("books", "before049")).object == before[49]
        assert await catalog.gaps() == [Gap(gap_begin_ms(7), 9)]
        await catalog.put_object("books", version(clock, "after"))
    assert sorted(path.name for path in restored.iterdir()) == ["catalog.db"]


async def test_a_restore_overwrites_nothing(tmp_path: Path) -> None:
    async with opened(sqlite_url(tmp_path), StandingClock()):
        backup(tmp_path / "catalog.db", tmp_path / "backup", 1)
    before = (tmp_path / "catalog.db").read_bytes()
    with pytest.raises(AlreadyExists):
        restore(tmp_path / "backup", tmp_path / "catalog.db", 2)
    assert (tmp_path / "catalog.db").read_bytes() == before


@pytest.mark.parametrize("damage", ["magic", "head", "body", "cut"])
async def test_a_damaged_backup_is_refused_and_leaves_nothing(tmp_path: Path, damage: str) -> None:
    async with opened(sqlite_url(tmp_path), StandingClock()):
        backup(tmp_path / "catalog.db", tmp_path / "backup", 1)
    data = bytearray((tmp_path / "backup").read_bytes())
    if damage == "cut":
        data = data[: len(data) // 2]
    else:
        data[{"magic": 0, "head": 14, "body": len(data) - 200}[damage]] ^= 0xFF
    (tmp_path / "backup").write_bytes(data)
    target = tmp_path / "restored"
    target.mkdir()
    with pytest.raises(InvalidArgument):
        restore(tmp_path / "backup", target / "catalog.db", 2)
    assert list(target.iterdir()) == []


async def test_no_catalog_no_backup(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument):
        backup(tmp_path / "catalog.db", tmp_path / "backup", 1)
    assert list(tmp_path.iterdir()) == []


def write_from_the_future(path: Path) -> None:
    connection = apsw.Connection(str(path))
    connection.execute("INSERT INTO schema_migrations VALUES (9999, 'future', 0)")
    connection.close()


async def test_a_newer_catalog_is_refused_with_what_to_do(tmp_path: Path) -> None:
    async with opened(sqlite_url(tmp_path), StandingClock()):
        pass
    write_from_the_future(tmp_path / "catalog.db")
    with pytest.raises(InvalidArgument, match=r"schema 9999.*newer version"):
        async with opened(sqlite_url(tmp_path), StandingClock()):
            pass
    backup(tmp_path / "catalog.db", tmp_path / "backup", 1)
    with pytest.raises(InvalidArgument, match="schema 9999"):
        restore(tmp_path / "backup", tmp_path / "other.db", 2)
