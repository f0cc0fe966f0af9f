"""How many tasks an agent holds ahead: enough that no lane waits for a lease, and none that others could run sooner."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.agent.lanes.pace import Pace
from manta.core.limits import LEASE_BATCH_MAX, PREFETCH_S, WAITING_MAX

_LANES = st.integers(1, 64)
_TIMES = st.floats(0.0, 1e6)
_COUNTS = st.integers(0, 2 * WAITING_MAX)


def _pace(lanes: int, *task_s: float) -> Pace:
    pace = Pace(lanes)
    for one in task_s:
        pace.learn(one)
    return pace


def test_while_nothing_is_known_one_task_is_held_for_each_lane() -> None:
    assert _pace(4).prefetch(0.0) == 4


@pytest.mark.parametrize(("task_s", "held"), [(0.0, WAITING_MAX), (PREFETCH_S, 4), (PREFETCH_S / 2, 8), (60.0, 0)])
def test_what_is_held_is_work_for_a_while(task_s: float, held: int) -> None:
    assert _pace(4, task_s).prefetch(0.0) == held


def test_tasks_that_run_long_already_count_before_the_first_of_them_ends() -> None:
    assert _pace(4).prefetch(60.0) == 0
    assert _pace(4, 0.0).prefetch(60.0) == 0, "whatever those before them took"


def test_what_was_learned_follows_the_tasks() -> None:
    pace = _pace(2, 10.0)
    assert pace.expected_s(0.0) == 10.0
    pace.learn(0.0)
    assert 0.0 < pace.expected_s(0.0) < 10.0
    for _ in range(100):
        pace.learn(0.0)
    assert pace.expected_s(0.0) == pytest.approx(0.0, abs=1e-6)


@given(_LANES, st.lists(_TIMES, max_size=5), _TIMES, _TIMES)
def test_slower_tasks_are_never_held_in_greater_number(lanes: int, known: list[float], one: float, two: float) -> None:
    pace = _pace(lanes, *known)
    assert pace.prefetch(min(one, two)) >= pace.prefetch(max(one, two)) >= 0


@given(_LANES, st.lists(_TIMES, max_size=5), st.integers(0, 64), _COUNTS, _COUNTS, _TIMES)
def test_room_keeps_within_its_limits(
    lanes: int, known: list[float], running: int, waiting: int, blocked: int, running_s: float
) -> None:
    pace = _pace(lanes, *known)
    room = pace.room(running, waiting, min(blocked, waiting), running_s)
    assert 0 <= room <= LEASE_BATCH_MAX
    assert room == 0 or waiting + room <= WAITING_MAX
    assert room == 0 or running + waiting - min(blocked, waiting) + room <= lanes + pace.prefetch(running_s)


@given(_LANES, _TIMES)
def test_lanes_without_tasks_are_filled_whatever_the_pace(lanes: int, task_s: float) -> None:
    assert _pace(lanes, task_s).room(running=0, waiting=0, blocked=0, running_s=0.0) >= lanes


def test_what_is_blocked_leaves_its_place_to_others() -> None:
    pace = _pace(4, 60.0)
    assert pace.room(running=4, waiting=0, blocked=0, running_s=0.0) == 0
    assert pace.room(running=1, waiting=3, blocked=0, running_s=0.0) == 0
    assert pace.room(running=1, waiting=3, blocked=3, running_s=0.0) == 3
