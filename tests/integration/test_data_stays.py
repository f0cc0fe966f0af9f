"""Inputs never cross the network: each node in a network namespace of its own, and the kernel counts (J5)."""

import json
import os
import random
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.cluster import Cluster, cluster
from tests.support.netns import network
from tests.support.waiting import await_condition

NODES = 3
OBJECTS = 18
OBJECT_BYTES = 1024 * 1024

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may make network namespaces")


@pytest.fixture
def shared_path() -> Iterator[Path]:
    """A folder that every user may enter: pytest's own are root's alone."""
    with tempfile.TemporaryDirectory(prefix="manta-test-") as name:
        path = Path(name)
        path.chmod(0o755)
        yield path


def _texts(folder: Path) -> int:
    """Text files of OBJECT_BYTES each; the words in all of them."""
    dice = random.Random(7)
    folder.mkdir()
    words = 0
    for number in range(OBJECTS):
        text = b" ".join(b"%x" % dice.getrandbits(32) for _ in range(130_000))[:OBJECT_BYTES]
        path = folder / f"{number:02d}.txt"
        path.write_bytes(text)
        path.chmod(0o644)
        words += len(text.split())
    folder.chmod(0o755)
    return words


def _served(built: Cluster, *, since: dict[str, float] | None = None) -> tuple[dict[str, int], dict[str, float]]:
    """What each node has sent of its blobs, and how long it had been up then: a later word than that of `since`."""

    def told() -> list[dict[str, Any]]:
        return [json.loads(line) for line in built.manta("nodes", "--json").stdout.splitlines()]

    def is_news(nodes: list[dict[str, Any]]) -> bool:
        known = all(node["status"] is not None for node in nodes)
        return known and all(node["status"]["uptime_s"] > (since or {}).get(node["id"], 0.0) for node in nodes)

    await_condition(lambda: is_news(told()), "what the nodes say next")
    nodes = told()
    return (
        {node["id"]: node["status"]["served_bytes"] for node in nodes},
        {node["id"]: node["status"]["uptime_s"] for node in nodes},
    )


def _status(built: Cluster) -> dict[str, int]:
    listing = built.manta("job", "list", "--json").stdout.splitlines()
    status: dict[str, int] = json.loads(listing[0])
    return status


@needs_root
@pytest.mark.invariant("J5")
def test_a_map_reads_in_place_and_the_interfaces_agree(shared_path: Path) -> None:
    words = _texts(shared_path / "texts")
    with network(NODES + 1) as hosts, cluster(shared_path / "cluster", hosts, copies=2) as built:
        assert built.manta("mb", "s3://texts").returncode == 0
        put = built.manta("put", "-r", str(shared_path / "texts"), "s3://texts/")
        assert put.returncode == 0, put.stderr
        served, told = _served(built)
        before = [host.traffic_bytes() for host in built.nodes]
        run = built.manta("job", "run", "-m", "wc -w", "-r", "awk '{n+=$1} END {print n}'", "s3://texts/")
        moved = [host.traffic_bytes() - start for host, start in zip(built.nodes, before, strict=True)]
        assert (run.returncode, run.stdout) == (0, b"%d\n" % words), run.stderr
        status = _status(built)
        assert status["input_bytes_in_place"] == OBJECTS * OBJECT_BYTES
        assert status["input_bytes_moved"] == 0
        # Control messages and small results only: far less than one input for each node.
        assert max(moved) < OBJECT_BYTES / 2, moved
        served_since, _ = _served(built, since=_served(built, since=told)[1])
        sent = sum(served_since.values()) - sum(served.values())
        assert sent <= len(run.stdout), "the nodes sent the answer to whoever asked for it, and no input to anyone"
        _no_node_can_open_anothers_volume(built)


def _no_node_can_open_anothers_volume(built: Cluster) -> None:
    for number, host in enumerate(built.nodes, 1):
        for other in range(1, NODES + 1):
            listing = host.run(["ls", str(built.folder / f"node-{other}")], {"PATH": os.environ["PATH"]})
            assert (listing.returncode == 0) == (other == number)


@needs_root
@pytest.mark.invariant("J5")
def test_the_counters_would_see_it_if_data_moved(shared_path: Path) -> None:
    """The test above can fail: a GET through the gateway does move the object past a node's interface."""
    with network(NODES + 1) as hosts, cluster(shared_path / "cluster", hosts, copies=1) as built:
        sample = shared_path / "big"
        sample.write_bytes(os.urandom(OBJECT_BYTES))
        sample.chmod(0o644)
        assert built.manta("put", str(sample), "s3://sample/big").returncode == 0
        served, told = _served(built)
        before = sum(host.traffic_bytes() for host in built.nodes)
        answer = built.manta("cat", "s3://sample/big")
        assert answer.stdout == sample.read_bytes()
        assert sum(host.traffic_bytes() for host in built.nodes) - before >= OBJECT_BYTES
        served_since, _ = _served(built, since=_served(built, since=told)[1])
        assert sum(served_since.values()) - sum(served.values()) == OBJECT_BYTES


def test_the_tools_for_namespaces_are_here() -> None:
    """`ip` and `setpriv` are Debian's; without them the tests above would fail for another reason than they say."""
    for tool in ("ip", "setpriv"):
        assert subprocess.run([tool, "--version" if tool == "setpriv" else "-V"], capture_output=True).returncode == 0
