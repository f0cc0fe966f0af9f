"""A node starts no more tasks than its memory, scratch and cpus allow, and lets no task starve for it."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from jobs.model.resources import Capacity
from jobs.model.wire import PhaseSpec
from manta.core.limits import MIB, STARVED_S
from tests.support.agent_rig import Rig, rig_on
from tests.support.waiting import eventually

JOBS = [f"0123456789ab0000000{number}" for number in range(4)]


@pytest_asyncio.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with rig_on(tmp_path, lanes=4, capacity=Capacity(600 * MIB, 1.5)) as rig:
        yield rig


def _waiting(tmp_path: Path, rig: Rig, name: str, **properties: Any) -> PhaseSpec:
    """Tasks that say when they start, and run until there is a file of that name."""
    command = f"echo {name} >> {tmp_path}/started; until [ -e {tmp_path}/{name} ]; do sleep 0.01; done"
    return rig.gateway.phase(command, **properties)


def _started(tmp_path: Path) -> list[str]:
    file = tmp_path / "started"
    return file.read_text().split() if file.exists() else []


@pytest.mark.parametrize(
    "needs",
    [{"memory_bytes": 256 * MIB}, {"scratch_bytes": 300 * MIB}, {"cpus": 0.7}],
    ids=["memory", "scratch", "cpus"],
)
async def test_two_fit_and_the_others_wait(rig: Rig, tmp_path: Path, needs: dict[str, object]) -> None:
    spec = _waiting(tmp_path, rig, "go", **{"memory_bytes": 8 * MIB, "scratch_bytes": MIB, **needs})
    for _ in range(4):
        await rig.gateway.offer(spec, await rig.input(b"x"))
    await eventually(lambda: len(_started(tmp_path)) == 2 and rig.agent.status()["waiting"] == 2)
    assert rig.agent.status()["running"] == 2
    assert all(zone.cpus == needs.get("cpus") for zone in rig.sandbox.built)
    (tmp_path / "go").touch()
    results = await rig.gateway.wait_results(4)
    assert [result.failure for result in results] == [None] * 4


async def test_a_job_that_finds_no_room_is_named_and_others_run_beside_it(rig: Rig, tmp_path: Path) -> None:
    first = _waiting(tmp_path, rig, "first", job=JOBS[0], memory_bytes=500 * MIB, scratch_bytes=MIB)
    for _ in range(2):
        await rig.gateway.offer(first, await rig.input(b"x"))
    await eventually(lambda: _started(tmp_path) == ["first"])
    await rig.gateway.offer(
        rig.gateway.phase("true", job=JOBS[1], memory_bytes=50 * MIB, scratch_bytes=MIB), await rig.input(b"y")
    )
    (result,) = await rig.gateway.wait_results(1)
    assert result.attempt.job_id == JOBS[1]
    await rig.gateway.wait(lambda: JOBS[0] in rig.gateway.leases[-1].standing.blocked_jobs)
    (tmp_path / "first").touch()
    await rig.gateway.wait_results(3)


async def test_a_large_task_is_not_kept_out_by_small_ones(rig: Rig, tmp_path: Path) -> None:
    small = _waiting(tmp_path, rig, "small", job=JOBS[0], memory_bytes=300 * MIB, scratch_bytes=MIB)
    large = _waiting(tmp_path, rig, "large", job=JOBS[1], memory_bytes=600 * MIB, scratch_bytes=MIB)
    later = _waiting(tmp_path, rig, "later", job=JOBS[2], memory_bytes=100 * MIB, scratch_bytes=MIB)
    await rig.gateway.offer(small, await rig.input(b"x"))
    await eventually(lambda: _started(tmp_path) == ["small"])
    await rig.gateway.offer(large, await rig.input(b"y"))
    await eventually(lambda: rig.agent.status()["zones"] == 2 and len(rig.sandbox.open_zones) == 2)
    rig.clock.ahead_s += STARVED_S + 0.1
    await rig.gateway.offer(later, await rig.input(b"z"))
    await eventually(lambda: len(rig.sandbox.open_zones) == 3 and rig.agent.status()["waiting"] == 2)
    for name in ("later", "small"):
        (tmp_path / name).touch()
    await eventually(lambda: len(_started(tmp_path)) == 2)
    assert _started(tmp_path) == ["small", "large"]
    (tmp_path / "large").touch()
    await rig.gateway.wait_results(3)


async def test_what_can_never_run_here_is_refused_and_tried_elsewhere(rig: Rig) -> None:
    await rig.gateway.offer(rig.gateway.phase("true", memory_bytes=601 * MIB), await rig.input(b"x"))
    (result,) = await rig.gateway.wait_results(1)
    assert result.failure is not None
    assert (result.failure.code, result.failure.retryable) == ("TaskInitError", True)
    assert "601 MiB of memory, and the node has 600 MiB" in result.failure.message
