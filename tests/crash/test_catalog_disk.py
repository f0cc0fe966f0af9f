"""A catalog's disk that fills up, cannot be read for a moment, or fails to sync: three faults, three answers."""

import os
import shutil
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest

from manta.catalog.sqlite.engine import SqliteEngine
from manta.core.errors import InsufficientStorage, InternalError, MantaError, ServiceUnavailable
from tests.support.faults import failing, needs_strace
from tests.support.loop_disk import loop_disk, needs_disk
from tests.support.rows import add, names
from tests.support.store import running_store
from tests.support.waiting import await_condition

SYNCS = "fdatasync,fsync"
RESTART_S = 60.0


@needs_disk
@pytest.mark.invariant("D6")
async def test_d6_a_full_disk_under_the_catalog_refuses_writes_and_heals(tmp_path: Path) -> None:
    with loop_disk(tmp_path) as disk:
        engine = SqliteEngine(disk.folder / "catalog.db", 0)
        filler = disk.folder / "filler"
        try:
            acknowledged = await _write_until_full(engine, filler)
            for _ in range(3):
                with pytest.raises(InsufficientStorage):
                    await engine.write(add("x" * 1_000_000))
            assert len(names(engine)) == acknowledged, "reads go on"
            filler.unlink()
            await engine.write(add("y" * 1_000_000))
            assert len(names(engine)) == acknowledged + 1
        finally:
            await engine.close()


async def _write_until_full(engine: SqliteEngine, filler: Path) -> int:
    """How many writes were acknowledged."""
    with filler.open("wb") as file, suppress(OSError):
        free = os.statvfs(filler.parent)
        os.posix_fallocate(file.fileno(), 0, free.f_bavail * free.f_frsize - 4_000_000)
    for number in range(100):
        try:
            await engine.write(add(f"{number}" * 300_000))
        except InsufficientStorage:
            return number
    raise AssertionError("the disk was never full")


@needs_strace
async def test_a_read_error_fails_what_met_it_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "catalog.db"
    engine = SqliteEngine(path, 0)
    await engine.write(add("before"))
    await engine.close()
    engine = SqliteEngine(path, 0)
    try:
        with failing(os.getpid(), "pread64", "EIO", "1+", path):
            with pytest.raises(InternalError, match="could not be read"):
                await engine.write(add("meanwhile"))
            with pytest.raises(InternalError, match="could not be read"):
                names(engine)
        await engine.write(add("after"))
        assert len(names(engine)) == 2
    finally:
        await engine.close()


@needs_strace
@pytest.mark.invariant("D5")
@pytest.mark.parametrize("of", ["commit", "checkpoint"])
async def test_d5_after_a_failed_sync_of_the_catalog_nothing_is_acknowledged(tmp_path: Path, of: str) -> None:
    told: list[None] = []
    engine = SqliteEngine(tmp_path / "catalog.db", 0, on_failed_sync=lambda: told.append(None))
    try:
        await engine.write(add("before"))
        if of == "commit":
            with (
                failing(os.getpid(), SYNCS, "EIO", "1", tmp_path / "catalog.db-wal"),
                pytest.raises(ServiceUnavailable),
            ):
                await engine.write(add("lost"))
        else:
            with failing(os.getpid(), SYNCS, "EIO", "1", tmp_path / "catalog.db"):
                while not told:
                    with suppress(ServiceUnavailable):
                        await engine.write(add(os.urandom(500_000).hex()))
        with pytest.raises(ServiceUnavailable):
            await engine.write(add("later"))
        assert len(told) == 1
        assert len(names(engine)) >= 1, "reads go on"
    finally:
        await engine.close()


@pytest.mark.invariant("D5", "D2")
async def test_d5_what_an_unsynced_log_holds_is_written_anew_at_the_next_start(tmp_path: Path) -> None:
    """A page that failed to sync looks clean to the kernel: no later commit may stand on it."""
    engine = SqliteEngine(tmp_path / "catalog.db", 0)
    await engine.write(add("before"))
    for suffix in ("", "-wal"):
        shutil.copy(tmp_path / f"catalog.db{suffix}", tmp_path / f"copy.db{suffix}")
    await engine.close()
    assert (tmp_path / "copy.db-wal").stat().st_size > 0
    again = SqliteEngine(tmp_path / "copy.db", 0)
    try:
        assert (tmp_path / "copy.db-wal").stat().st_size == 0
        assert len(names(again)) == 1
    finally:
        await again.close()


@needs_strace
@pytest.mark.invariant("D5", "O3")
def test_d5_a_gateway_whose_catalog_failed_to_sync_ends_with_evidence_and_is_started_again(tmp_path: Path) -> None:
    with running_store(tmp_path, "--lanes", "0") as store, store.client() as client:
        client.make_bucket("kept")
        client.write("s3://kept/before", b"1")
        gateway = store.children()["gateway"]
        with failing(gateway, SYNCS, "EIO", "1", store.data / "catalog.db-wal"), suppress(MantaError):
            client.write("s3://kept/during", b"2")
        again = "the gateway to be started again"
        await_condition(lambda: store.children().get("gateway", gateway) != gateway, again, RESTART_S)
        client.write("s3://kept/after", b"3")
        assert client.read("s3://kept/before") == b"1"
        records = [msgspec.json.decode(path.read_bytes()) for path in (store.data / "evidence").glob("*gateway*.json")]
        assert len(records) == 1
        assert "SIGABRT" in records[0]["cause"]
        assert "failed to sync" in records[0]["log"]
