"""What moves between nodes is counted where it moves: a map's input that should not, copies of outputs, the rest."""

import os
from pathlib import Path

import pytest
from msgspec import structs

from jobs.model.wire import InputRef, TaskKind, TaskResult
from manta.core.limits import SMALL_BLOB_BYTES
from tests.support.agent_rig import Node, Rig, rig, storage_node

__all__ = ["rig"]


class HealingStore:
    """A node that fetches what it should hold already: what no agent of ours does, so that its count can be seen."""

    def __init__(self, rig: Rig, other: Node) -> None:
        self._rig = rig
        self._other = other
        self._checked = rig.node.store.checked

    async def checked(self, blob_id: str, size: int) -> str:
        if not self._rig.node.holds(blob_id):
            reader = await self._rig.agent.peers.open_get(self._other.source(blob_id), blob_id, 0, size)
            writer = await self._rig.node.store.open_put(blob_id, size)
            while data := await reader.read():
                await writer.write(data)
            await reader.close()
            await writer.commit()
        return await self._checked(blob_id, size)


@pytest.mark.invariant("J5")
@pytest.mark.parametrize("size", [1000, 3 * SMALL_BLOB_BYTES])
async def test_a_maps_input_that_came_from_another_node_is_counted(
    rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    async with storage_node(tmp_path, "node-2") as other:
        blob_id = await other.put(os.urandom(size))
        monkeypatch.setattr(rig.node.store, "checked", HealingStore(rig, other).checked)
        await rig.gateway.offer(rig.gateway.phase("wc -c"), InputRef("library", "far", size, blob_id))
        await rig.gateway.offer(rig.gateway.phase("wc -c"), await rig.input(b"near"))
        results = await rig.gateway.wait_results(2)
    assert sorted(result.usage.moved_bytes for result in results) == [0, size]
    assert [result.failure for result in results] == [None, None]
    assert (rig.agent.counters.moved_bytes, rig.agent.counters.peer_read_bytes) == (size, size)


@pytest.mark.invariant("J5")
async def test_inputs_of_a_batch_that_came_from_another_node_are_counted(
    rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with storage_node(tmp_path, "node-2") as other:
        far = [InputRef("library", f"far/{size}", size, await other.put(os.urandom(size))) for size in (100, 23)]
        monkeypatch.setattr(rig.node.store, "checked", HealingStore(rig, other).checked)
        await rig.gateway.offer(rig.gateway.phase("wc -c"), batch=[far[0], await rig.input(b"near"), far[1]])
        (result,) = await rig.gateway.wait_results(1)
    assert (result.usage.moved_bytes, rig.agent.counters.moved_bytes) == (123, 123)


async def test_what_a_reducer_reads_is_no_map_input(rig: Rig, tmp_path: Path) -> None:
    """Also of an object that no map task has."""
    data = os.urandom(5000)
    async with storage_node(tmp_path, "node-2") as other:
        blob_id = await other.put(data)
        rig.gateway.inputs[5] = [InputRef("job", "x", len(data), blob_id, (other.source(blob_id),))]
        await rig.gateway.offer(rig.gateway.phase("cat", kind=TaskKind.REDUCE), task=5)
        (result,) = await rig.gateway.wait_results(1)
        assert other.storage.board.served_bytes == len(data)
    assert (result.usage.moved_bytes, result.usage.shuffled_bytes) == (0, len(data))
    counters = rig.agent.counters
    assert (counters.moved_bytes, counters.shuffled_bytes, counters.peer_read_bytes) == (0, len(data), len(data))


async def test_what_further_nodes_were_sent_of_an_output_is_counted(rig: Rig, tmp_path: Path) -> None:
    """Small and whole, large and in a stream; nothing for an empty one."""
    sizes = [9, 3 * SMALL_BLOB_BYTES, 0]
    async with storage_node(tmp_path, "node-2") as second, storage_node(tmp_path, "node-3") as third:
        rig.gateway.copies = lambda blob_id: (second.source(blob_id, "PUT"), third.source(blob_id, "PUT"))
        for number, size in enumerate(sizes):
            spec = rig.gateway.phase(f"head -c {size} /dev/zero", phase=number)
            await rig.gateway.offer(spec, await rig.input(b"x"))
        results = await rig.gateway.wait_results(len(sizes))
    assert sorted(result.usage.copied_bytes for result in results) == sorted(2 * size for size in sizes)
    assert rig.agent.counters.copied_bytes == 2 * sum(sizes)


async def test_copies_of_a_batch_are_counted_together(rig: Rig, tmp_path: Path) -> None:
    async with storage_node(tmp_path, "node-2") as second:
        rig.gateway.copies = lambda blob_id: (second.source(blob_id, "PUT"),)
        inputs = [await rig.input(text) for text in (b"one", b"", b"three")]
        await rig.gateway.offer(rig.gateway.phase("cat"), batch=inputs)
        (result,) = await rig.gateway.wait_results(1)
    assert [one.usage.copied_bytes for one in (*result.members, result)] == [3, 0, 5, 8]


async def test_what_goes_with_the_report_is_sent_to_no_node(rig: Rig, tmp_path: Path) -> None:
    async with storage_node(tmp_path, "node-2") as second:
        rig.gateway.copies = lambda blob_id: (second.source(blob_id, "PUT"),)
        spec = structs.replace(rig.gateway.phase("cat"), inline_bytes=5)
        rig.gateway.phases[spec.job_id, spec.phase] = spec
        await rig.gateway.offer(spec, await rig.input(b"small"))
        await rig.gateway.offer(spec, await rig.input(b"larger"))
        results: list[TaskResult] = await rig.gateway.wait_results(2)
    assert sorted(result.usage.copied_bytes for result in results) == [0, 6]
