"""What the agent decides without touching anything: names, environment, the words for an end, idle zones."""

import signal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.agent.furnishing.furnisher import Furniture
from jobs.agent.outcome import failure_of
from jobs.agent.output_limit import Exceeded
from jobs.agent.zones.environment import input_name, task_environment, zone_environment
from jobs.agent.zones.groups import Group, IdleZone, excess_idle
from jobs.model.wire import InputRef, OutputSlot, PhaseSpec, TaskKind, TaskLease
from jobs.sandbox.api import Overrun, TaskEnd
from manta.core.limits import MIB, PATH_COMPONENT_MAX_BYTES
from tests.support.agent import JOB, PlainSandbox, PlainZone

_KEYS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=400)


def _spec(**more: Any) -> PhaseSpec:
    fields: dict[str, Any] = {
        "job_id": JOB,
        "phase": 1,
        "tenant": "t",
        "kind": TaskKind.MAP,
        "exec": "true",
        "init": None,
        "memory_bytes": 64 * MIB,
        "scratch_bytes": 32 * MIB,
        "timeout_s": 5.0,
        "env": {},
        "reducers": 3,
        **more,
    }
    return PhaseSpec(**fields)


def _end(
    status: int | None = 0, number: int | None = None, overrun: Overrun | None = None, *, core: bool = False
) -> TaskEnd:
    return TaskEnd(status, number, core, overrun, 0.1, 0.1)


@pytest.mark.invariant("S2")
@given(_KEYS)
def test_an_inputs_name_is_one_component_that_a_folder_takes(key: str) -> None:
    """S2: no key ever names a path."""
    name = input_name(key)
    assert name not in ("", ".", "..")
    assert "/" not in name
    assert "\0" not in name
    assert 0 < len(name.encode()) <= PATH_COMPONENT_MAX_BYTES


@given(_KEYS)
def test_an_inputs_name_is_the_keys_own_where_that_is_possible(key: str) -> None:
    last = key.rsplit("/", 1)[-1]
    if last not in ("", ".", "..") and len(last.encode()) <= PATH_COMPONENT_MAX_BYTES:
        assert input_name(key) == last


def test_a_long_name_keeps_its_extension() -> None:
    assert input_name("ü" * 400 + ".parquet").endswith("ü.parquet")


def test_a_map_task_finds_its_object_in_the_environment() -> None:
    spec = _spec(env={"PATH": "/opt/bin", "COLOUR": "red", "MANTA_JOB_ID": "forged"})
    ref = InputRef("books", "a dir/moby dick.txt", 3, "0" * 32)
    lease = TaskLease(JOB, 1, 12, 2, OutputSlot("1" * 32), ref)
    assert task_environment(zone_environment(spec), spec, lease) == {
        "HOME": "/scratch",
        "PWD": "/scratch",
        "TMPDIR": "/scratch",
        "LANG": "C.UTF-8",
        "PATH": "/opt/bin",
        "COLOUR": "red",
        "MANTA_JOB_ID": JOB,
        "MANTA_PHASE": "1",
        "MANTA_ATTEMPT": "2",
        "MANTA_INPUT_OBJECT": "books/a dir/moby dick.txt",
        "MANTA_INPUT_FILE": "/input/moby dick.txt",
        "MANTA_OUTPUT_BASE": f"job-{JOB}/map-1/00000012.",
    }


def test_a_reducer_finds_its_number() -> None:
    spec = _spec(kind=TaskKind.REDUCE)
    environment = task_environment(zone_environment(spec), spec, TaskLease(JOB, 1, 12, 1, OutputSlot("1"), reducer=2))
    assert (environment["MANTA_REDUCER"], environment["MANTA_REDUCERS"]) == ("2", "3")
    assert "MANTA_INPUT_OBJECT" not in environment


def test_success_is_status_0_within_the_limits() -> None:
    assert failure_of(_end(), _spec()) is None


@pytest.mark.invariant("S5")
@pytest.mark.parametrize(
    ("end", "says"),
    [
        (_end(1), "exit status 1."),
        (_end(126), "not executable"),
        (_end(127), "command not found"),
        (_end(None, signal.SIGSEGV, core=True), "SIGSEGV) and dumped core"),
        (_end(None, 64), "signal 64"),
        (_end(None, signal.SIGKILL, Overrun.TIMEOUT), "timeout of 5 s"),
        (_end(0, None, Overrun.MEMORY), "memory limit of 64 MiB"),
        (_end(1, None, Overrun.SCRATCH), "scratch limit of 32 MiB"),
        (_end(2, None, Overrun.PIDS), "processes"),
        (_end(None, 9, Overrun.KILLED), "killed"),
    ],
)
def test_the_message_names_the_cause(end: TaskEnd, says: str) -> None:
    """S5: whichever way a limit ended a task, its error says so."""
    failure = failure_of(end, _spec())
    assert failure is not None
    assert (failure.code, failure.retryable) == ("UserTaskError", False)
    assert says in failure.message
    assert (failure.exit_status, failure.signal) == (end.exit_status, end.signal)


def test_a_scratch_that_its_memory_bounds_is_named_with_both() -> None:
    """It is full before it has `disk` bytes: that limit alone would not be the one that was met."""
    failure = failure_of(_end(1, None, Overrun.SCRATCH), _spec(scratch_bytes=60 * MIB))
    assert failure is not None
    assert "`disk` of 60 MiB and three quarters of its `memory` of 64 MiB" in failure.message


@pytest.mark.invariant("S5")
@pytest.mark.parametrize("by_disk", [True, False])
def test_too_much_output_is_named_before_the_signal_that_ended_it(by_disk: bool) -> None:
    """S5: where the node's disk is the reason, another node may have more room."""
    failure = failure_of(_end(None, 9, Overrun.KILLED), _spec(), Exceeded(12345, by_disk))
    assert failure is not None
    assert (failure.code, failure.retryable) == ("UserTaskError", by_disk)
    assert "output limit of 12345 bytes" in failure.message
    assert ("the node's disk" in failure.message) is by_disk


def test_idle_zones_are_bounded_in_number_and_time() -> None:
    groups = [Group(_spec(phase=phase)) for phase in range(3)]
    sandbox = PlainSandbox.__new__(PlainSandbox)
    zones = [PlainZone(sandbox, group.zone_spec(Furniture())) for group in groups]
    for group, zone, since_s in zip(groups, zones, (10.0, 30.0, 50.0), strict=True):
        group.idle.append(IdleZone(zone, since_s))
    assert excess_idle(groups, now_s=45.0, keep=2, idle_s=30.0) == [zones[0]]
    assert excess_idle(groups, now_s=61.0, keep=9, idle_s=30.0) == [zones[1]]
    assert [len(group.idle) for group in groups] == [0, 0, 1]


def test_zones_wanted_follow_the_work() -> None:
    group = Group(_spec())
    assert not group.wants_zone(lanes=2, now_s=0.0)
    group.busy = 1
    assert not group.wants_zone(lanes=2, now_s=0.0)
    group.waiting.extend([object()] * 5)  # type: ignore[list-item]
    assert group.wants_zone(lanes=2, now_s=0.0)
    group.building = 1
    assert not group.wants_zone(lanes=2, now_s=0.0)
