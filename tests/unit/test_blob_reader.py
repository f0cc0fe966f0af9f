"""Reading copies: failover at the right byte, damage never served, no copy left is an error before the reply."""

import asyncio
import contextlib
import threading
from pathlib import Path

import pytest

from manta.catalog.records import Blob
from manta.core.errors import InternalError, NoSuchBlob, ServiceUnavailable
from manta.core.limits import BLOCK_BYTES
from manta.core.names import new_id
from manta.gateway.datapath.blob_reader import LocalReader, open_local
from manta.gateway.datapath.blobs import ClusterBlobs
from manta.gateway.datapath.cluster import Cluster
from storage_nodes.disk.reader import OpenBlob, VolumeReader
from storage_nodes.disk.volume import open_volume
from tests.support.datapath import CHUNK, FakeNode, cluster, fake_cluster, fake_nodes
from tests.support.storage import read_all
from tests.support.waiting import eventually

__all__ = ["cluster"]

DATA = bytes(range(256)) * 40


@pytest.fixture
def nodes() -> dict[str, FakeNode]:
    return fake_nodes(3)


@pytest.fixture
async def blobs(cluster: Cluster) -> ClusterBlobs:
    return ClusterBlobs(cluster, copies=2)


@pytest.fixture
async def blob(blobs: ClusterBlobs) -> Blob:
    return await blobs.put_small(DATA)


@pytest.mark.parametrize(("start", "length"), [(0, len(DATA)), (5, 3000), (len(DATA) - 1, 1)])
async def test_reads_exactly_the_range(blobs: ClusterBlobs, blob: Blob, start: int, length: int) -> None:
    assert await read_all(await blobs.open_get(blob, start, length)) == DATA[start : start + length]
    assert await blobs.read_small(blob, start, length) == DATA[start : start + length]


@pytest.mark.invariant("D3")
async def test_d3_a_local_file_that_is_deleted_in_mid_stream_is_read_to_its_end(tmp_path: Path) -> None:
    """A slow reader may take longer than garbage stays."""
    data = bytes(range(256)) * (3 * BLOCK_BYTES // 256)
    volume = open_volume(tmp_path / "volume", "n1")
    try:
        blob_id = new_id(1_000)
        volume.put(blob_id, data)
        reader = LocalReader(volume.reader, blob_id, 0, len(data))
        first = await reader.read()
        volume.delete([blob_id])
        assert first + await read_all(reader) == data
        with pytest.raises(NoSuchBlob):
            await LocalReader(volume.reader, blob_id, 0, len(data)).read()
    finally:
        volume.close()


async def test_a_file_opened_for_a_caller_that_has_gone_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread cannot be cancelled: what it opens then belongs to nobody."""
    volume = open_volume(tmp_path / "volume", "n1")
    began, go_on = threading.Event(), threading.Event()
    real = VolumeReader.open

    def slow(self: VolumeReader, blob_id: str) -> OpenBlob:
        opened = real(self, blob_id)
        began.set()
        go_on.wait(10)
        return opened

    nodes = fake_nodes(1)
    cluster = await fake_cluster(nodes)
    try:
        blob = Blob(new_id(1_000), 3 * BLOCK_BYTES, tuple(nodes))
        volume.put(blob.blob_id, bytes(blob.size))
        monkeypatch.setattr(cluster, "volume", lambda _node_id: volume.reader)
        monkeypatch.setattr(VolumeReader, "open", slow)
        opening = asyncio.create_task(open_local(cluster, blob, 0, blob.size))
        await asyncio.to_thread(began.wait, 10)
        opening.cancel()
        await asyncio.gather(opening, return_exceptions=True)
        go_on.set()
        await eventually(lambda: not any(blob.blob_id in name for name in open_files()))
    finally:
        await cluster.close()
        volume.close()


def open_files() -> list[str]:
    names = []
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            names.append(str(entry.readlink()))
    return names


async def test_dead_node_is_passed_over(nodes: dict[str, FakeNode], blobs: ClusterBlobs, blob: Blob) -> None:
    nodes[blob.nodes[0]].dead = True
    for _ in range(8):
        assert await blobs.read_small(blob, 0, len(DATA)) == DATA


@pytest.mark.parametrize("after", [1, CHUNK, 3 * CHUNK + 17])
async def test_node_that_dies_in_mid_stream_is_replaced_without_a_seam(
    nodes: dict[str, FakeNode], blobs: ClusterBlobs, blob: Blob, after: int
) -> None:
    reader = await blobs.open_get(blob, 7, len(DATA) - 7)
    serving = next(node for node in nodes.values() if "read" in node.calls)
    serving.dies_after = after
    assert await read_all(reader) == DATA[7:]
    assert serving.dead


@pytest.mark.invariant("D4")
async def test_damaged_copy_is_left_for_a_good_one(nodes: dict[str, FakeNode], blobs: ClusterBlobs, blob: Blob) -> None:
    nodes[blob.nodes[0]].damaged.add(blob.blob_id)
    for _ in range(8):
        assert await blobs.read_small(blob, 0, len(DATA)) == DATA


@pytest.mark.invariant("D4")
async def test_all_copies_damaged_is_a_server_error_before_the_reply(
    nodes: dict[str, FakeNode], blobs: ClusterBlobs, blob: Blob
) -> None:
    for node_id in blob.nodes:
        nodes[node_id].damaged.add(blob.blob_id)
    with pytest.raises(InternalError):
        await blobs.open_get(blob, 0, len(DATA))


async def test_no_node_alive_is_service_unavailable(
    nodes: dict[str, FakeNode], blobs: ClusterBlobs, blob: Blob
) -> None:
    for node_id in blob.nodes:
        nodes[node_id].dead = True
    with pytest.raises(ServiceUnavailable):
        await blobs.open_get(blob, 0, len(DATA))


async def test_failed_copies_in_mid_stream_end_in_an_error_not_in_silence(
    nodes: dict[str, FakeNode], blobs: ClusterBlobs, blob: Blob
) -> None:
    reader = await blobs.open_get(blob, 0, len(DATA))
    for node_id in blob.nodes:
        nodes[node_id].dies_after = 2 * CHUNK
    with pytest.raises(ServiceUnavailable):
        await read_all(reader)
    await reader.close()
