"""A task that waits on its node for a lane is not told as running."""

from collections.abc import Sequence
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.model.document import parse_document
from jobs.model.resources import Capacity, Used
from jobs.model.wire import AttemptRef, Standing, TaskKind
from jobs.scheduler.queues import Given, Queues
from manta.catalog.job_records import JobView, PhaseView
from manta.core.limits import GIB, MIB

_NEEDS = Used(5 * GIB, MIB)
_PLAN = parse_document(b'{"phases": [{"type": "map", "exec": "wc"}], "inputs": []}').plan
_numbers = count(1)


def _view(ready: int, running: int) -> JobView:
    tasks = {"waiting": 0, "ready": ready, "running": running, "committed": 5, "failed": 0, "cancelled": 0}
    phases = (PhaseView(TaskKind.MAP, "wc", tasks, True),)
    return JobView("j", "alice", "", "running", 1, None, True, None, _PLAN, phases, 9, 0, 0, 0, 0, 0, 0, 0.0, 0)


def _given(job_id: str = "j", phase: int = 0, weight: int = 1, needs: Used = _NEEDS) -> Given:
    return Given(AttemptRef(job_id, next(_numbers), 1), phase, weight, needs)


def _told(queues: Queues, running: int) -> int:
    return queues.as_started(_view(0, running)).phases[0].tasks["running"]


def _told_of(tasks: Sequence[Given], standing: Standing, capacity: Capacity | None = None) -> int:
    """How many of those are told as running that a node with such a standing is given."""
    queues = Queues()
    queues.polled("n", "e", standing, capacity)
    queues.granted("n", tasks)
    return _told(queues, sum(one.weight for one in tasks))


@given(st.integers(0, 99), st.integers(0, 99), st.lists(st.integers(-3, 99), max_size=4))
def test_what_waits_on_nodes_is_ready(ready: int, running: int, queued: Sequence[int]) -> None:
    queues = Queues()
    for number, waiting in enumerate(queued):
        standing = Standing((("j", 0, waiting), ("other", 0, 50), ("j", 1, 50)))
        queues.polled(f"n{number}", "e", standing, None)
    view = _view(ready, running)
    shown = queues.as_started(view).phases[0].tasks
    assert shown["running"] == max(0, running - sum(max(0, waiting) for waiting in queued))
    assert shown["ready"] + shown["running"] == ready + running
    assert shown["committed"] == 5
    queues.forget_all_but({"n0": "other"})
    assert queues.as_started(view) is view


def test_of_the_tasks_that_a_node_gets_those_beyond_its_free_lanes_wait() -> None:
    assert _told_of([_given() for _ in range(5)], Standing(lanes=2, reserve=True)) == 2
    assert _told_of([_given(weight=10)], Standing(jobs=("j",), reserve=True)) == 0, "of a batch every input waits"


def test_of_those_that_have_a_lane_the_ones_without_room_wait() -> None:
    capacity, two_cpus = Capacity(7 * GIB, 4.0), Used(MIB, MIB, 2.0)
    assert _told_of([_given() for _ in range(3)], Standing(lanes=2, reserve=True), capacity) == 1
    beside = Standing(used=Used().beside(_NEEDS), lanes=1, reserve=True, jobs=("j",))
    assert _told_of([_given()], beside, capacity) == 0, "beside what runs there"
    assert _told_of([_given(needs=two_cpus) for _ in range(5)], Standing(lanes=5), capacity) == 2, "cpus as well"
    beside = Standing(used=Used().beside(_NEEDS), reserve=True)
    assert _told_of([_given()], beside, capacity) == 0, "the lane in reserve needs room as any other"
    assert _told_of([_given(needs=two_cpus)], beside, capacity) == 1


def test_a_lane_that_finds_no_room_for_one_is_the_next_ones() -> None:
    capacity, small = Capacity(7 * GIB, 4.0), Used(GIB, MIB)
    tasks = [_given("other"), _given("other"), *(_given(needs=small) for _ in range(3))]
    queues = Queues()
    queues.polled("n", "e", Standing(lanes=3, reserve=True), capacity)
    queues.granted("n", tasks)
    assert _told(queues, 3) == 2


