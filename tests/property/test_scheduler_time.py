"""What the scheduler makes of time: who lives, and which attempts should have ended. Its clock is its own."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.model.wire import AttemptRef
from jobs.scheduler.attempts import Attempts, Followed
from jobs.scheduler.liveness import Liveness
from manta.core.limits import LEASE_S, STUCK_S, TAKEOVER_S, TASK_GRACE_S

ONE, TWO = AttemptRef("job", 1, 1), AttemptRef("job", 2, 1)
TIMEOUT_S = 100.0


@pytest.mark.invariant("J4")
@given(
    st.lists(
        st.tuples(st.floats(0.1, LEASE_S), st.sampled_from(["heard", "wrote", "other", "nothing"]), st.integers(-9, 9)),
        max_size=20,
    )
)
def test_a_node_lives_as_long_as_signs_of_it_come_whatever_its_row_says(
    steps: list[tuple[float, str, int]],
) -> None:
    """The row's own time is of some wall clock: only that it changes counts."""
    liveness = Liveness()
    now_s, row = 0.0, ("n1", "e", 0)
    liveness.seen([row], now_s)
    until_s = LEASE_S
    for passed_s, sign, until_ms in steps:
        now_s += passed_s
        new = ("n1", "e", until_ms) if sign in ("wrote", "other") else row
        if sign == "heard":
            liveness.heard("n1", now_s)
            until_s = max(until_s, now_s + LEASE_S)
        elif sign == "wrote":
            liveness.wrote(*new)
        elif new != row:
            until_s = max(until_s, now_s + TAKEOVER_S)
        row = new
        liveness.seen([row], now_s)
        assert liveness.alive(now_s) == ({"n1"} if until_s >= now_s else set())
        assert liveness.dead(now_s) == ({} if until_s >= now_s else {"n1": now_s - until_s})
    liveness.seen([], now_s)
    assert not liveness.alive(now_s)
    assert not liveness.dead(now_s)


def test_a_process_that_just_began_to_listen_declares_nobody_dead() -> None:
    liveness = Liveness()
    liveness.seen([("n1", "e", 5)], 1_000_000.0)
    assert liveness.alive(1_000_000.0) == {"n1"}
    assert liveness.dead(1_000_000.0 + LEASE_S + 1) == {"n1": 1.0}


def _followed(attempts: Attempts) -> list[Followed]:
    for one in attempts:
        one.timeout_s = TIMEOUT_S
    return list(attempts)


def test_an_attempt_that_runs_is_overdue_after_its_timeout_and_a_grace() -> None:
    attempts = Attempts()
    attempts.named("n1", [ONE], [], 0.0)
    attempts.named("n1", [ONE], [ONE], 50.0)
    (one,) = _followed(attempts)
    assert not one.is_suspect(50 + TASK_GRACE_S)
    assert one.is_suspect(51 + TASK_GRACE_S)
    assert attempts.overdue(50 + TIMEOUT_S + TASK_GRACE_S) == []
    assert attempts.overdue(51 + TIMEOUT_S + TASK_GRACE_S) == [one]


def test_one_that_waits_has_the_time_of_those_before_it() -> None:
    attempts = Attempts()
    attempts.named("n1", [ONE, TWO], [TWO], 0.0)
    _followed(attempts)
    assert [one.ref for one in attempts.overdue(STUCK_S + TIMEOUT_S)] == [TWO]
    assert {one.ref for one in attempts.overdue(STUCK_S + TIMEOUT_S + 1)} == {ONE, TWO}


def test_outputs_on_their_way_begin_a_time_of_their_own() -> None:
    attempts = Attempts()
    attempts.named("n1", [ONE], [ONE], 0.0)
    attempts.named("n1", [ONE], [], 90.0)
    _followed(attempts)
    assert attempts.overdue(STUCK_S) == []
    assert attempts.overdue(91 + STUCK_S + TIMEOUT_S)


def test_what_a_node_names_no_more_is_forgotten() -> None:
    attempts = Attempts()
    attempts.named("n1", [ONE, TWO], [], 0.0)
    attempts.named("n1", [TWO], [], 1.0)
    assert [one.ref for one in attempts] == [TWO]
    attempts.forget("n1")
    assert list(attempts) == []
