"""Whose turn it is on a node: phases one after another, none starved, and what waits in vain said or handed back."""

import asyncio
from pathlib import Path
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from jobs.agent.attempt import Attempt, Stage
from jobs.agent.furnishing.furnisher import Furniture
from jobs.agent.lanes.row import Row
from jobs.agent.resources import Resources
from jobs.agent.zones.groups import Group, IdleZone
from jobs.model.resources import Capacity, Used
from jobs.model.wire import BatchInput, InputRef, OutputSlot, PhaseSpec, TaskKind, TaskLease
from jobs.sandbox.api import Zone
from manta.core.limits import HAND_BACK_NO_ROOM_S, HAND_BACK_S, MIB, STARVED_S, ZONE_SLOW_S
from tests.support.agent import PlainSandbox, PlainZone

_LATE_S = HAND_BACK_S + 1.0


def _phase(job_id: str = "job-a", phase: int = 0, memory: int = 64) -> PhaseSpec:
    return PhaseSpec(job_id, phase, "alice", TaskKind.MAP, "true", None, memory * MIB, MIB, 1.0, {}, 1)


def _attempt(spec: PhaseSpec, task_id: int) -> Attempt:
    return Attempt(TaskLease(spec.job_id, spec.phase, task_id, 1, OutputSlot(f"{task_id:032x}")), spec)


def _zone(group: Group) -> Zone:
    return PlainZone(PlainSandbox(Path()), group.zone_spec(Furniture()))


class _Bench:
    """A row on a node with memory for so many MiB, and the zones that its phases need."""

    def __init__(self, memory: int = 1024) -> None:
        self.resources = Resources(2, Capacity(memory * MIB, 8.0))
        self.row = Row(self.resources)
        self._numbers = 0

    def queue(self, spec: PhaseSpec, count: int = 1, now_s: float = 0.0, *, zones: int = 0, building: int = 0) -> Group:
        for _ in range(count):
            self._numbers += 1
            group = self.row.queue(_attempt(spec, self._numbers), now_s)
        group.idle += [IdleZone(_zone(group), now_s) for _ in range(zones)]
        group.building += building
        return group

    def start(self, now_s: float = 0.0) -> str | None:
        """The job whose turn it was; its task runs, in one of its zones."""
        group = self.row.in_turn(now_s)
        if group is None:
            return None
        self.row.take(group)
        group.idle.pop()
        group.busy += 1
        self.resources.take(group.spec)
        return group.spec.job_id

    def queued(
        self, free_lanes: int, now_s: float = 0.0, *, reserve_free: bool = False
    ) -> tuple[tuple[str, int, int], ...]:
        return self.row.standing(now_s, free_lanes, reserve_free=reserve_free).queued

    def end(self, group: Group, now_s: float = 0.0) -> None:
        group.busy -= 1
        self.resources.give_back(group.spec)
        group.idle.append(IdleZone(_zone(group), now_s))


def test_jobs_take_turns() -> None:
    bench = _Bench()
    for job_id in ("a", "b", "c"):
        bench.queue(_phase(job_id), 2, zones=2)
    assert [bench.start() for _ in range(7)] == ["a", "b", "c", "a", "b", "c", None]


def test_a_phase_without_a_zone_keeps_nobody_up() -> None:
    bench = _Bench()
    bench.queue(_phase("a"))
    bench.queue(_phase("b"), zones=1)
    assert [bench.start(), bench.start()] == ["b", None]


def test_others_start_where_one_finds_no_room_but_not_for_long() -> None:
    bench = _Bench(memory=600)
    small = bench.queue(_phase("small", memory=300), 4, zones=2)
    assert bench.start() == "small"
    bench.queue(_phase("large", memory=500), zones=1)
    bench.end(small)
    assert bench.start() == "small", "it was there first"
    assert bench.start(0.5) == "small"
    bench.end(small)
    assert bench.start(1.0 + STARVED_S) is None, "the large one waits for what is left to come free"
    bench.end(small)
    assert bench.start(1.0 + STARVED_S) == "large"


def test_a_lane_in_reserve_is_for_jobs_that_have_none_running() -> None:
    bench = _Bench()
    bench.queue(_phase("a"), 3, zones=3)
    assert bench.start() == "a"
    assert not bench.row.needs_reserve()
    assert bench.row.for_reserve(0.0) is None
    other = bench.queue(_phase("b"))
    assert bench.row.needs_reserve()
    assert bench.row.for_reserve(0.0) is None, "its zone is not built"
    other.idle.append(IdleZone(_zone(other), 0.0))
    assert bench.row.for_reserve(0.0) is other


