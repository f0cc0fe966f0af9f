"""Assets on a node: fetched once, kept within bounds, let go when no zone has them; a lost attempt is no failure."""

import asyncio
from pathlib import Path

import pytest

from jobs.agent.furnishing import furnisher, object_cache, scarcity
from jobs.agent.furnishing.object_cache import ObjectCache
from jobs.agent.furnishing.shelf import OverShareError
from jobs.agent.peer_store import PeerStore
from jobs.agent.streams.inputs import ReduceInputs
from jobs.agent.uplink.gateways import Gateways
from jobs.agent.zones import builder
from jobs.model.questions import NamedObject
from jobs.model.wire import InputRef
from manta.core.errors import InsufficientStorage, MantaError
from storage_nodes.disk import space
from tests.support.agent import JOB
from tests.support.agent_rig import Node, Rig, rig, rig_on, storage_node
from tests.support.waiting import eventually

__all__ = ["rig"]


TOOL, OTHER = ("tools", "x.sh"), ("tools", "y.sh")
ALICE, BOB = "alice", "bob"


async def _named(node: Node, data: bytes) -> NamedObject:
    blob_id = await node.put(data)
    return NamedObject(len(data), blob_id, "1" * 32, (node.source(blob_id),))


async def _cache(node: Node, folder: Path) -> ObjectCache:
    cache = ObjectCache(folder / "cache", ReduceInputs("node-1", node.store, PeerStore(), Gateways([])))
    cache.load()
    return cache


async def _ref(node: Node, data: bytes) -> InputRef:
    found = await _named(node, data)
    return InputRef("tools", "x", found.size, found.blob_id, found.sources)


def _files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "cache").iterdir()}


async def test_a_zone_gets_the_assets_of_its_phase(rig: Rig) -> None:
    rig.gateway.objects[TOOL] = await _named(rig.node, b"#!/bin/sh\n")
    for _ in range(3):
        await rig.gateway.offer(rig.gateway.phase("true", assets=(TOOL,)), await rig.input(b"x"))
    results = await rig.gateway.wait_results(3)
    assert [result.failure for result in results] == [None] * 3
    for zone in rig.sandbox.built:
        (file,) = [Path(host) for path, host in zone.assets.items() if path == "/assets/tools/x.sh"]
        assert file.read_bytes() == b"#!/bin/sh\n"
        assert file.stat().st_mode & 0o777 == 0o555
    assert all(request.names == (TOOL,) for request in rig.gateway.objects_asked)


async def test_a_phase_without_assets_asks_for_nothing(rig: Rig) -> None:
    await rig.gateway.offer(rig.gateway.phase("true"), await rig.input(b"x"))
    await rig.gateway.wait_results(1)
    assert rig.gateway.objects_asked == []


async def test_an_attempt_lost_while_its_zone_is_furnished_is_not_a_failure(rig: Rig) -> None:
    """Another zone is built soon, in the name of an attempt that is still this node's."""
    rig.gateway.objects[TOOL] = await _named(rig.node, b"#!/bin/sh\n")
    rig.gateway.objects_stale = 1
    await rig.gateway.offer(rig.gateway.phase("true", assets=(TOOL,)), await rig.input(b"x"))
    (result,) = await rig.gateway.wait_results(1)
    assert result.failure is None
    assert len(rig.gateway.objects_asked) == 2


async def test_a_missing_asset_is_named_to_each_task(rig: Rig) -> None:
    for _ in range(2):
        await rig.gateway.offer(rig.gateway.phase("true", assets=(TOOL,)), await rig.input(b"x"))
    results = await rig.gateway.wait_results(2)
    assert [result.failure and result.failure.code for result in results] == ["TaskInitError"] * 2
    assert all(result.failure and "s3://none" in result.failure.message for result in results)


async def test_an_object_is_fetched_once_for_all_who_want_it(tmp_path: Path) -> None:
    async with storage_node(tmp_path, "node-1") as node:
        cache = await _cache(node, tmp_path)
        ref = await _ref(node, b"x" * 3_000_000)
        files = await asyncio.gather(*(cache.hold(ref, ALICE) for _ in range(8)))
        assert set(files) == {tmp_path / "cache" / str(ref.blob_id)}
        await node.store.delete([str(ref.blob_id)])
        assert (await (await _cache(node, tmp_path)).hold(ref, ALICE)).read_bytes() == b"x" * 3_000_000


