"""A part goes into its slot on all nodes of its upload, or into a blob of its own on enough living ones."""

import asyncio
from dataclasses import replace

import pytest

from manta.catalog.records import Attributes, Part, Upload
from manta.core.errors import ServiceUnavailable
from manta.core.limits import MIB
from manta.gateway.datapath import assembly
from manta.gateway.datapath.cluster import Cluster
from manta.gateway.datapath.multipart_plan import Plan, plan
from manta.gateway.datapath.part_writer import PartPlace, PartTarget
from tests.support.datapath import FakeNode, cluster, fake_nodes

__all__ = ["cluster"]

UPLOAD = Upload(
    "bucket", "key", "0" * 32, f"{int(1e12):012x}" + "1" * 20, ("n1", "n2"), 6 * MIB, Attributes(), 0, "owner"
)


@pytest.fixture
def nodes() -> dict[str, FakeNode]:
    return fake_nodes(4)


async def write(cluster: Cluster, number: int, *pieces: bytes, kill: FakeNode | None = None) -> tuple[PartPlace, int]:
    size = sum(map(len, pieces))
    sink = await PartTarget(cluster, UPLOAD, 2, (number - 1) * 6 * MIB).open(size)
    for piece in pieces:
        await sink.write(piece)
        if kill is not None:
            kill.dead = True
    return await sink.commit(), size


def part(number: int, written: tuple[PartPlace, int]) -> Part:
    place, size = written
    return Part(number, size, "0" * 32, 0, place.in_slot, place.blob)


async def test_part_lies_in_its_slot_on_every_node(nodes: dict[str, FakeNode], cluster: Cluster) -> None:
    place, _ = await write(cluster, 1, b"abc", b"def")
    assert place.in_slot
    assert [bytes(nodes[name].growing[UPLOAD.blob_id]) for name in UPLOAD.nodes] == [b"abcdef"] * 2


@pytest.mark.parametrize("trouble", ["dead", "full"])
async def test_part_gets_a_blob_when_a_node_of_the_upload_fails(
    nodes: dict[str, FakeNode], cluster: Cluster, trouble: str
) -> None:
    setattr(nodes["n1"], trouble, True)
    place, _ = await write(cluster, 1, b"abc")
    assert place.blob is not None
    assert place.blob.nodes[0] == "n2"
    assert len(place.blob.nodes) == 2
    assert all(nodes[name].blobs[place.blob.blob_id] == b"abc" for name in place.blob.nodes)


async def test_node_lost_in_mid_part_makes_the_slot_a_blob(nodes: dict[str, FakeNode], cluster: Cluster) -> None:
    place, _ = await write(cluster, 2, b"abc", b"def", kill=nodes["n2"])
    assert place.blob is not None
    assert set(place.blob.nodes) <= {"n1", "n3", "n4"}
    assert len(place.blob.nodes) == 2
    assert all(nodes[name].blobs[place.blob.blob_id] == b"abcdef" for name in place.blob.nodes)


async def test_mixed_parts_are_assembled_where_the_growing_file_is(
    nodes: dict[str, FakeNode], cluster: Cluster
) -> None:
    first = part(1, await write(cluster, 1, b"first"))
    second = part(2, await write(cluster, 2, b"second", kill=nodes["n2"]))
    made = plan(UPLOAD.slot_bytes, [first, second])
    assert not made.in_place
    blob = await assembly.complete(cluster, UPLOAD, made, 2)
    assert "n2" not in blob.nodes
    assert [nodes[name].blobs[blob.blob_id] for name in blob.nodes] == [b"firstsecond"] * 2


async def test_finished_file_is_copied_in_place_of_a_lost_one(nodes: dict[str, FakeNode], cluster: Cluster) -> None:
    await write(cluster, 1, b"whole")
    nodes["n1"].dead = True
    blob = await assembly.complete(cluster, UPLOAD, Plan(5, None), 2)
    assert blob.blob_id == UPLOAD.blob_id
    assert "n1" not in blob.nodes
    assert [nodes[name].blobs[blob.blob_id] for name in blob.nodes] == [b"whole"] * 2


@pytest.mark.invariant("D1")
async def test_acknowledged_parts_survive_a_completion_without_enough_nodes(
    nodes: dict[str, FakeNode], cluster: Cluster
) -> None:
    await write(cluster, 1, b"whole")
    for name in ("n1", "n3", "n4"):
        nodes[name].dead = True
    with pytest.raises(ServiceUnavailable):
        await assembly.complete(cluster, UPLOAD, Plan(5, None), 2)
    for _ in range(5):
        await asyncio.sleep(0)
    nodes["n3"].dead = False
    await cluster.probe_now()
    blob = await assembly.complete(cluster, UPLOAD, Plan(5, None), 2)
    assert [nodes[name].blobs[blob.blob_id] for name in ("n2", "n3")] == [b"whole"] * 2


async def test_completion_without_any_holder_may_be_tried_again(nodes: dict[str, FakeNode], cluster: Cluster) -> None:
    await write(cluster, 1, b"whole")
    nodes["n1"].dead = nodes["n2"].dead = True
    with pytest.raises(ServiceUnavailable):
        await assembly.complete(cluster, UPLOAD, Plan(5, None), 2)
    nodes["n1"].dead = nodes["n2"].dead = False
    await cluster.probe_now()
    assert (await assembly.complete(cluster, UPLOAD, Plan(5, None), 2)).nodes == ("n1", "n2")


async def test_other_parts_after_a_completion_that_was_refused_late(
    nodes: dict[str, FakeNode], cluster: Cluster
) -> None:
    """The growing file was finished already when the catalog refused: its bytes are taken from the finished one."""
    first = part(1, await write(cluster, 1, b"first"))
    await assembly.complete(cluster, UPLOAD, plan(UPLOAD.slot_bytes, [first]), 2)
    other = await PartTarget(cluster, UPLOAD, 2, None).put_small(b"second")
    made = plan(UPLOAD.slot_bytes, [first, part(2, (other, 6))])
    blob = await assembly.complete(cluster, UPLOAD, made, 2)
    assert [nodes[name].blobs[blob.blob_id] for name in blob.nodes] == [b"firstsecond"] * 2


async def test_parts_in_blobs_of_their_own_need_no_node_of_the_upload(
    nodes: dict[str, FakeNode], cluster: Cluster
) -> None:
    gone = replace(UPLOAD, nodes=("n8", "n9"))
    places = [await PartTarget(cluster, gone, 2, None).put_small(data) for data in (b"one", b"two")]
    made = plan(gone.slot_bytes, [part(number, (place, 3)) for number, place in enumerate(places, 1)])
    blob = await assembly.complete(cluster, gone, made, 2)
    assert [nodes[name].blobs[blob.blob_id] for name in blob.nodes] == [b"onetwo"] * 2