def test_what_waited_too_long_is_handed_back() -> None:
    bench = _Bench()
    group = bench.queue(_phase(), 2)
    bench.queue(_phase(), 1, now_s=_LATE_S)
    late = bench.row.hand_back(_LATE_S, 0)
    assert [attempt.number for attempt in late] == [1, 2]
    assert [attempt.number for attempt in group.waiting] == [3]
    assert bench.row.waiting == 1


def test_what_a_zone_is_built_for_is_kept() -> None:
    bench = _Bench()
    group = bench.queue(_phase(), 2)
    group.builders[group.waiting[1]] = None  # type: ignore[assignment]
    assert [attempt.number for attempt in bench.row.hand_back(_LATE_S, 0)] == [1]


def test_the_first_that_the_next_room_is_for_is_kept() -> None:
    bench = _Bench(memory=600)
    bench.queue(_phase("small", memory=300), zones=1)
    bench.start()
    bench.queue(_phase("large", memory=500), 2, zones=1)
    assert bench.start() is None
    assert [attempt.number for attempt in bench.row.hand_back(_LATE_S, 0)] == [3]


def test_what_finds_no_room_beside_free_lanes_is_handed_back_soon() -> None:
    """But for the first of a job that runs nothing here, which has the next room."""
    bench = _Bench(memory=600)
    group = bench.queue(_phase("a", memory=400), 3, zones=2)
    assert [bench.start(), bench.start()] == ["a", None]
    soon_s = 1.1 * HAND_BACK_NO_ROOM_S
    bench.queue(_phase("b", memory=500), 2, zones=1)
    bench.row.in_turn(0.0)
    assert bench.row.hand_back(soon_s, 0) == [], "it is a lane that they wait for"
    assert bench.row.hand_back(0.9 * HAND_BACK_NO_ROOM_S, 1) == []
    assert [attempt.number for attempt in bench.row.hand_back(soon_s, 1)] == [2, 3, 5]
    assert (bench.row.waiting, group.starved_since_s) == (1, None)


def test_tasks_that_follow_each_other_quickly_are_kept_though_there_is_room_for_one_alone() -> None:
    bench = _Bench(memory=600)
    group = bench.queue(_phase("a", memory=400), 3, zones=2)
    bench.start(0.0)
    bench.start(0.1)
    bench.end(group)
    bench.start(0.3)
    bench.start(0.3)
    assert bench.row.hand_back(0.4, 1) == []


def test_nobody_waits_for_a_phase_that_has_no_room_beside_login_sessions() -> None:
    bench = _Bench(memory=600)
    small, large = bench.queue(_phase("small", memory=100), 4, zones=2), _phase("large", memory=500)
    with bench.resources.session(_phase(memory=200)):
        bench.queue(large, 2, zones=1)
        assert bench.start() == "small"
        bench.row.in_turn(0.0)
        assert bench.row.standing(2 * STARVED_S, 1, reserve_free=False).lanes == 0, "the next of small begins"
        assert bench.start(2 * STARVED_S) == "small"
        assert [one.spec for one in bench.row.hand_back(2 * STARVED_S, 1)] == [large, large]
        assert bench.row.blocked_jobs(2 * STARVED_S, 0) == ("large",), "no lane would be of use to it"
    bench.end(small)
    bench.end(small)
    bench.queue(large, zones=1)
    assert [bench.start(), bench.start()] == ["large", "small"]


def test_lanes_that_are_kept_for_a_large_task_keep_the_one_in_reserve_for_what_leaves_it_room() -> None:
    bench = _Bench(memory=600)
    bench.queue(_phase("first", memory=500), zones=1)
    assert bench.start() == "first"
    large = bench.queue(_phase("large", memory=500), zones=1)
    medium = bench.queue(_phase("medium", memory=101), zones=1)
    small = bench.queue(_phase("small", memory=100), 2, zones=1)
    assert bench.row.in_turn(0.0) is small, "nothing has waited long"
    later = 2 * STARVED_S
    assert bench.row.in_turn(later) is None
    assert bench.row.holder(later) is large
    assert bench.row.for_reserve(later, large) is small
    assert bench.row.for_reserve(later) is small, "there is no room for the medium one anyway"
    bench.resources.give_back(large.spec)
    assert bench.row.holder(later) is None
    assert bench.row.for_reserve(later) is large
    assert bench.row.for_reserve(later, large) is small, "the medium one would keep the large one waiting"
    assert medium.waiting


def test_a_job_without_room_does_not_keep_the_lane_in_reserve_from_others() -> None:
    bench = _Bench(memory=600)
    bench.queue(_phase("first", memory=500), zones=1)
    bench.start()
    bench.queue(_phase("large", memory=500), zones=1)
    assert not bench.row.needs_reserve()
    bench.queue(_phase("small", memory=100))
    assert bench.row.needs_reserve()