@pytest.mark.parametrize(
    ("jobs", "before", "told"),
    [((), "other", 1), (("j",), "other", 0), ((), "j", 0)],
    ids=["none runs", "one runs", "one waits before"],
)
def test_one_task_of_a_job_that_has_none_running_gets_the_lane_in_reserve(
    jobs: tuple[str, ...], before: str, told: int
) -> None:
    standing = Standing(queued=((before, 0, 2),), jobs=jobs, reserve=True)
    queues = Queues()
    queues.polled("n", "e", standing, None)
    queues.granted("n", [_given(), _given(), _given("third")])
    assert _told(queues, 2 + 2 * (before == "j")) == told


def test_a_report_tells_what_took_the_lanes_that_came_free() -> None:
    """Whatever that is: the node alone knows."""
    queues = Queues()
    queues.polled("n", "e", Standing((("other", 0, 3), ("j", 0, 4)), number=1), None)
    assert _told(queues, 5) == 1
    queues.reported("n", "e", Standing((("other", 0, 2), ("j", 0, 4)), number=2))
    assert _told(queues, 4) == 0, "a task of another job has the lane of this one's"
    queues.reported("n", "e", Standing((("other", 0, 2), ("j", 0, 2)), number=3))
    assert _told(queues, 4) == 2
    queues.reported("unheard", "e", Standing((("j", 0, 2),), number=4))
    assert _told(queues, 4) == 2


def test_of_two_words_the_newer_one_counts_whichever_comes_first() -> None:
    queues = Queues()
    queues.polled("n", "e", Standing((("j", 0, 2),), number=5), None)
    queues.reported("n", "e", Standing((("j", 0, 4),), number=4))
    assert _told(queues, 4) == 2
    queues.reported("n", "e", Standing((("j", 0, 1),), number=7))
    queues.polled("n", "e", Standing((("j", 0, 2),), number=6), None)
    assert _told(queues, 4) == 3
    queues.reported("n", "older", Standing((("j", 0, 4),), number=9))
    assert _told(queues, 4) == 3, "an agent that is no more"
    queues.polled("n", "newer", Standing(number=1), None)
    assert _told(queues, 4) == 4


def test_what_is_underway_counts_beside_a_report_that_does_not_know_of_it() -> None:
    queues = Queues()
    queues.polled("n", "e", Standing(number=1), None)
    tasks = [_given() for _ in range(3)]
    queues.granted("n", tasks)
    assert _told(queues, 3) == 0
    queues.reported("n", "e", Standing(lanes=1, number=2))
    assert _told(queues, 3) == 1, "one of them has the lane that came free"
    queues.reported("n", "e", Standing((("j", 0, 1),), heard=(tasks[0].ref,), number=3))
    assert _told(queues, 3) == 2, "the node's own word"
    queues.granted("n", tasks)
    queues.polled("n", "e", Standing((("j", 0, 1),), number=4), None)
    assert _told(queues, 3) == 2, "a poll comes after our answer was heard, or was lost"


def test_what_the_lane_in_reserve_was_given_waits_where_it_finds_no_room() -> None:
    queues, capacity, full = Queues(), Capacity(7 * GIB, 4.0), Used().beside(_NEEDS)
    queues.polled("n", "e", Standing(reserve=True), capacity, reserve=True)
    queues.granted("n", [_given()], reserve=True)
    assert _told(queues, 1) == 1, "of this node nothing is known yet"
    queues.polled("n", "e", Standing(used=full, reserve=True, jobs=("other",), number=1), capacity)
    given = _given()
    queues.granted("n", [given], reserve=True)
    assert _told(queues, 1) == 0
    queues.polled("n", "e", Standing(reserve=True, jobs=("other",), number=2), capacity)
    assert _told(queues, 1) == 1, "an ordinary poll may not know of it yet"
    queues.granted("n", [_given()])
    assert _told(queues, 2) == 1
    queues.reported("n", "e", Standing((("j", 0, 1),), heard=(given.ref,), number=3))
    assert _told(queues, 3) == 1
    queues.polled("n", "e", Standing((("j", 0, 1),), number=4), capacity)
    queues.granted("n", [_given()], reserve=True)
    queues.polled("n", "e", Standing(number=5), capacity, reserve=True)
    assert _told(queues, 3) == 3


