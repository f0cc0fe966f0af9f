"""Which tasks a node leaves to others: those that it can never run, while another one that may can."""

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
        node for node in holders or NODES if capacities.choose_for(node, alive)(_needs(size), holders) is Choice.HERE
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


def test_what_has_no_room_is_kept_for_a_node_that_could_begin_it() -> None:
    queues = Queues()
    capacities = Capacities(queues)
    choose = capacities.choose_for("n1", {"n1", "n2"})
    both = ("n1", "n2")
    _node(queues, "n1", 3, lanes=1)
    _node(queues, "n2", 0)
    assert choose(_needs(1), both) is Choice.HERE
    assert choose(_needs(2), both) is Choice.HERE, "the other has no lane"
    assert capacities.choose_for("n1", {"n1", "n2"}, to_begin=True)(_needs(2), both) is Choice.LATER
    for free in ({"lanes": 1}, {"reserve": True}):
        queues.forget_all_but({"n1": "e"})
        _node(queues, "n2", 0, **free)
        assert choose(_needs(2), both) is Choice.LATER
        assert choose(_needs(2), ("n1",)) is Choice.HERE, "the other may not run it"
        assert capacities.choose_for("n1", {"n1"})(_needs(2), both) is Choice.HERE, "the other is dead"
    queues.forget_all_but({"n1": "e"})
    _node(queues, "n2", 3, lanes=1)
    assert choose(_needs(2), both) is Choice.HERE, "the other has no room either"


def test_the_dead_are_forgotten() -> None:
    capacities = Capacities(Queues())
    capacities.note("n1", Capacity(MIB, 1.0))
    capacities.note("n2", Capacity(4 * MIB, 1.0))
    assert capacities.choose_for("n1", {"n1", "n2"})(_needs(2), ()) is Choice.ELSEWHERE
    capacities.forget_all_but({"n1"})
    assert capacities.choose_for("n1", {"n1", "n2"})(_needs(2), ()) is Choice.HERE
