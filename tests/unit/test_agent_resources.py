"""The account of what running tasks were promised: never more than the node has."""

from hypothesis import given
from hypothesis import strategies as st

from jobs.agent.resources import Resources, machine_capacity
from jobs.model.resources import Capacity
from jobs.model.wire import PhaseSpec, TaskKind
from manta.core.limits import MIB, TASK_MEMORY_DEFAULT_BYTES

CAPACITY = Capacity(1000 * MIB, 2.0)


def _phase(memory: int = 1, scratch: int = 1, cpus: float | None = None) -> PhaseSpec:
    return PhaseSpec("job", 0, "alice", TaskKind.MAP, "true", None, memory * MIB, scratch * MIB, 1.0, {}, 1, cpus=cpus)


PHASES = st.builds(_phase, st.integers(1, 700), st.integers(1, 700), st.sampled_from([None, 0.1, 0.5, 1.0, 2.0]))


@given(st.lists(st.tuples(st.booleans(), PHASES), max_size=40))
def test_what_runs_never_exceeds_what_there_is(steps: list[tuple[bool, PhaseSpec]]) -> None:
    resources = Resources(2, CAPACITY)
    running: list[PhaseSpec] = []
    for starts, phase in steps:
        if starts and resources.fits(phase):
            resources.take(phase)
            running.append(phase)
        elif running:
            resources.give_back(running.pop())
        assert sum(one.memory_bytes for one in running) <= CAPACITY.memory_bytes
        assert sum(one.scratch_bytes for one in running) <= CAPACITY.memory_bytes
        assert sum(one.cpus or 0.0 for one in running) <= CAPACITY.cpus + 1e-9
    while running:
        resources.give_back(running.pop())
    assert resources.fits(_phase(1000, 1000, 2.0))


def test_what_fit_beside_sessions_fits_once_all_tasks_have_ended() -> None:
    resources = Resources(2, CAPACITY)
    resources.take(_phase(500))
    with resources.session(_phase(300)):
        assert not resources.fits(_phase(700))
        assert resources.fit_beside_sessions(_phase(700))
        assert not resources.fit_beside_sessions(_phase(701))
    assert resources.fit_beside_sessions(_phase(1000))
    assert resources.fits(_phase(500))


def test_what_can_never_run_is_told_with_the_figures() -> None:
    assert CAPACITY.shortage(_phase(1000, 1000, 2.0)) is None
    assert "1001 MiB of memory, and the node has 1000 MiB" in (CAPACITY.shortage(_phase(1001)) or "")
    assert "1001 MiB of scratch" in (CAPACITY.shortage(_phase(1, 1001)) or "")
    assert "asks for 2.5 cpus, and the node has 2" in (CAPACITY.shortage(_phase(1, 1, 2.5)) or "")


def test_a_machine_is_shared_by_its_nodes_and_each_can_run_something() -> None:
    alone, third = machine_capacity(), machine_capacity(3)
    assert TASK_MEMORY_DEFAULT_BYTES <= third.memory_bytes <= alone.memory_bytes
    assert machine_capacity(1 << 40).memory_bytes == TASK_MEMORY_DEFAULT_BYTES
    assert alone.cpus == third.cpus >= 1
