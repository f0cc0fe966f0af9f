"""How things stand in a node's lanes, as it tells a gateway with polls and reports."""

import asyncio
from pathlib import Path

from jobs.model.wire import AttemptRef, Standing, TaskLease
from tests.support.agent import JOB
from tests.support.agent_rig import Rig, rig
from tests.support.waiting import eventually

__all__ = ["rig"]


def _ref(lease: TaskLease) -> AttemptRef:
    return AttemptRef(lease.job_id, lease.task_id, lease.attempt)


def _reported(rig: Rig) -> list[Standing]:
    return [one.standing for one in rig.gateway.reported if one.standing is not None]


def _polled(rig: Rig) -> list[Standing]:
    return [one.standing for one in rig.gateway.leases]


async def test_each_word_has_a_number_and_says_what_was_heard(rig: Rig) -> None:
    spec = rig.gateway.phase("true")
    leases = [await rig.gateway.offer(spec, await rig.input(b"x")) for _ in range(6)]
    await rig.gateway.wait_results(6)
    words = [*_polled(rig), *_reported(rig)]
    assert len({word.number for word in words}) == len(words)
    newest = max(words, key=lambda word: word.number)
    assert set(newest.heard) <= {_ref(lease) for lease in leases}
    assert all(word.heard for word in _reported(rig))
    assert min(words, key=lambda word: word.number).heard == ()


async def test_a_report_tells_what_is_left_once_its_tasks_have_ended(rig: Rig, tmp_path: Path) -> None:
    spec = rig.gateway.phase(f"read name; until [ -e {tmp_path}/$name ]; do sleep 0.01; done")
    for name in ("first", "second"):
        await rig.gateway.offer(spec, await rig.input(f"{name}\n".encode()))
    await eventually(lambda: rig.agent.status()["running"] == 2)
    for lanes, name in enumerate(("first", "second"), 1):
        (tmp_path / name).touch()
        await rig.gateway.wait_results(lanes)
        told = next(one for one in reversed(rig.gateway.reported) if one.results).standing
        assert told is not None
        assert (told.lanes, told.queued, told.jobs) == (lanes, (), (JOB,) if lanes == 1 else ())


async def test_a_task_whose_zone_takes_long_to_build_is_told_as_waiting_and_as_running_once_it_begins(
    rig: Rig, tmp_path: Path
) -> None:
    """Although no poll and no result has anything to tell."""
    rig.sandbox.hold_builds, rig.sandbox.held_job = asyncio.Event(), JOB
    command = f"while ! [ -e {tmp_path}/go ]; do sleep 0.01; done"
    await rig.gateway.offer(rig.gateway.phase(command), await rig.input(b"x"))
    await eventually(lambda: any(word.queued == ((JOB, 0, 1),) for word in _reported(rig)))
    rig.sandbox.hold_builds.set()
    await eventually(lambda: _reported(rig)[-1].queued == () and _reported(rig)[-1].jobs == (JOB,))
    (tmp_path / "go").touch()
    (result,) = await rig.gateway.wait_results(1)
    assert result.failure is None
