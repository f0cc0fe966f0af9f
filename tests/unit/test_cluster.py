"""What a gateway knows of its nodes: who is registered, who answers, who is near."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from manta.catalog.records import Node, NodeState
from manta.core.clock import SystemClock
from manta.core.errors import NodeUnavailable, NotEnoughNodes
from manta.core.names import new_id
from manta.gateway.datapath.cluster import Cluster
from manta.gateway.jobs import ClusterPlacement
from storage_nodes import token
from tests.support.datapath import FakeNode, NodeList, fake_nodes, node_record


class LaterClock(SystemClock):
    """Stands still, well after the start."""

    def monotonic_s(self) -> float:
        return 1e9


@pytest.fixture
def nodes() -> dict[str, FakeNode]:
    return fake_nodes(3)


@pytest.fixture
def listed() -> NodeList:
    return NodeList([node_record("n1", machine_id="here"), node_record("n2"), node_record("n3")])


@pytest.fixture
async def cluster(nodes: dict[str, FakeNode], listed: NodeList) -> AsyncIterator[Cluster]:
    def connect(node: Node) -> FakeNode:
        return nodes[node.node_id]

    made = Cluster(listed, SystemClock(), connect, machine_id="here")  # type: ignore[arg-type]
    await made.start()
    yield made
    await made.close()


async def test_registered_nodes_are_alive_after_the_start(cluster: Cluster) -> None:
    assert sorted(cluster.choose(3)) == ["n1", "n2", "n3"]


async def test_refused_connection_is_death_at_once_and_an_answer_life(
    nodes: dict[str, FakeNode], cluster: Cluster
) -> None:
    nodes["n1"].dead = True
    await cluster.probe_now()
    assert not cluster.is_alive("n1")
    with pytest.raises(NotEnoughNodes):
        cluster.choose(3)
    nodes["n1"].dead = False
    await cluster.probe_now()
    assert cluster.is_alive("n1")


async def test_silent_node_is_dead_after_a_while_and_calls_to_it_end(
    nodes: dict[str, FakeNode], cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def silence() -> None:
        raise TimeoutError

    monkeypatch.setattr(nodes["n1"], "status", silence)
    for _ in range(2):
        await cluster.probe_now()
        assert cluster.is_alive("n1")
    await cluster.probe_now()
    assert not cluster.is_alive("n1")
    assert "interrupt" in nodes["n1"].calls
    assert "interrupt" not in nodes["n2"].calls


async def test_an_output_s_copy_goes_to_a_node_to_avoid_only_if_there_is_no_other(cluster: Cluster) -> None:
    placement, blob_id = ClusterPlacement(cluster, 2), new_id(7)
    chosen = {one.node_id for _ in range(30) for one in placement.copies(blob_id, "n1", 60.0, ("n2",))}
    assert chosen == {"n3"}
    (only,) = placement.copies(blob_id, "n1", 60.0, ("n2", "n3"))
    assert only.node_id in ("n2", "n3")


async def test_failed_call_counts_until_the_next_probe(cluster: Cluster) -> None:
    cluster.failed("n2", NodeUnavailable())
    assert not cluster.is_alive("n2")
    await cluster.probe_now()
    assert cluster.is_alive("n2")
    cluster.failed("no-such-node", NodeUnavailable())


async def test_living_nodes_of_this_machine_come_first_and_dead_ones_last(
    nodes: dict[str, FakeNode], cluster: Cluster
) -> None:
    assert cluster.reading_order(["n2", "n1", "n3"])[0] == "n1"
    nodes["n1"].dead = True
    await cluster.probe_now()
    assert cluster.reading_order(["n1", "n2", "n9"])[0] == "n2"


async def test_list_of_nodes_is_kept_up_to_date(nodes: dict[str, FakeNode], listed: NodeList, cluster: Cluster) -> None:
    nodes["n4"] = FakeNode("n4")
    draining = replace(listed.nodes[1], state=NodeState.DRAINING)
    gone = replace(listed.nodes[2], state=NodeState.GONE)
    listed.nodes = [listed.nodes[0], draining, gone, node_record("n4")]
    await cluster.refresh()
    assert {member.node.node_id for member in cluster.members()} == {"n1", "n2", "n4"}
    assert cluster.is_alive("n4")
    assert sorted(cluster.choose(2)) == ["n1", "n4"]
    assert nodes["n3"].calls == ["close"]
    with pytest.raises(NodeUnavailable):
        cluster.node("n3")


async def test_unknown_node_of_a_blob_is_looked_up_once_in_a_while(
    nodes: dict[str, FakeNode], listed: NodeList, cluster: Cluster
) -> None:
    nodes["n4"] = FakeNode("n4")
    listed.nodes.append(node_record("n4"))
    cluster.clock = LaterClock()
    await cluster.know(["n1", "n4"])
    assert cluster.is_alive("n4")
    asked = listed.asked
    for _ in range(5):
        await cluster.know(["n1", "gone"])
    assert listed.asked == asked


async def test_refreshes_at_once_make_each_node_once(
    nodes: dict[str, FakeNode], listed: NodeList, cluster: Cluster
) -> None:
    nodes["n4"] = FakeNode("n4")
    listed.nodes.append(node_record("n4"))
    await asyncio.gather(*(cluster.refresh() for _ in range(3)))
    listed.nodes.pop()
    await asyncio.gather(*(cluster.refresh() for _ in range(3)))
    assert nodes["n4"].calls.count("close") == 1


async def test_preferred_nodes_are_taken_while_they_can_be_used(cluster: Cluster) -> None:
    assert cluster.choose(2, prefer=["n3", "n1"]) == ["n3", "n1"]
    assert cluster.choose(2, avoid={"n3"}, prefer=["n3", "n1"]) == ["n1", "n2"]
    assert cluster.choose(1, prefer=["n9"])[0] in {"n1", "n2", "n3"}


async def test_peers_get_a_token_for_one_blob(cluster: Cluster) -> None:
    blob_id = "a" * 32
    [source] = cluster.sources(["n2", "unknown"], blob_id)
    now_s = cluster.clock.wall_s()
    assert token.verify(b"k", "GET", token.blob_path(blob_id), source.token, now_s)
    assert not token.verify(b"k", "PUT", token.blob_path(blob_id), source.token, now_s)
    assert not token.verify(b"k", "GET", token.blob_path("b" * 32), source.token, now_s)
    assert not token.verify(b"k", "GET", token.blob_path(blob_id), source.token, now_s + 301)