async def test_what_cannot_be_fetched_whole_leaves_nothing(tmp_path: Path) -> None:
    async with storage_node(tmp_path, "node-1") as node:
        cache = await _cache(node, tmp_path)
        ref = await _ref(node, b"x" * 1000)
        await node.store.delete([str(ref.blob_id)])
        for _ in range(2):
            with pytest.raises(MantaError, match="No node gave"):
                await cache.hold(ref, ALICE)
        assert _files(tmp_path) == {}
        assert cache.used_bytes == 0


async def test_what_nobody_holds_makes_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(object_cache, "OBJECT_CACHE_MAX_BYTES", 3500)
    async with storage_node(tmp_path, "node-1") as node:
        cache = await _cache(node, tmp_path)
        refs = [await _ref(node, bytes([number]) * 1000) for number in range(4)]
        first, _ = [await cache.hold(ref, who) for ref, who in zip(refs, (ALICE, BOB), strict=False)]
        cache.release(first, ALICE)
        await cache.hold(refs[2], ALICE)
        cache.release(tmp_path / "cache" / str(refs[1].blob_id), BOB)
        await cache.hold(refs[3], BOB)
        assert set(_files(tmp_path)) == {str(ref.blob_id) for ref in refs[1:]}


@pytest.mark.invariant("S5")
async def test_s5_what_an_account_uses_leaves_room_for_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(object_cache, "OBJECT_CACHE_MAX_BYTES", 5000)
    async with storage_node(tmp_path, "node-1") as node:
        cache = await _cache(node, tmp_path)
        refs = [await _ref(node, bytes([number]) * 1000) for number in range(4)]
        first, _ = [await cache.hold(ref, ALICE) for ref in refs[:2]]
        assert await cache.hold(refs[0], ALICE) == first
        with pytest.raises(OverShareError, match="less while others use it"):
            await cache.hold(refs[2], ALICE)
        await cache.hold(refs[2], BOB)
        for _ in range(2):
            cache.release(first, ALICE)
        assert await cache.hold(refs[3], ALICE)


@pytest.mark.invariant("S5")
@pytest.mark.parametrize(("sizes", "says"), [((1000, 1500), "may take"), ((1500,), "less while others")])
async def test_s5_a_task_whose_account_has_no_share_left_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sizes: tuple[int, ...], says: str
) -> None:
    """Another node may have a larger disk: it is tried there."""
    monkeypatch.setattr(object_cache, "OBJECT_CACHE_MAX_BYTES", 4500)
    monkeypatch.setattr(furnisher, "CACHE_PATIENCE_S", 0.0)
    async with rig_on(tmp_path) as rig:
        await _start_with_asset(rig, 1000)
        names = tuple(("tools", f"{number}") for number in range(len(sizes)))
        for name, size in zip(names, sizes, strict=True):
            rig.gateway.objects[name] = await _named(rig.node, bytes(size))
        await rig.gateway.offer(rig.gateway.phase("true", phase=1, assets=names), await rig.input(b"x"))
        (result,) = await rig.gateway.wait_results(1)
        assert result.failure is not None
        assert (result.failure.code, result.failure.retryable) == ("TaskInitError", True)
        assert says in result.failure.message
        await rig.gateway.offer(rig.gateway.phase("true", phase=2, assets=names[:1], tenant=BOB), await rig.input(b"x"))
        assert (await rig.gateway.wait_results(2))[1].failure is None


