"""How things stand in a node's lanes, as it tells a gateway with polls and reports."""

import asyncio
from pathlib import Path

import pytest

from jobs.agent.attempt import Attempt
from jobs.agent.lanes.held import HeldAttempts
from jobs.agent.tasks.ended import Ended
from jobs.model.wire import AttemptRef, LeaseRequest, ReportRequest, Standing, TaskLease
from tests.support.agent import JOB
from tests.support.agent_rig import Rig, rig, rig_on
from tests.support.waiting import eventually

__all__ = ["rig"]


def _ref(lease: TaskLease) -> AttemptRef:
    return AttemptRef(lease.job_id, lease.task_id, lease.attempt)


def _reported(rig: Rig) -> list[Standing]:
    return [one.standing for one in rig.gateway.reported if one.standing is not None]


def _polled(rig: Rig) -> list[Standing]:
    return [one.standing for one in rig.gateway.leases]


def _calls(rig: Rig) -> list[LeaseRequest | ReportRequest]:
    return [*rig.gateway.leases, *rig.gateway.reported]


def _words(rig: Rig) -> list[Standing]:
    return sorted((*_polled(rig), *_reported(rig)), key=lambda word: word.number)


async def test_each_word_has_a_number_and_says_what_was_heard(rig: Rig) -> None:
    spec = rig.gateway.phase("true")
    leases = [await rig.gateway.offer(spec, await rig.input(b"x")) for _ in range(6)]
    await rig.gateway.wait_results(6)
    words = _words(rig)
    assert len({word.number for word in words}) == len(words)
    assert set(words[-1].heard) <= {_ref(lease) for lease in leases}
    assert all(word.heard for word in _reported(rig))
    assert words[0].heard == ()


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
    await eventually(lambda: _words(rig)[-1].queued == () and _words(rig)[-1].jobs == (JOB,))
    (tmp_path / "go").touch()
    (result,) = await rig.gateway.wait_results(1)
    assert result.failure is None


async def test_what_is_handed_back_is_told_as_waiting_until_a_call_names_it(rig: Rig) -> None:
    """The catalog has it as running until then."""
    rig.sandbox.hold_builds, rig.sandbox.held_job = asyncio.Event(), JOB
    spec = rig.gateway.phase("true")
    for _ in range(5):
        await rig.gateway.offer(spec, await rig.input(b"x"))
    await rig.gateway.wait(lambda: any(call.returned for call in _calls(rig)))
    naming = next(call for call in _calls(rig) if call.returned)
    assert naming.standing is not None
    words = [word for word in _words(rig) if word.number <= naming.standing.number]
    first = next(index for index, word in enumerate(words) if word.queued == ((JOB, 0, 5),))
    assert {word.queued for word in words[first:-1]} <= {((JOB, 0, 5),)}
    assert naming.standing.queued == ((JOB, 0, 5 - len(naming.returned)),)
    rig.sandbox.hold_builds.set()
    await rig.gateway.wait_results(5)


async def test_the_room_of_a_task_whose_output_is_being_stored_is_told(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a report without results: a poll may be waiting for it."""
    stored, finish = asyncio.Event(), HeldAttempts.finish

    async def slow_finish(self: HeldAttempts, attempt: Attempt, ended: Ended) -> None:
        await stored.wait()
        await finish(self, attempt, ended)

    monkeypatch.setattr(HeldAttempts, "finish", slow_finish)
    for _ in range(2):
        await rig.gateway.offer(rig.gateway.phase("sleep 0.5"), await rig.input(b"x"))
    await eventually(lambda: _words(rig)[-1].lanes == 0)
    busy = _words(rig)[-1]
    await eventually(
        lambda: any(word.number > busy.number and (word.room or 0) > (busy.room or 0) for word in _reported(rig))
    )
    assert rig.gateway.results == []
    stored.set()
    await rig.gateway.wait_results(2)


async def test_a_node_that_can_only_refuse_tasks_tells_of_no_free_lane(tmp_path: Path) -> None:
    """Or tasks would be kept from able nodes until it has looked for some."""
    async with rig_on(tmp_path, unavailable="no sandbox") as rig:
        await eventually(lambda: bool(_polled(rig)))
        assert {(word.lanes, word.reserve) for word in _words(rig)} == {(0, False)}


async def test_a_gateway_of_an_earlier_build_hears_with_a_poll_of_what_is_handed_back(rig: Rig) -> None:
    """It reads of a report what it knows, and answers well."""
    rig.gateway.takes_back = False
    rig.sandbox.hold_builds, rig.sandbox.held_job = asyncio.Event(), JOB
    spec = rig.gateway.phase("true")
    for _ in range(5):
        await rig.gateway.offer(spec, await rig.input(b"x"))
    await eventually(lambda: any(report.returned for report in rig.gateway.reported))
    told = next(report for report in rig.gateway.reported if report.returned)
    await rig.gateway.wait(lambda: any(set(told.returned) <= set(poll.returned) for poll in rig.gateway.leases))
    rig.sandbox.hold_builds.set()
    await rig.gateway.wait_results(5)
