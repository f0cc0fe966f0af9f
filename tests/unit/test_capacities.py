"""Which tasks a node leaves to others: those that it can never run, while another one that may can."""

from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from jobs.model.resources import Capacity, Used
from jobs.model.wire import PhaseSpec, Standing, TaskKind
from jobs.scheduler.capacities import Capacities
from jobs.scheduler.queues import Queues
from manta.catalog.job_records import Choice
from manta.core.limits import MIB

NODES = ("n1", "n2", "n3")
SIZES = st.integers(1, 4)
CAPACITIES = st.dictionaries(st.sampled_from(NODES), st.builds(lambda size: Capacity(size * MIB, 1.0), SIZES))


def _needs(size: int) -> PhaseSpec:
    return PhaseSpec("job", 0, "alice", TaskKind.MAP, "true", None, size * MIB, MIB, 1.0, {}, 1)


@given(CAPACITIES, st.sets(st.sampled_from(NODES)), st.lists(st.sampled_from(NODES), unique=True), SIZES)
def test_a_task_is_left_to_others_only_if_one_of_them_takes_it(
    known: dict[str, Capacity], alive: set[str], holders: list[str], size: int
) -> None:
    capacities = Capacities(Queues())
    for node_id, capacity in known.items():
        capacities.note(node_id, capacity)
    takers = {
        node
        for node in holders or NODES
        if capacities.choose_for(node, alive)(_needs(size), holders, False) is Choice.HERE
    }
    assert takers & alive or not alive & set(holders or NODES)
    fitting = {node for node in known if known[node].memory_bytes >= size * MIB}
    for node in set(holders or NODES) - takers:
        assert node not in fitting
        assert (fitting & alive & set(holders or NODES)) - {node}


def _node(queues: Queues, node_id: str, used: int, **standing: Any) -> None:
    """With 4 MiB, of which so many are used."""
    word = Standing(used=Used(memory_bytes=used * MIB), number=1, **standing)
    queues.polled(node_id, "e", word, Capacity(4 * MIB, 1.0))


class _Two:
    """Nodes n1, where a task of 2 MiB finds no room just now, and n2."""

    def __init__(self) -> None:
        self.queues = Queues()
        self.takes_tasks = {"n1": True, "n2": True}
        self.capacities = Capacities(self.queues, self.takes_tasks.__getitem__)
        _node(self.queues, "n1", 3, lanes=1)

    def other(self, used: int = 0, **standing: Any) -> None:
        """How things stand on n2."""
        self.queues.forget_all_but({"n1": "e"})
        _node(self.queues, "n2", used, **standing)

    def choose(
        self, size: int = 2, hosts: Sequence[str] = NODES[:2], *, is_idle: bool = False, **options: Any
    ) -> Choice:
        return self.capacities.choose_for("n1", options.pop("alive", NODES), **options)(_needs(size), hosts, is_idle)


def test_what_has_no_room_is_kept_for_a_node_that_could_begin_it() -> None:
    two = _Two()
    two.other(lanes=1)
    assert two.choose() is Choice.LATER
    assert two.choose(hosts=()) is Choice.LATER
    assert two.choose(1) is Choice.HERE
    assert two.choose(hosts=["n1"]) is Choice.HERE, "the other may not run it"
    assert two.choose(alive=["n1"]) is Choice.HERE, "the other is dead"
    two.takes_tasks["n2"] = False
    assert two.choose() is Choice.HERE, "the other gets no tasks, since its outputs would have no copies"


def test_what_nobody_could_begin_is_taken_to_wait_for_its_room() -> None:
    two = _Two()
    assert two.choose() is Choice.HERE, "the other is not known"
    two.other()
    assert two.choose() is Choice.HERE, "it has no lane"
    assert two.choose(to_begin=True) is Choice.LATER
    two.other(3, lanes=1)
    assert two.choose() is Choice.HERE, "it has no room"


def test_a_lane_in_reserve_is_there_for_a_job_of_which_nothing_runs_alone() -> None:
    """It never takes another task of a job of which something does: that would wait for ever."""
    two = _Two()
    two.other(reserve=True)
    assert two.choose() is Choice.HERE
    assert two.choose(is_idle=True) is Choice.LATER


def test_the_dead_are_forgotten() -> None:
    capacities = Capacities(Queues())
    capacities.note("n1", Capacity(MIB, 1.0))
    capacities.note("n2", Capacity(4 * MIB, 1.0))
    assert capacities.choose_for("n1", {"n1", "n2"})(_needs(2), (), False) is Choice.ELSEWHERE
    capacities.forget_all_but({"n1"})
    assert capacities.choose_for("n1", {"n1", "n2"})(_needs(2), (), False) is Choice.HERE
