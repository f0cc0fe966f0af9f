"""Job and task state machines, and the pure decisions around them."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.model.states import (
    Again,
    Claim,
    Commit,
    EndJob,
    Fail,
    JobState,
    OpenReducers,
    PhaseCounts,
    Progress,
    Repeat,
    Stale,
    TaskState,
    advance,
    grant,
    lose,
    offer_to,
    place_reducers,
    settle,
    share,
)
from jobs.model.wire import AttemptRef, TaskKind
from jobs.scheduler.deliveries import Deliveries
from manta.core.limits import INFRASTRUCTURE_RETRIES, LEASE_S, LOST_LEASES_MAX
from tests.support.jobs import failure, success

NODES = ("n1", "n2", "n3")


def attempt(number: int) -> AttemptRef:
    return AttemptRef("j", 1, number)


@pytest.mark.invariant("J1", "J2")
@given(
    st.lists(st.tuples(st.sampled_from("lgscurx"), st.sampled_from(NODES), st.integers(0, 2)), max_size=40),
    st.integers(0, 2),
)
def test_one_attempt_at_most_is_committed_and_only_while_it_is_current(
    events: list[tuple[str, str, int]], retries: int
) -> None:
    task = Progress(TaskState.READY)
    committed = 0
    for kind, node, back in events:
        current = task.state is TaskState.RUNNING and back == 0 and node == task.node_id
        number = task.attempt - back
        if kind == "g":
            if task.state is TaskState.READY:
                task = grant(task, node)
            continue
        if kind in "lx":
            outcome = lose(task, node, number, delivered=kind == "l")
        else:
            result = success(attempt(number)) if kind in "sc" else failure(attempt(number), retryable=kind == "r")
            outcome = settle(task, node, result, retries)
        if isinstance(outcome, Repeat):
            assert task.state is TaskState.COMMITTED
            continue
        assert isinstance(outcome, Stale) == (not current)
        if isinstance(outcome, Commit):
            committed += 1
            task = Progress(TaskState.COMMITTED, task.attempt, task.node_id)
        elif isinstance(outcome, Fail):
            task = Progress(TaskState.FAILED, task.attempt, task.node_id)
        elif isinstance(outcome, Again):
            assert outcome.progress.attempt == task.attempt, "the next grant makes a higher one"
            task = outcome.progress
            assert task.faults <= INFRASTRUCTURE_RETRIES
            assert task.losses <= LOST_LEASES_MAX
            assert task.failures <= retries
    assert committed <= 1


def test_only_a_ready_task_is_granted() -> None:
    with pytest.raises(ValueError, match="COMMITTED"):
        grant(Progress(TaskState.COMMITTED), "n1")


CLAIMS = st.lists(
    st.builds(Claim, st.uuids().map(str), st.sampled_from(["a", "b", "c"]), st.integers(0, 50)), max_size=8
)


@pytest.mark.invariant("J8")
@given(st.integers(0, 64), CLAIMS, st.integers(0, 50))
def test_lanes_go_to_those_that_have_the_fewest(lanes: int, claims: list[Claim], elsewhere: int) -> None:
    """Tasks of jobs that ask for nothing here count too."""
    accounts = Counter({"a": elsewhere})
    for claim in claims:
        accounts[claim.owner_id] += claim.running
    shares = share(lanes, claims, accounts)
    assert sum(shares.values()) == (lanes if claims else 0)
    owners = {claim.job_id: claim.owner_id for claim in claims}
    before = {owner: accounts[owner] for owner in owners.values()}
    after = Counter(before)
    for job_id, many in shares.items():
        after[owners[job_id]] += many
    got = {owners[job_id] for job_id in shares}
    for owner in got:
        assert all(after[owner] <= max(after[other], before[owner]) + 1 for other in after), "no account is overtaken"


def _one_by_one(lanes: int, claims: list[Claim], accounts: Counter[str]) -> dict[str, int]:
    """The rule as it is told: each lane to the least busy account, in it to the least busy job."""
    busy, running = Counter(accounts), {claim.job_id: claim.running for claim in claims}
    shares: dict[str, int] = {}
    for _ in range(lanes if claims else 0):
        claim = min(claims, key=lambda one: (busy[one.owner_id], running[one.job_id], one.job_id))
        busy[claim.owner_id] += 1
        running[claim.job_id] += 1
        shares[claim.job_id] = shares.get(claim.job_id, 0) + 1
    return shares


@pytest.mark.invariant("J8")
@given(st.integers(0, 64), CLAIMS, st.integers(0, 5))
def test_lanes_are_shared_as_if_given_one_by_one(lanes: int, claims: list[Claim], elsewhere: int) -> None:
    accounts = Counter({"a": elsewhere, "b": 0, "c": 1})
    shares = share(lanes, claims, accounts)
    assert list(shares.items()) == list(_one_by_one(lanes, claims, accounts).items()), "in the same order too"


PHASES = st.lists(
    st.tuples(st.sampled_from(list(TaskKind)), st.integers(0, 2), st.integers(0, 2), st.integers(0, 2)),
    min_size=1,
    max_size=4,
)


@given(PHASES, st.booleans(), st.booleans())
def test_a_job_ends_when_all_of_its_phases_have(
    rows: list[tuple[TaskKind, int, int, int]], complete: bool, cancelled: bool
) -> None:
    phases = []
    for number, (kind, ready, running, committed) in enumerate(rows):
        reducers = 2
        counts = PhaseCounts(number, kind, reducers, 0, ready, running, committed)
        if kind is TaskKind.REDUCE:
            counts.opened = bool(ready or running or committed)
            counts.waiting = 0 if counts.opened else reducers
        phases.append(counts)
    phases[0].complete = complete
    steps = advance(phases, cancelled=cancelled)
    ended = [step for step in steps if isinstance(step, EndJob)]
    assert bool(ended) == all(phase.finished for phase in phases)
    assert all(phase.complete <= (number == 0 or phases[number - 1].finished) for number, phase in enumerate(phases))
    assert len([step for step in steps if isinstance(step, OpenReducers)]) <= (not cancelled)
    if ended:
        assert ended[0].state is (JobState.CANCELLED if cancelled else JobState.DONE)


@given(st.integers(1, 8), st.lists(st.none() | st.integers(0, 99), max_size=50))
def test_inputs_are_dealt_evenly_unless_their_task_chose(reducers: int, wanted: list[int | None]) -> None:
    phase = PhaseCounts(1, TaskKind.REDUCE, reducers)
    dealt = Counter(phase.deal(want) for want in wanted if want is None)
    assert not dealt or max(dealt.values()) - min(dealt[number] for number in range(reducers)) <= 1
    assert all(phase.deal(want) == want % reducers for want in wanted if want is not None)


@given(
    st.integers(1, 6),
    st.dictionaries(st.integers(0, 5), st.dictionaries(st.sampled_from(NODES), st.integers(1, 9), max_size=3)),
    st.lists(st.sampled_from(NODES), unique=True),
)
def test_a_reducer_is_placed_on_a_living_node_with_the_most_of_its_input(
    count: int, weights: dict[int, dict[str, int]], alive: list[str]
) -> None:
    for reducer, node in enumerate(place_reducers(count, weights, alive)):
        own = {one: size for one, size in weights.get(reducer, {}).items() if one in alive}
        assert node == "" if not own else own[node] == max(own.values())


@given(
    st.lists(st.sampled_from(NODES), min_size=1, unique=True), st.sampled_from(NODES), st.sets(st.sampled_from(NODES))
)
def test_another_living_holder_is_asked_first(holders: list[str], avoid: str, alive: set[str]) -> None:
    offered = offer_to(holders, avoid, alive)
    assert offered
    assert set(offered) <= set(holders)
    if avoid in offered:
        assert not (set(holders) - {avoid}) & alive or avoid not in holders


@given(st.lists(st.tuples(st.sets(st.integers(0, 9)), st.sets(st.integers(0, 9))), max_size=6))
def test_only_what_was_granted_before_and_is_not_held_counts_as_undelivered(
    polls: list[tuple[set[int], set[int]]],
) -> None:
    deliveries = Deliveries()
    last: set[int] = set()
    for held, granted in polls:
        running = [attempt(number) for number in held | last]
        missing = {one.attempt for one in deliveries.begin("n1", "e", map(attempt, held), running, 1.0)[0]}
        assert missing == last - held
        deliveries.granted("n1", map(attempt, granted))
        last = granted
    assert deliveries.begin("n1", "e2", (), (), 1.0) == ([], [])


def test_what_was_granted_for_the_lane_in_reserve_is_missing_once_a_later_poll_for_it_does_not_name_it() -> None:
    deliveries = Deliveries()
    one, two = attempt(1), attempt(2)
    deliveries.begin("n1", "e", (), (), 1.0)
    deliveries.granted("n1", [one, two], reserve=True)
    assert deliveries.begin("n1", "e", (), [one, two], 1.0) == ([], []), "this poll may have been on its way before"
    assert deliveries.begin_reserve("n1", "another", ()) == []
    assert deliveries.begin_reserve("n1", "e", [two]) == [one]
    assert deliveries.begin_reserve("n1", "e", ()) == [], "that one has arrived"


def test_what_another_gateway_granted_has_the_time_of_a_lease_to_arrive() -> None:
    deliveries = Deliveries()
    one, two = attempt(1), attempt(2)
    assert deliveries.begin("n1", "e", (), [one, two], 5.0) == ([], [])
    assert deliveries.begin("n1", "e", [two], [one, two], 5.0 + LEASE_S) == ([], [])
    assert deliveries.begin("n1", "e", (), [one, two], 5.1 + LEASE_S) == ([], [one])
