"""Who may queue tasks ahead of its lanes, while others have lanes free."""

from jobs.model.wire import Standing
from jobs.scheduler.idle_first import IdleFirst
from jobs.scheduler.queues import Queues
from jobs.scheduler.wakes import Wakes


def _bench(**lanes: int) -> tuple[IdleFirst, Wakes]:
    queues, polls = Queues(), Wakes()
    for node_id, count in lanes.items():
        queues.polled(node_id, "e", Standing(lanes=count), None)
    return IdleFirst(queues, polls), polls


def test_a_node_takes_no_more_than_its_lanes_while_another_one_is_about_to_look() -> None:
    turns, polls = _bench(a=2, b=2)
    polls.enter("b").set()
    assert turns.share("a", 6) == 2
    assert turns.share("a", 1) == 1


def test_a_node_without_free_lanes_looks_again_behind_those_that_have_some() -> None:
    turns, polls = _bench(a=0, b=2)
    waiting, idle = polls.enter("a"), polls.enter("b")
    idle.set()
    with turns.looking("a"):
        assert turns.share("a", 6) == 0
    assert not waiting.is_set(), "or it would look over and over"
    idle.clear()
    with turns.looking("b"):
        assert turns.share("a", 6) == 0
        assert turns.share("b", 6) == 6, "nobody else has a lane free"
    assert waiting.is_set()
    assert turns.share("a", 6) == 6


def test_nodes_that_were_not_woken_or_have_no_free_lane_keep_nobody_from_more() -> None:
    turns, polls = _bench(a=2, b=2, c=0)
    polls.enter("b")
    polls.enter("c").set()
    polls.enter("stranger").set()
    assert turns.share("a", 6) == 6
