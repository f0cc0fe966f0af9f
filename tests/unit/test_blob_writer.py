"""Writing copies: failed nodes are replaced, at the start, in mid-stream and at the end, or nothing stays."""

import asyncio

import pytest

from manta.catalog.records import Blob
from manta.core.errors import NotEnoughNodes, SlowDown
from manta.gateway.datapath.blobs import ClusterBlobs
from manta.gateway.datapath.cluster import Cluster
from tests.support.datapath import FakeNode, cluster, fake_nodes

__all__ = ["cluster"]


@pytest.fixture
def nodes() -> dict[str, FakeNode]:
    return fake_nodes(4)


@pytest.fixture
def blobs(cluster: Cluster) -> ClusterBlobs:
    return ClusterBlobs(cluster, copies=2)


def assert_stored(nodes: dict[str, FakeNode], blob: Blob, data: bytes, copies: int = 2) -> None:
    assert len(blob.nodes) == len(set(blob.nodes)) == copies
    for node_id in blob.nodes:
        assert nodes[node_id].blobs[blob.blob_id] == data


async def settle(condition: "asyncio.Future[None] | None" = None) -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_small_blob_has_its_copies(nodes: dict[str, FakeNode], blobs: ClusterBlobs) -> None:
    blob = await blobs.put_small(b"hello")
    assert_stored(nodes, blob, b"hello")
    assert sum(len(node.blobs) for node in nodes.values()) == 2


@pytest.mark.parametrize("trouble", ["dead", "full"])
async def test_small_blob_goes_elsewhere_when_nodes_fail(
    nodes: dict[str, FakeNode], blobs: ClusterBlobs, trouble: str
) -> None:
    for bad in ("n1", "n3"):
        setattr(nodes[bad], trouble, True)
    for _ in range(20):
        blob = await blobs.put_small(b"hello")
        assert set(blob.nodes) == {"n2", "n4"}
        assert_stored(nodes, blob, b"hello")


async def test_too_few_nodes_is_an_error_and_leaves_nothing(nodes: dict[str, FakeNode], blobs: ClusterBlobs) -> None:
    for bad in ("n1", "n2", "n3"):
        nodes[bad].dead = True
    with pytest.raises(NotEnoughNodes):
        await blobs.put_small(b"hello")
    await settle()
    assert not any(node.blobs for node in nodes.values())


async def test_full_nodes_ask_the_client_to_slow_down(nodes: dict[str, FakeNode], blobs: ClusterBlobs) -> None:
    for node in nodes.values():
        node.full = True
    with pytest.raises(SlowDown):
        await blobs.put_small(b"hello")


async def test_stream_has_its_copies(nodes: dict[str, FakeNode], blobs: ClusterBlobs) -> None:
    writer = await blobs.open_put(6)
    await writer.write(b"abc")
    await writer.write(memoryview(b"def"))
    assert_stored(nodes, await writer.commit(), b"abcdef")


async def test_stream_opens_elsewhere_when_a_node_is_dead(nodes: dict[str, FakeNode], blobs: ClusterBlobs) -> None:
    nodes["n1"].dead = nodes["n2"].dead = True
    writer = await blobs.open_put(None)
    await writer.write(b"abc")
    assert_stored(nodes, await writer.commit(), b"abc")


@pytest.mark.parametrize("when", ["write", "commit"])
async def test_copy_lost_in_mid_stream_is_made_again(
    nodes: dict[str, FakeNode], blobs: ClusterBlobs, when: str
) -> None:
    writer = await blobs.open_put(6)
    victim = next(node for node in nodes.values() if "open_put" in node.calls)
    await writer.write(b"abc")
    if when == "commit":
        await writer.write(b"def")
    victim.dead = True
    if when == "write":
        await writer.write(b"def")
    blob = await writer.commit()
    assert victim.node_id not in blob.nodes
    assert_stored(nodes, blob, b"abcdef")


async def test_copy_lost_in_mid_stream_without_a_spare_node_fails(
    nodes: dict[str, FakeNode], blobs: ClusterBlobs
) -> None:
    nodes["n1"].dead = nodes["n2"].dead = True
    writer = await blobs.open_put(6)
    await writer.write(b"abc")
    nodes["n3"].dead = True
    await writer.write(b"def")
    with pytest.raises(NotEnoughNodes):
        await writer.commit()
    await settle()
    assert not nodes["n4"].blobs


async def test_all_copies_lost_in_mid_stream_fails_at_once(nodes: dict[str, FakeNode], blobs: ClusterBlobs) -> None:
    writer = await blobs.open_put(6)
    for node in nodes.values():
        node.dead = True
    with pytest.raises(NotEnoughNodes):
        await writer.write(b"abc")


async def test_aborted_stream_leaves_nothing(nodes: dict[str, FakeNode], blobs: ClusterBlobs) -> None:
    writer = await blobs.open_put(6)
    await writer.write(b"abc")
    await writer.abort()
    await settle()
    assert not any(node.blobs for node in nodes.values())
