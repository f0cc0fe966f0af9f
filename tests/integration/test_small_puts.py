"""Small puts and their journal from the inside: what is settled, what a short fault may not end."""

import asyncio
import errno
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from manta.core.errors import InsufficientStorage, ServiceUnavailable
from manta.core.limits import KIB, MIB
from storage_nodes.disk import small_puts
from storage_nodes.disk.journal import Journal, Segment, records_of
from storage_nodes.disk.journal_format import Kind
from storage_nodes.disk.small_puts import SmallPuts
from storage_nodes.disk.volume import Volume, open_volume
from tests.support.storage import blob_id


@pytest.fixture
def volume(tmp_path: Path) -> Iterator[Volume]:
    opened = open_volume(tmp_path / "volume", "n1")
    yield opened
    opened.close()


@pytest.fixture
def puts(volume: Volume, monkeypatch: pytest.MonkeyPatch) -> Iterator[SmallPuts]:
    """With segments of 1 MiB, so that a few puts fill some."""
    monkeypatch.setattr(small_puts, "segment_bytes", lambda _total: MIB)
    made = SmallPuts(volume)
    made.start()
    yield made
    made.close()


@pytest.mark.invariant("D2")
async def test_d2_a_segment_is_given_back_only_when_the_files_of_its_records_are_on_the_disk(
    volume: Volume, puts: SmallPuts, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing: list[str] = []
    synced: set[str] = set()
    real_sync, real_retire = volume.sync_all, Journal.retire

    def sync() -> None:
        synced.update(path.name for path in volume.layout.blobs.glob("*/*/*"))
        real_sync()

    def retire(self: Journal, segments: list[Segment]) -> None:
        for segment in segments:
            missing.extend(
                record.blob_id
                for record in records_of(segment)
                if record.kind is Kind.PUT and record.blob_id not in synced
            )
        real_retire(self, segments)

    monkeypatch.setattr(volume, "sync_all", sync)
    monkeypatch.setattr(Journal, "retire", retire)
    blobs = [(blob_id(), os.urandom(200 * KIB)) for _ in range(30)]
    outcomes = await puts.put(blobs)

    assert all(isinstance(outcome, int) for outcome in outcomes)
    assert missing == []
    assert [volume.reader.read(name, 0, len(data)) for name, data in blobs] == [data for _, data in blobs]


@pytest.mark.invariant("D6")
async def test_d6_no_room_for_one_more_segment_is_no_failure_of_the_disk(
    volume: Volume, puts: SmallPuts, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Segment.fill
    full = True
    refused = asyncio.Event()
    loop = asyncio.get_running_loop()

    def fill(self: Segment) -> None:
        if full:
            loop.call_soon_threadsafe(refused.set)
            raise OSError(errno.ENOSPC, "No space left on device")
        real(self)

    first = await puts.put([(blob_id(), b"before")])
    monkeypatch.setattr(Segment, "fill", fill)
    outcomes = await puts.put([(blob_id(), os.urandom(200 * KIB)) for _ in range(30)])
    await asyncio.wait_for(refused.wait(), 10)
    full = False
    again = await puts.put([(blob_id(), os.urandom(200 * KIB)) for _ in range(60)])

    assert isinstance(first[0], int)
    assert all(isinstance(outcome, int | InsufficientStorage) for outcome in outcomes)
    assert all(isinstance(outcome, int) for outcome in again)
    assert not volume.broken


@contextmanager
def no_descriptors() -> Iterator[None]:
    """Every open fails with EMFILE."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.open(os.devnull, os.O_RDONLY)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.invariant("D9")
async def test_d9_a_node_out_of_descriptors_takes_no_good_copy_for_damaged(volume: Volume, puts: SmallPuts) -> None:
    name, data = blob_id(), b"x" * 1000
    await puts.put([(name, data)])
    with no_descriptors():
        with pytest.raises(ServiceUnavailable):
            volume.reader.read(name, 0, len(data))
        with pytest.raises(ServiceUnavailable):
            volume.verify(name)

    assert volume.quarantined == 0
    assert volume.reader.read(name, 0, len(data)) == data


async def test_a_node_out_of_descriptors_takes_puts_again_once_it_has_some(volume: Volume, puts: SmallPuts) -> None:
    await puts.put([(blob_id(), b"first")])
    with no_descriptors():
        (refused,) = await puts.put([(blob_id(), b"refused")])
    name = blob_id()
    (outcome,) = await puts.put([(name, b"taken")])

    assert not isinstance(refused, int)
    assert isinstance(outcome, int)
    assert volume.reader.read(name, 0, 5) == b"taken"
