"""Blobs on real node processes: copies, direct reads, failover when a node is killed or a file damaged."""

import asyncio
import os
import random
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from manta.catalog.records import Blob
from manta.core.checksums import crc32c
from manta.core.clock import SystemClock
from manta.core.errors import InternalError, NotEnoughNodes
from manta.core.limits import MIB
from manta.gateway.datapath.blobs import ClusterBlobs
from manta.gateway.datapath.cluster import Cluster
from manta.gateway.datapath.compose import connect
from manta.gateway.node_calls import replicate
from storage_nodes.api import Stored
from storage_nodes.disk.reader import VolumeReader
from tests.support.datapath import NodeList
from tests.support.node_processes import MACHINE, NodeProcess
from tests.support.storage import read_all

SMALL = random.Random(1).randbytes(5000)
LARGE = random.Random(2).randbytes(9 * MIB + 12345)


@pytest.fixture
def nodes(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[dict[str, NodeProcess]]:
    listen = getattr(request, "param", lambda: "")
    started = {name: NodeProcess(name, tmp_path / name, listen()) for name in ("n1", "n2", "n3")}
    for node in started.values():
        node.start()
    yield started
    for node in started.values():
        node.kill()


@pytest.fixture(params=["direct", "through nodes"])
async def blobs(request: pytest.FixtureRequest, nodes: dict[str, NodeProcess]) -> AsyncIterator[ClusterBlobs]:
    cluster = Cluster(
        NodeList([node.record() for node in nodes.values()]),  # type: ignore[arg-type]
        SystemClock(),
        connect,
        machine_id=MACHINE,
        open_volume=VolumeReader if request.param == "direct" else None,
    )
    await cluster.start()
    yield ClusterBlobs(cluster, copies=2)
    await cluster.close()


def tcp_address() -> str:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return f"http://127.0.0.1:{free.getsockname()[1]}"


async def put_large(blobs: ClusterBlobs, data: bytes = LARGE) -> Blob:
    writer = await blobs.open_put(len(data))
    for start in range(0, len(data), 100_000):
        await writer.write(data[start : start + 100_000])
    return await writer.commit()


async def get(blobs: ClusterBlobs, blob: Blob) -> bytes:
    return await read_all(await blobs.open_get(blob, 0, blob.size))


async def test_put_and_get(nodes: dict[str, NodeProcess], blobs: ClusterBlobs) -> None:
    small, large = await blobs.put_small(SMALL), await put_large(blobs)
    assert await blobs.read_small(small, 0, len(SMALL)) == SMALL
    assert await blobs.read_small(large, MIB - 5, 10) == LARGE[MIB - 5 : MIB + 5]
    assert await get(blobs, small) == SMALL
    assert await get(blobs, large) == LARGE
    assert len(set(large.nodes)) == 2
    for node_id in large.nodes:
        assert nodes[node_id].volume.exists()


@pytest.mark.parametrize("nodes", [tcp_address], indirect=True)
@pytest.mark.parametrize("blobs", ["through nodes"], indirect=True)
async def test_put_and_get_over_tcp(nodes: dict[str, NodeProcess], blobs: ClusterBlobs) -> None:
    small, large = await blobs.put_small(SMALL), await put_large(blobs)
    assert await get(blobs, small) == SMALL
    nodes[large.nodes[0]].kill()
    assert await get(blobs, large) == LARGE
    survivor = Blob(large.blob_id, large.size, large.nodes[1:])
    copy = await replicate(blobs.cluster, large.blob_id, stored_of(LARGE), survivor.nodes, 2)
    assert await get(blobs, Blob(large.blob_id, large.size, tuple(copy[1:]))) == LARGE


def stored_of(data: bytes) -> Stored:
    return Stored(len(data), crc32c(data))


async def test_file_for_sendfile_is_the_objects_own(nodes: dict[str, NodeProcess], blobs: ClusterBlobs) -> None:
    blob = await put_large(blobs)
    descriptor = await blobs.open_file(blob, 5, 1000)
    if descriptor is None:
        assert all(blobs.cluster.volume(node_id) is None for node_id in blob.nodes)
        return
    assert os.pread(descriptor, 1000, 5) == LARGE[5:1005]
    inodes = [file.stat().st_ino for node_id in blob.nodes for file in nodes[node_id].blob_files()]
    assert os.fstat(descriptor).st_ino in inodes
    os.close(descriptor)


async def test_killed_node_is_not_noticed(nodes: dict[str, NodeProcess], blobs: ClusterBlobs) -> None:
    written = [(await blobs.put_small(SMALL), SMALL) for _ in range(6)] + [(await put_large(blobs), LARGE)]
    victim = nodes["n1"]
    victim.kill()
    victim.volume.rename(victim.folder / "out of reach")
    for blob, data in written:
        assert await get(blobs, blob) == data
        assert await blobs.read_small(blob, 1, 99) == data[1:100]
    for _ in range(6):
        blob = await blobs.put_small(SMALL)
        assert set(blob.nodes) == {"n2", "n3"}
    assert set((await put_large(blobs)).nodes) == {"n2", "n3"}


async def test_writes_need_as_many_nodes_as_copies(nodes: dict[str, NodeProcess], blobs: ClusterBlobs) -> None:
    nodes["n1"].kill()
    nodes["n2"].kill()
    with pytest.raises(NotEnoughNodes):
        await blobs.put_small(SMALL)
    with pytest.raises(NotEnoughNodes):
        await blobs.open_put(None)


@pytest.mark.parametrize("blobs", ["through nodes"], indirect=True)
async def test_node_killed_while_it_is_read(nodes: dict[str, NodeProcess], blobs: ClusterBlobs) -> None:
    blob = await put_large(blobs)
    reader = await blobs.open_get(blob, 3, blob.size - 3)
    first = await reader.read()
    serving = reader.node_id  # type: ignore[attr-defined]
    nodes[serving].kill()
    assert first + await read_all(reader) == LARGE[3:]
    assert not blobs.cluster.is_alive(serving)


async def test_node_killed_while_it_is_written(nodes: dict[str, NodeProcess], blobs: ClusterBlobs) -> None:
    writer = await blobs.open_put(len(LARGE))
    await writer.write(LARGE[:MIB])
    victim = writer.nodes[0]
    nodes[victim].kill()
    await writer.write(LARGE[MIB:])
    blob = await writer.commit()
    assert set(blob.nodes) == {"n1", "n2", "n3"} - {victim}
    for survivor in blob.nodes:
        assert await get(blobs, Blob(blob.blob_id, blob.size, (survivor,))) == LARGE


@pytest.mark.parametrize("blobs", ["through nodes"], indirect=True)
async def test_silent_node_delays_but_fails_nothing(nodes: dict[str, NodeProcess], blobs: ClusterBlobs) -> None:
    blob = await put_large(blobs)
    nodes[blob.nodes[0]].pause()
    other = set(nodes) - {blob.nodes[0]}
    assert await get(blobs, blob) == LARGE
    assert set((await put_large(blobs)).nodes) == other
    assert set((await blobs.put_small(SMALL)).nodes) == other


@pytest.mark.invariant("D4")
async def test_damaged_copies_are_never_served(nodes: dict[str, NodeProcess], blobs: ClusterBlobs) -> None:
    blob = await put_large(blobs)
    damage(nodes[blob.nodes[0]], 5 * MIB)
    async with asyncio.timeout(30):
        while nodes[blob.nodes[0]].blob_files():  # which copy is read first is chance
            assert await get(blobs, blob) == LARGE
            assert await blobs.read_small(blob, 5 * MIB, 100) == LARGE[5 * MIB : 5 * MIB + 100]
    damage(nodes[blob.nodes[1]], 5 * MIB)
    with pytest.raises(InternalError):
        await get(blobs, blob)


def damage(node: NodeProcess, offset: int) -> None:
    [file] = node.blob_files()
    file.chmod(0o600)
    with file.open("r+b") as stream:
        stream.seek(offset)
        byte = stream.read(1)
        stream.seek(offset)
        stream.write(bytes([byte[0] ^ 1]))


async def test_dead_nodes_files_are_not_read_behind_its_back(
    nodes: dict[str, NodeProcess], blobs: ClusterBlobs
) -> None:
    blob = await blobs.put_small(SMALL)
    for node_id in blob.nodes:
        nodes[node_id].kill()
    while any(blobs.cluster.is_alive(node_id) for node_id in blob.nodes):
        await blobs.cluster.probe_now()
    assert await blobs.open_file(blob, 0, 10) is None
    with pytest.raises(NotEnoughNodes):
        await blobs.put_small(SMALL)
    nodes[blob.nodes[0]].start()
    while not blobs.cluster.is_alive(blob.nodes[0]):
        await blobs.cluster.probe_now()
    assert await get(blobs, blob) == SMALL
