"""Which tasks a node leaves to others: those that it can never run, while another one that may can."""

from hypothesis import given
from hypothesis import strategies as st

from jobs.model.resources import Capacity
from jobs.model.wire import PhaseSpec, TaskKind
from jobs.scheduler.capacities import Capacities
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
    capacities = Capacities()
    for node_id, capacity in known.items():
        capacities.note(node_id, capacity)
    takers = {node for node in holders or NODES if not capacities.left_by(node, alive)(_needs(size), holders)}
    assert takers & alive or not alive & set(holders or NODES)
    fitting = {node for node in known if known[node].memory_bytes >= size * MIB}
    for node in set(holders or NODES) - takers:
        assert node not in fitting
        assert (fitting & alive & set(holders or NODES)) - {node}


def test_the_dead_are_forgotten() -> None:
    capacities = Capacities()
    capacities.note("n1", Capacity(MIB, 1.0))
    capacities.note("n2", Capacity(4 * MIB, 1.0))
    assert capacities.left_by("n1", {"n1", "n2"})(_needs(2), ())
    capacities.forget_all_but({"n1"})
    assert not capacities.left_by("n1", {"n1", "n2"})(_needs(2), ())