async def test_a_task_waits_while_idle_zones_of_its_account_keep_the_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(object_cache, "OBJECT_CACHE_MAX_BYTES", 4500)
    monkeypatch.setattr(furnisher, "CACHE_RETRY_S", 0.05)
    async with rig_on(tmp_path) as rig:
        rig.gateway.objects[TOOL] = await _named(rig.node, bytes(1500))
        rig.gateway.objects[OTHER] = await _named(rig.node, bytes(1500))
        await rig.gateway.offer(rig.gateway.phase("true", assets=(TOOL,)), await rig.input(b"x"))
        await rig.gateway.wait_results(1)
        await rig.gateway.offer(rig.gateway.phase("true", phase=1, assets=(OTHER,)), await rig.input(b"x"))
        asked = len(rig.gateway.objects_asked)
        async with asyncio.timeout(10):
            while len(rig.gateway.objects_asked) < asked + 3:
                await asyncio.sleep(0.01)
        monkeypatch.setattr(builder, "ZONE_IDLE_S", 0.0)
        _, late = await rig.gateway.wait_results(2)
        assert late.failure is None


async def _start_with_asset(rig: Rig, size: int) -> None:
    """A task that runs on, with an asset of that size."""
    rig.gateway.objects[TOOL] = await _named(rig.node, bytes(size))
    lease = await rig.gateway.offer(rig.gateway.phase("echo on >&2; sleep 600", assets=(TOOL,)), await rig.input(b"x"))
    async with asyncio.timeout(10):
        while not rig.agent.stderr.read(JOB, lease.task_id).data:
            await asyncio.sleep(0.01)


@pytest.mark.invariant("D6")
async def test_assets_that_are_fetched_at_a_time_leave_the_reserve_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with storage_node(tmp_path, "node-1") as node:
        cache = await _cache(node, tmp_path)
        refs = [await _ref(node, bytes([number]) * 1000) for number in range(3)]
        with monkeypatch.context() as full:
            disk = space.Space(1 << 40, space.reserve_bytes(1 << 40) + 2500)
            full.setattr(space, "measure", lambda _folder: disk)
            held = await asyncio.gather(*(cache.hold(ref, ALICE) for ref in refs), return_exceptions=True)
        assert [isinstance(one, InsufficientStorage) for one in held].count(True) == 1
        assert cache.used_bytes == 2000
        assert len(_files(tmp_path)) == 2
        for ref in refs:
            await cache.hold(ref, ALICE)


async def test_a_full_disk_takes_no_assets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with storage_node(tmp_path, "node-1") as node:
        cache = await _cache(node, tmp_path)
        ref = await _ref(node, b"x" * 1000)
        with monkeypatch.context() as full:
            full.setattr(space, "measure", lambda _folder: space.Space(1 << 40, 1))
            with pytest.raises(InsufficientStorage):
                await cache.hold(ref, ALICE)
        assert cache.used_bytes == 0
        assert (await cache.hold(ref, ALICE)).read_bytes() == b"x" * 1000


@pytest.mark.invariant("D6")
async def test_d6_the_caches_of_a_disk_with_little_room_give_up_what_nobody_uses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only as much as is missing, and what tasks use stays."""
    monkeypatch.setattr(scarcity, "CACHE_LOOK_S", 0.01)
    async with storage_node(tmp_path, "node-1") as node:
        cache = await _cache(node, tmp_path)
        refs = [await _ref(node, bytes([number]) * 1000) for number in range(4)]
        for ref in refs:
            await cache.hold(ref, ALICE)
        for ref in refs[:3]:
            cache.release(tmp_path / "cache" / str(ref.blob_id), ALICE)
        enough = space.reserve_bytes(1 << 30) + (1 << 30 >> 6)
        missing = 1500

        def measure(_folder: str) -> space.Space:
            return space.Space(1 << 30, enough - missing + 4000 - cache.used_bytes)

        with monkeypatch.context() as scarce:
            scarce.setattr(space, "measure", measure)
            yielding = asyncio.create_task(scarcity.yield_when_scarce(tmp_path / "cache", cache))
            await eventually(lambda: len(_files(tmp_path)) == 2)
            assert set(_files(tmp_path)) == {str(ref.blob_id) for ref in refs[2:]}
            missing = 5000
            await eventually(lambda: len(_files(tmp_path)) == 1)
            yielding.cancel()
        assert set(_files(tmp_path)) == {str(refs[3].blob_id)}
        assert cache.used_bytes == 1000


async def test_half_a_file_of_an_earlier_agent_is_removed(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "0123.part").write_bytes(b"half")
    async with storage_node(tmp_path, "node-1") as node:
        await _cache(node, tmp_path)
        assert _files(tmp_path) == {}