def test_an_idle_zone_of_a_phase_without_room_does_not_block_the_next_phase_of_its_job() -> None:
    """Its reducer waited until another job's large task had ended, although there was room for it."""
    bench = _Bench(memory=600)
    mapping = bench.queue(_phase("a", 0, memory=500), zones=1)
    bench.start()
    bench.end(mapping)
    bench.queue(_phase("b", memory=500), zones=1)
    bench.start()
    assert bench.row.blocked_jobs(1.0, 1) == ("b",)
    bench.queue(_phase("a", 0, memory=500), 2)
    assert set(bench.row.blocked_jobs(1.0, 1)) == {"a", "b"}


def test_what_waits_may_leave_but_for_those_in_whose_name_a_zone_is_built() -> None:
    bench = _Bench()
    group = bench.queue(_phase(), 3, zones=1)
    runs, builds, waits = group.waiting
    bench.start()
    runs.stage = Stage.RUNNING
    group.builders[builds] = cast("asyncio.Task[None]", None)
    assert [bench.row.may_leave(one) for one in (runs, builds, waits)] == [False, False, True]


def test_a_slow_first_zone_blocks_its_job_alone() -> None:
    bench = _Bench()
    group = bench.queue(_phase("slow"), 3)
    bench.queue(_phase("quick"), 2)
    group.building, group.building_since_s = 1, 0.0
    assert bench.row.blocked(0.0, free_lanes=2) == 0
    later = 2 * ZONE_SLOW_S
    assert (bench.row.blocked(later, 2), bench.row.blocked_jobs(later, 2)) == (3, ("slow",))


def test_what_finds_no_room_is_blocked_while_a_lane_is_free() -> None:
    bench = _Bench(memory=600)
    bench.queue(_phase("small", memory=300), zones=1)
    bench.start()
    bench.queue(_phase("large", memory=500), 2)
    assert (bench.row.blocked(0.0, 1), bench.row.blocked_jobs(0.0, 1)) == (2, ("large",))
    assert (bench.row.blocked(0.0, 0), bench.row.blocked_jobs(0.0, 0)) == (0, ()), "it is lanes that it waits for"


@pytest.mark.parametrize(
    ("free", "queued"), [(0, (("a", 0, 2), ("b", 1, 3))), (3, (("b", 1, 2),)), (5, ())], ids=["none", "some", "all"]
)
def test_a_free_lane_counts_as_taken_by_who_is_first(free: int, queued: tuple[tuple[str, int, int], ...]) -> None:
    bench = _Bench()
    bench.queue(_phase("a"), 2, building=2)
    bench.queue(_phase("b", 1), 3, building=3)
    assert bench.queued(free) == queued


def test_the_lane_in_reserve_counts_as_taken_by_a_job_that_has_none_running() -> None:
    bench = _Bench()
    bench.queue(_phase("a"), 3, zones=1, building=2)
    bench.start()
    bench.queue(_phase("b"), 3, building=3)
    bench.queue(_phase("c"), 1, building=1)
    assert bench.queued(0, reserve_free=True) == (("a", 0, 2), ("b", 0, 2), ("c", 0, 1))
    assert bench.queued(3, reserve_free=True) == (("b", 0, 2),), "c has the one in reserve"


def test_what_a_lane_is_free_for_and_no_room_waits() -> None:
    bench = _Bench(memory=700)
    bench.queue(_phase("a", memory=500), 3, zones=1, building=2)
    bench.queue(_phase("b"), 5, building=5)
    assert bench.queued(6) == (("a", 0, 2), ("b", 0, 2)), "what would begin before it takes its room"
    assert bench.start() == "a"
    assert bench.queued(1) == (("b", 0, 4), ("a", 0, 2)), "beside what runs"
    assert bench.queued(0, reserve_free=True) == (("b", 0, 4), ("a", 0, 2)), "the lane in reserve has room for b"
    bench.queue(_phase("c", memory=500), 1, building=1)
    assert bench.queued(0, reserve_free=True)[-1] == ("c", 0, 1), "and none for c"


def test_cpus_are_room_too() -> None:
    bench = _Bench()
    bench.queue(structs.replace(_phase("a"), cpus=3.0), 4, building=4)
    assert bench.queued(4) == (("a", 0, 2),)


