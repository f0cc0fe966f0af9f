"""A disk that fills up, fails to sync, or loses its power, under a real storage node."""

import asyncio
from collections.abc import Awaitable, Iterator
from pathlib import Path

import pytest

from manta.core.errors import InsufficientStorage, MantaError, NoSuchBlob, VolumeReadOnly
from manta.core.limits import MIB
from storage_nodes.client.node_client import NodeClient
from tests.support.faults import failing, needs_strace
from tests.support.loop_disk import LoopDisk, loop_disk, needs_disk
from tests.support.node_writes import LARGE, SMALL, Write, put_large, put_parts, put_small
from tests.support.storage import NewNode, blob_id, get, new_nodes, put_stream, storage_node

__all__ = ["storage_node"]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[LoopDisk]:
    with loop_disk(tmp_path) as made:
        yield made


@pytest.fixture
def disk_node(disk: LoopDisk) -> Iterator[NewNode]:
    with new_nodes(disk.folder) as make:
        yield make


@needs_disk
@pytest.mark.invariant("D6")
@pytest.mark.parametrize("journal", [True, False])
async def test_d6_a_full_disk_refuses_cleanly_and_heals(disk_node: NewNode, journal: bool) -> None:
    node = disk_node(journal=journal)
    node.start()
    client = node.client()
    kept, streamed = await fill(client)
    assert not any((node.data / "tmp").iterdir())
    status = await client.status()
    assert not status.writable
    assert "full" in status.reason
    with pytest.raises(InsufficientStorage):
        await client.put(blob_id(), bytes(200_000))
    for refused in (client.open_put(blob_id(), 4 * MIB), client.open_slot(blob_id(), 0, MIB)):
        with pytest.raises(InsufficientStorage):
            await refused
    for name in (*kept, *streamed):
        await client.verify(name)
    await client.delete(streamed)
    assert (await client.status()).writable
    again = blob_id()
    await client.put(again, SMALL)
    await put_large(client, blob_id())
    assert await get(client, again, len(SMALL)) == SMALL
    await client.close()


async def fill(client: NodeClient) -> tuple[list[str], list[str]]:
    """Write until the node refuses; the names of small and of large blobs that were acknowledged."""
    small: list[str] = []
    large: list[str] = []
    while await fits(put_stream(client, name := blob_id(), LARGE, sized=False)):
        large.append(name)
    for size in (200_000, 4096):
        while await fits(client.put(name := blob_id(), bytes(size))):
            small.append(name)
    return small, large


async def fits(writing: Awaitable[object]) -> bool:
    try:
        await writing
    except InsufficientStorage:
        return False
    return True


@needs_strace
@pytest.mark.invariant("D6")
@pytest.mark.parametrize(
    ("write", "call"),
    [(put_small, "write"), (put_large, "pwritev2"), (put_large, "fallocate"), (put_parts, "pwritev2")],
)
async def test_d6_no_space_in_the_middle_of_a_write_leaves_nothing(
    storage_node: NewNode, write: Write, call: str
) -> None:
    """The reserve is a promise that another program can break: then the disk itself says no."""
    node = storage_node()
    node.start()
    client, name, first = node.client(), blob_id(), blob_id()
    await client.put(first, SMALL)
    with failing(node.pid, call, "ENOSPC", "1+"), pytest.raises(InsufficientStorage):
        await write(client, name)
    assert not any((node.data / "tmp").iterdir())
    with pytest.raises((NoSuchBlob, MantaError)):
        await client.open_get(name, 0, 1)
    data = await write(client, name)
    assert await get(client, name, len(data)) == data
    assert (await client.status()).writable
    await client.close()


D5_CASES = [
    pytest.param(put_small, True, "fdatasync", 1, id="small, journal"),
    pytest.param(put_small, False, "fsync", 2, id="small, simple"),
    pytest.param(put_large, True, "fsync", 3, id="stream", marks=pytest.mark.slow),
    pytest.param(put_parts, True, "fdatasync", 2, id="parts, data", marks=pytest.mark.slow),
    pytest.param(put_parts, True, "fsync", 3, id="parts, names", marks=pytest.mark.slow),
]


