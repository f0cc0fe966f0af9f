"""A task that waits on its node for a lane is not told as running."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.model.document import parse_document
from jobs.model.resources import Capacity, Room, Used
from jobs.model.wire import TaskKind
from jobs.scheduler.queues import Queues
from manta.catalog.job_records import JobView, PhaseView
from manta.core.limits import GIB, MIB

_NEEDS = Used(5 * GIB, MIB)
_PLAN = parse_document(b'{"phases": [{"type": "map", "exec": "wc"}], "inputs": []}').plan


def _view(ready: int, running: int) -> JobView:
    tasks = {"waiting": 0, "ready": ready, "running": running, "committed": 5, "failed": 0, "cancelled": 0}
    phases = (PhaseView(TaskKind.MAP, "wc", tasks, True),)
    return JobView("j", "alice", "", "running", 1, None, True, None, _PLAN, phases, 9, 0, 0, 0, 0, 0, 0, 0.0, 0)


@given(st.integers(0, 99), st.integers(0, 99), st.lists(st.integers(-3, 99), max_size=4))
def test_what_waits_on_nodes_is_ready(ready: int, running: int, queued: Sequence[int]) -> None:
    queues = Queues()
    for number, count in enumerate(queued):
        queues.note(f"n{number}", [("j", 0, count), ("other", 0, 50), ("j", 1, 50)], 0)
    view = _view(ready, running)
    shown = queues.as_started(view).phases[0].tasks
    waiting = sum(max(0, count) for count in queued)
    assert shown["running"] == max(0, running - waiting)
    assert shown["ready"] + shown["running"] == ready + running
    assert shown["committed"] == 5
    for number in range(len(queued)):
        queues.forget(f"n{number}")
    assert queues.as_started(view) is view


def _told(queues: Queues, running: int) -> int:
    return queues.as_started(_view(0, running)).phases[0].tasks["running"]


def test_of_the_tasks_that_a_node_gets_those_beyond_its_idle_lanes_wait() -> None:
    queues = Queues()
    queues.note("n", [], 0)
    queues.granted("n", [("j", 0, 1, _NEEDS)] * 5, 2, [], 1, Room(None, Used()))
    assert _told(queues, 5) == 2
    queues.granted("n", [("j", 0, 10, _NEEDS)], 0, ["j"], 1, Room(None, Used()))
    assert _told(queues, 15) == 2, "of a batch every input waits"
    queues.note("n", [("j", 0, 1)], 0)
    assert _told(queues, 3) == 2, "the node's own word is what counts"


def test_of_those_that_have_a_lane_the_ones_without_room_wait() -> None:
    queues = Queues()
    capacity, none = Capacity(7 * GIB, 4.0), Used()
    queues.granted("n", [("j", 0, 1, _NEEDS)] * 3, 2, [], 1, Room(capacity, none))
    assert _told(queues, 3) == 1
    queues.note("n", [("j", 0, 2)], 0)
    queues.granted("n", [("j", 0, 1, _NEEDS)], 1, ["j"], 1, Room(capacity, none.beside(_NEEDS)))
    assert _told(queues, 4) == 1, "beside what runs there"
    two_cpus = Used(MIB, MIB, 2.0)
    queues.granted("m", [("j", 0, 1, two_cpus)] * 5, 5, [], 0, Room(capacity, none))
    assert _told(queues, 9) == 3, "cpus are room too"
    queues.note("m", [], 0)
    queues.granted("m", [("j", 0, 1, _NEEDS), ("j", 1, 1, two_cpus)], 0, [], 1, Room(capacity, none.beside(_NEEDS)))
    assert _told(queues, 5) == 1, "the lane in reserve needs room as any other"


def test_a_lane_that_finds_no_room_for_one_is_the_next_ones() -> None:
    queues = Queues()
    room = Room(Capacity(7 * GIB, 4.0), Used())
    small = Used(GIB, MIB)
    queues.granted("n", [("other", 0, 1, _NEEDS)] * 2 + [("j", 0, 1, small)] * 3, 3, [], 1, room)
    assert _told(queues, 3) == 2
    assert room.used == Used(7 * GIB, 3 * MIB, 0.0)


def test_a_lane_that_comes_free_is_taken_by_what_waits_there() -> None:
    queues = Queues()
    queues.note("n", [("other", 0, 3), ("j", 0, 4)], 0)
    queues.ended("n", "j", 0, 1)
    assert _told(queues, 5) == 2
    queues.ended("n", "third", 0, 1)
    assert _told(queues, 5) == 2, "of another job, the first in the row"
    for _ in range(9):
        queues.ended("n", "j", 0, 1)
    assert _told(queues, 5) == 5
    queues.ended("unheard", "j", 0, 1)


def test_a_task_that_had_left_its_lane_before_the_nodes_word_frees_none() -> None:
    queues = Queues()
    queues.note("n", [("j", 0, 4)], 2)
    for count in (1, 2):
        queues.ended("n", "j", 0, count)
    assert _told(queues, 6) == 3, "one of the three left its lane since"
    queues.note("n", [], 5)
    queues.forget("n")
    queues.granted("n", [("j", 0, 1, _NEEDS)] * 2, 0, [], 0, Room(None, Used()))
    queues.ended("n", "j", 0, 1)
    assert _told(queues, 6) == 5


def test_one_task_of_a_job_that_has_none_running_gets_the_lane_in_reserve() -> None:
    queues = Queues()
    queues.granted(
        "n",
        [("other", 0, 1, _NEEDS), ("j", 0, 1, _NEEDS), ("j", 0, 1, _NEEDS), ("third", 0, 1, _NEEDS)],
        1,
        [],
        1,
        Room(None, Used()),
    )
    assert _told(queues, 2) == 1
    assert _told(queues, 3) == 2
    queues.note("n", [], 0)
    queues.granted("n", [("j", 0, 1, _NEEDS)] * 2, 0, ["j"], 1, Room(None, Used()))
    assert _told(queues, 3) == 1, "it has one running"
    queues.note("n", [("j", 0, 2)], 0)
    queues.granted("n", [("j", 0, 1, _NEEDS)], 0, [], 1, Room(None, Used()))
    assert _told(queues, 3) == 0, "what waits there already has it before"


@pytest.mark.parametrize("polled", [True, False], ids=["by the reserve's poll", "by an ordinary poll"])
def test_no_other_job_takes_the_lane_in_reserve_when_it_comes_free(*, polled: bool) -> None:
    queues = Queues()
    for number in range(5):
        queues.note("n", [("j", 0, 20)], 0, {"j", "small0"})
        if polled:
            queues.reserve("n", f"small{number}")
        else:
            queues.granted("n", [(f"small{number}", 0, 1, _NEEDS)], 0, ["j"], 1, Room(None, Used()))
        queues.granted("n", [(f"small{number}", 0, 1, _NEEDS)], 0, ["j", f"small{number}"], 0, Room(None, Used()))
        for _ in range(2):
            queues.ended("n", f"small{number}", 0, 1)
    assert _told(queues, 22) == 2
    queues.note("n", [("j", 0, 20)], 0, {"j"})
    queues.ended("n", "small0", 0, 1)
    assert _told(queues, 22) == 3, "the node has let go of it since: this one had a lane of its own"


_EVENTS = st.one_of(
    st.tuples(st.just("grant"), st.integers(1, 6)),
    st.tuples(st.just("end"), st.just(0)),
    st.tuples(st.just("report"), st.integers(1, 4)),
    st.tuples(st.just("poll"), st.just(0)),
)


@given(st.integers(1, 4), st.lists(_EVENTS, max_size=60))
def test_one_job_alone_is_never_told_as_running_on_more_lanes_than_there_are(
    lanes: int, events: Sequence[tuple[str, int]]
) -> None:
    """A node that reports late, and polls when it likes: what is told is right after each of its words."""
    queues, waiting, running, over = Queues(), 0, 0, 0
    for event, count in events:
        if event == "grant":
            queues.note("n", [("j", 0, waiting)], over)
            queues.granted("n", [("j", 0, 1, _NEEDS)] * count, lanes - running, ["j"] * running, 1, Room(None, Used()))
            waiting += count
        elif event == "end" and running:
            running, over = running - 1, over + 1
        elif event == "report":
            for _ in range(min(count, over)):
                queues.ended("n", "j", 0, 1)
                over -= 1
        elif event == "poll":
            queues.note("n", [("j", 0, waiting)], over)
        begun = min(lanes - running, waiting)
        waiting, running = waiting - begun, running + begun
        told = _told(queues, waiting + running + over)
        assert running <= told + over
        assert told <= running + over