def test_jobs_of_which_nothing_more_is_wanted_are_as_the_newest_word_has_them() -> None:
    queues = Queues()
    assert queues.blocked_jobs("n") == ()
    assert not queues.polled("n", "e", Standing(blocked_jobs=("a", "b"), number=1), None)
    assert queues.blocked_jobs("n") == ("a", "b")
    assert not queues.reported("n", "e", Standing(blocked_jobs=("a", "b", "c"), number=2))
    assert queues.reported("n", "e", Standing(blocked_jobs=("b",), number=3)), "a is wanted again"
    assert queues.blocked_jobs("n") == ("b",)
    assert not queues.reported("n", "e", Standing(number=2))
    assert queues.blocked_jobs("n") == ("b",)
    assert queues.polled("n", "e", Standing(number=4), None, reserve=True), "an ordinary poll may wait meanwhile"


def test_a_poll_that_did_not_think_of_a_blocked_job_gets_no_more_than_there_is_room_for_now() -> None:
    queues = Queues()
    assert queues.room("n", 8) == 8
    queues.polled("n", "e", Standing(room=8, blocked_jobs=("j",), number=1), None)
    assert queues.reported("n", "e", Standing(room=3, number=2))
    assert queues.room("n", 8) == 3
    assert queues.reported("n", "e", Standing(room=9, number=3))
    assert queues.room("n", 8) == 8


def test_room_is_no_news_to_a_poll_that_has_thought_of_all_there_is() -> None:
    queues = Queues()
    queues.polled("n", "e", Standing(room=8, number=1), None)
    assert not queues.reported("n", "e", Standing(room=3, number=2))
    assert queues.room("n", 8) == 8
    assert not queues.reported("n", "e", Standing(room=9, number=3))
    assert queues.room("n", 8) == 9, "a task has ended since"


def test_a_node_that_is_gone_or_began_anew_hides_nothing() -> None:
    queues = Queues()
    for node, epoch in (("alive", "e"), ("anew", "older"), ("gone", "e")):
        queues.polled(node, epoch, Standing((("j", 0, 1),)), None)
    assert _told(queues, 3) == 0
    queues.forget_all_but({"alive": "e", "anew": "newer"})
    assert _told(queues, 3) == 2


_EVENTS = st.one_of(
    st.tuples(st.just("ask"), st.integers(1, 6)), st.tuples(st.sampled_from(["hear", "end", "report"]), st.just(0))
)


@given(st.integers(1, 4), st.lists(_EVENTS, max_size=60))
def test_one_job_alone_is_never_told_as_running_on_more_lanes_than_there_are(
    lanes: int, events: Sequence[tuple[str, int]]
) -> None:
    """A node that polls and reports when it likes, and hears late; exact with each report."""
    queues, waiting, running, over = Queues(), 0, 0, 0
    heard: tuple[AttemptRef, ...] = ()
    answer: list[Given] = []
    queues.polled("n", "e", Standing(lanes=lanes), None)
    for number, (event, more) in enumerate(events, 1):
        standing = Standing((("j", 0, waiting),), Used(), lanes - running, jobs=("j",), heard=heard, number=number)
        if event == "ask" and not answer:
            queues.polled("n", "e", standing, None)
            answer = [_given() for _ in range(more)]
            queues.granted("n", answer)
        elif event == "hear" and answer:
            heard, waiting, answer = (answer[0].ref,), waiting + len(answer), []
        elif event == "end" and running:
            running, over = running - 1, over + 1
        elif event == "report":
            queues.reported("n", "e", standing)
            over = 0
        begun = min(lanes - running, waiting)
        waiting, running = waiting - begun, running + begun
        told = _told(queues, waiting + running + over + len(answer))
        assert running <= told <= lanes + over
        if event == "report":
            assert told == running + min(lanes - running, len(answer))