def test_what_stands_behind_a_starved_phase_waits() -> None:
    bench = _Bench(memory=600)
    bench.queue(_phase("small", memory=200), 4, zones=3)
    assert bench.start() == "small"
    bench.queue(_phase("large", memory=500), zones=1)
    bench.queue(_phase("later"), 1, zones=1)
    assert bench.start() == "small"
    large, small = (bench.row.of_job(job)[0] for job in ("large", "small"))
    bench.row.in_turn(0.0)
    assert large.starved_since_s == 0.0
    bench.end(small)
    assert bench.queued(3, 2 * STARVED_S) == (("large", 0, 1), ("small", 0, 2), ("later", 0, 1)), "it is kept for it"
    assert bench.queued(3) == (("large", 0, 1), ("later", 0, 1)), "nobody starves so soon"


def test_what_is_told_as_left_is_beside_what_is_about_to_begin() -> None:
    bench = _Bench(memory=700)
    bench.queue(_phase("a", memory=500), 3, building=3)
    left = bench.row.standing(0.0, 2, reserve_free=True)
    assert (left.used, left.lanes, left.reserve, left.jobs) == (Used(500 * MIB, MIB), 1, True, ("a",))
    assert left.blocked_jobs == ()
    bench.queue(_phase("b"), 1, building=1)
    left = bench.row.standing(0.0, 1, reserve_free=True)
    assert (left.lanes, left.reserve, set(left.jobs)) == (0, False, {"a", "b"}), "b has the lane in reserve"


def test_lanes_that_a_starved_phase_waits_for_are_not_told_as_free() -> None:
    bench = _Bench(memory=600)
    bench.queue(_phase("small", memory=200), zones=1)
    bench.start()
    bench.queue(_phase("large", memory=500), zones=1)
    bench.row.in_turn(0.0)
    starved, before = (bench.row.standing(now_s, 2, reserve_free=True) for now_s in (2 * STARVED_S, 0.0))
    assert (starved.lanes, starved.reserve, starved.blocked_jobs) == (0, False, ("large",))
    assert (before.lanes, before.reserve, before.blocked_jobs) == (2, True, ("large",))


def test_every_input_of_a_batch_waits() -> None:
    bench = _Bench()
    group = bench.queue(_phase("a"), 2, building=2)
    for attempt in group.waiting:
        inputs = [BatchInput(number, InputRef("b", "k", 1, None), attempt.lease.slot) for number in range(7)]
        attempt.lease = structs.replace(attempt.lease, batch=tuple(inputs))
    assert bench.queued(1) == (("a", 0, 7),)


def test_a_task_whose_zone_takes_long_to_build_waits_and_leaves_its_lane_to_who_has_one() -> None:
    bench = _Bench()
    bench.queue(_phase("slow"), 2, building=2)
    bench.queue(_phase("quick"), 2, zones=1, building=1)
    assert bench.queued(2) == (("quick", 0, 2),)
    assert bench.queued(2, 2 * ZONE_SLOW_S) == (("slow", 0, 2), ("quick", 0, 1))
    assert bench.queued(0, 2 * ZONE_SLOW_S, reserve_free=True) == (("slow", 0, 2), ("quick", 0, 1))


def test_a_phase_is_forgotten_once_it_has_neither_tasks_nor_zones() -> None:
    bench = _Bench()
    group = bench.queue(_phase("a"), zones=1)
    bench.queue(_phase("b"))
    bench.row.drop_empty(0.0)
    assert (bench.row.of_job("a"), bench.row.zones) == ([group], 1)
    bench.row.take(group)
    assert bench.row.works_for("b")
    assert not bench.row.works_for("a")
    bench.row.drop_empty(0.0)
    assert bench.row.of_job("a") == [group], "its zone is here"
    group.idle.clear()
    group.retry_at_s = 5.0
    bench.row.drop_empty(4.0)
    assert bench.row.of_job("a") == [group], "why no zone can be built is remembered for a while"
    bench.row.drop_empty(5.0, "b")
    assert bench.row.of_job("a") == [group], "it is another job's"
    bench.row.drop_empty(5.0, "a")
    assert bench.row.of_job("a") == []


@given(st.lists(st.tuples(st.sampled_from(["queue", "take", "withdraw", "hand back"]), st.integers(0, 3)), max_size=60))
def test_what_waits_is_counted(steps: list[tuple[str, int]]) -> None:
    bench = _Bench()
    phases = [_phase(f"job-{number // 2}", number % 2) for number in range(4)]
    for now_s, (step, number) in enumerate(steps):
        waiting = [group for group in bench.row.of_job(phases[number].job_id) if group.waiting]
        if step == "queue":
            bench.queue(phases[number], number + 1, float(now_s))
        elif step == "take" and waiting:
            bench.row.take(waiting[0])
        elif step == "withdraw" and waiting:
            bench.row.withdraw(waiting[0].waiting[-1])
        elif step == "hand back":
            bench.row.hand_back(float(now_s), number)
        assert bench.row.waiting == sum(len(group.waiting) for group in bench.row.groups)