@needs_strace
@pytest.mark.timeout(600)
@pytest.mark.invariant("D5")
@pytest.mark.parametrize(("write", "journal", "call", "least"), D5_CASES)
async def test_d5_the_nth_failing_sync_is_never_acknowledged(
    storage_node: NewNode, write: Write, journal: bool, call: str, least: int
) -> None:
    """For each n until a write needs no n-th sync: it fails, every later write is refused, a restart heals."""
    node, before = storage_node(journal=journal), blob_id()
    failed = 0
    for number in range(1, 20):
        node.start()
        client, name = node.client(), blob_id()
        await client.put(before, SMALL)
        try:
            with failing(node.pid, call, "EIO", str(number)):
                await write(client, name)
        except VolumeReadOnly:
            failed += 1
            await refuses_all_writes(client)
        else:
            break
        finally:
            await client.close()
            node.kill()
        node.start()
        client = node.client()
        assert await get(client, before, len(SMALL)) == SMALL
        assert (await client.status()).writable
        name = blob_id()
        data = await write(client, name)
        assert await get(client, name, len(data)) == data
        await client.close()
        node.stop()
    assert failed >= least


async def refuses_all_writes(client: NodeClient) -> None:
    status = await client.status()
    assert not status.writable
    assert "Replace its disk" in status.reason
    with pytest.raises(VolumeReadOnly):
        await client.put(blob_id(), SMALL)
    for refused in (client.open_put(blob_id(), 5), client.open_slot(blob_id(), 0, MIB)):
        with pytest.raises(VolumeReadOnly):
            await refused


@needs_strace
@pytest.mark.invariant("D5")
async def test_d5_a_failing_sync_behind_the_journal_ends_writing_and_loses_nothing(storage_node: NewNode) -> None:
    node = storage_node()
    node.start()
    client, acknowledged = node.client(), dict[str, bytes]()
    with failing(node.pid, "syncfs", "EIO", "1"), pytest.raises(VolumeReadOnly):
        await put_until_refused(client, acknowledged)
    await refuses_all_writes(client)
    await client.close()
    node.kill()
    node.start()
    client = node.client()
    for name, data in acknowledged.items():
        assert await get(client, name, len(data)) == data
    await client.close()


async def put_until_refused(client: NodeClient, acknowledged: dict[str, bytes]) -> None:
    async with asyncio.timeout(60):
        while True:
            name = blob_id()
            data = name.encode() * 8000
            await client.put(name, data)
            acknowledged[name] = data


@needs_disk
@pytest.mark.slow
@pytest.mark.invariant("D2", "D3")
@pytest.mark.parametrize("journal", [True, False])
async def test_d2_a_power_cut_takes_nothing_that_was_acknowledged(
    tmp_path: Path, disk: LoopDisk, disk_node: NewNode, journal: bool
) -> None:
    node = disk_node(journal=journal)
    acknowledged: dict[str, bytes] = {}
    for _ in range(3):
        node.start()
        client = node.client()
        tasks = [asyncio.create_task(keep_writing(client, acknowledged, seed)) for seed in range(4)]
        enough = len(acknowledged) + 25
        async with asyncio.timeout(60):
            while len(acknowledged) < enough:
                await asyncio.sleep(0.001)
                assert not all(task.done() for task in tasks), [task.result() for task in tasks]
        disk.cut_power()
        await asyncio.gather(*tasks)
        await client.close()
        node.kill()
        disk.unmount()
        disk.mount()
        node.start()
        client = node.client()
        for name, data in acknowledged.items():
            assert await get(client, name, len(data)) == data
        for info in await client.list():
            if not info.growing:
                await whole_or_nothing(client, info.blob_id)
        await client.delete([info.blob_id for info in await client.list()])  # the disk is small
        acknowledged.clear()
        await client.close()
        node.stop()


async def keep_writing(client: NodeClient, acknowledged: dict[str, bytes], seed: int) -> MantaError | None:
    """Small blobs, streams and parts in turn, until the node takes no more; why it took no more."""
    for turn in range(seed, 10_000):
        name = blob_id()
        try:
            if turn % 8 == 0:
                acknowledged[name] = await put_large(client, name)
            elif turn % 8 == 1:
                acknowledged[name] = await put_parts(client, name)
            else:
                acknowledged[name] = await put_small(client, name)
        except MantaError as error:
            return error
    return None


async def whole_or_nothing(client: NodeClient, name: str) -> None:
    try:
        await client.verify(name)
    except MantaError:
        with pytest.raises(MantaError):
            await client.open_get(name, 0, 1)
