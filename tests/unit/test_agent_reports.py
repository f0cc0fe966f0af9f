"""Results that a gateway does not take end their attempts, and keep no other result from being taken."""

import asyncio
from collections.abc import Callable, Collection
from typing import TypeVar

import msgspec
import pytest

from jobs.agent.uplink.reports import Reports
from jobs.model.wire import AttemptRef, ReportRequest, Standing, StoppedAttempt, TaskResult
from manta.core.errors import BadRequest, Conflict, MantaError, ServiceUnavailable
from manta.core.limits import HELD_MAX, REPORT_AT_ONCE_S, REPORT_OUTPUTS_MAX
from manta.core.names import new_id
from tests.support.jobs import output, success
from tests.support.waiting import eventually

Reply = TypeVar("Reply", bound=msgspec.Struct)
GOOD, POISONED = (AttemptRef("0" * 20, number, 1) for number in (1, 2))


class Gateway:
    """Refuses every report that brings an output of the poisoned attempt."""

    def __init__(self, error: MantaError) -> None:
        self.error = error
        self.asked: Callable[[], object] = lambda: None
        self.taken: dict[AttemptRef, TaskResult] = {}
        self.stopped: list[StoppedAttempt] = []

    async def call(self, name: str, message: msgspec.Struct, kind: type[Reply]) -> Reply:
        assert isinstance(message, ReportRequest)
        self.asked()
        self.stopped += message.stopped
        if any(result.attempt == POISONED and result.outputs for result in message.results):
            raise self.error
        self.taken |= {result.attempt: result for result in message.results}
        return kind()


@pytest.mark.invariant("J4")
@pytest.mark.parametrize("error", [BadRequest("Odd."), Conflict("Taken.")], ids=["bad", "conflict"])
async def test_a_refused_result_fails_its_attempt_and_no_other(error: MantaError) -> None:
    discarded: list[TaskResult] = []
    gateway = Gateway(error)
    reports = Reports("n1", "e", gateway, lambda _: True, Standing, discarded.append, lambda: None)
    for attempt in (GOOD, POISONED):
        reports.add(success(attempt, [output(new_id(7), ("n1",))]))
    for _ in range(5):
        assert await reports.flush()
    assert len(reports) == 0
    assert gateway.taken[GOOD].failure is None
    failure = gateway.taken[POISONED].failure
    assert failure is not None
    assert failure.retryable
    assert error.message in failure.message
    assert discarded == [], "a blob that is not taken may be another's"
    assert gateway.stopped == [], "what it used goes with its failure"


@pytest.mark.invariant("J4")
async def test_a_result_at_which_gateways_fail_keeps_no_other_from_being_taken() -> None:
    """It stays: the fault is theirs, and may pass. After that as many go together as before."""
    gateway = Gateway(ServiceUnavailable("It fails."))
    reports = Reports("n1", "e", gateway, lambda _: True, Standing, lambda _: None, lambda: None)
    others = [AttemptRef("0" * 20, number, 1) for number in range(10, 40)]
    for attempt in (*others[:15], POISONED, *others[15:]):
        reports.add(success(attempt, [output(new_id(7), ("n1",))]))
    flushed = [await reports.flush() for _ in range(20)]
    assert gateway.taken.keys() == set(others)
    assert reports.refs() == [POISONED]
    assert flushed.count(True) < len(others), "not one by one"
    gateway.error = BadRequest("Odd.")
    while len(reports):
        assert await reports.flush()


async def test_a_report_counts_outputs() -> None:
    gateway = Gateway(BadRequest("Odd."))
    reports = Reports("n1", "e", gateway, lambda _: True, Standing, lambda _: None, lambda: None)
    one = output(None, (), 0)
    for number, count in enumerate((1, REPORT_OUTPUTS_MAX, REPORT_OUTPUTS_MAX - 1, 1, 1), 10):
        reports.add(success(AttemptRef("0" * 20, number, 1), [one] * count))
    reported: list[int] = []
    while len(reports):
        before = len(reports)
        assert await reports.flush()
        reported.append(before - len(reports))
    assert reported == [1, 1, 2, 1]


async def test_a_result_that_was_lost_meanwhile_is_not_reported_as_failed() -> None:
    gateway = Gateway(BadRequest("Odd."))
    reports = Reports("n1", "e", gateway, lambda _: True, Standing, lambda _: None, lambda: None)
    gateway.asked = lambda: reports.lose(POISONED)
    reports.add(success(POISONED, [output(new_id(7), ("n1",))]))
    assert await reports.flush()
    assert len(reports) == 0
    assert gateway.taken == {}


async def test_results_wait_for_neighbours_until_one_of_their_jobs_waits_for_nothing_else() -> None:
    busy, ended = "0" * 20, "1" * 20
    asked: list[set[str]] = []

    def urgent(jobs: Collection[str]) -> bool:
        asked.append(set(jobs))
        return ended in jobs

    gateway = Gateway(BadRequest("Odd."))
    reports = Reports("n1", "e", gateway, urgent, Standing, lambda _: None, lambda: None)
    sending = asyncio.create_task(reports.run())
    try:
        reports.add(quick(GOOD))
        await eventually(lambda: asked)
        assert (asked[-1], gateway.taken) == ({busy}, {}), "the lanes and its job have other tasks"
        reports.add(quick(AttemptRef(ended, 1, 1)))
        await eventually(lambda: len(gateway.taken) == 2)
        assert asked[-1] == {busy, ended}
    finally:
        sending.cancel()


@pytest.mark.parametrize("just_reported", [False, True])
async def test_the_result_of_a_long_task_waits_for_no_neighbours(
    monkeypatch: pytest.MonkeyPatch, *, just_reported: bool
) -> None:
    """But for a moment since the last report."""
    gateway, asked = Gateway(BadRequest("Odd.")), Asked()
    reports = Reports("n1", "e", gateway, asked.never, Standing, lambda _: None, lambda: None)
    long = success(GOOD, [])
    long = msgspec.structs.replace(long, usage=msgspec.structs.replace(long.usage, task_seconds=REPORT_AT_ONCE_S))
    monkeypatch.setattr("jobs.agent.uplink.reports.REPORT_DELAY_S", 3600.0)
    sending = asyncio.create_task(reports.run())
    try:
        if just_reported:
            monkeypatch.setattr("jobs.agent.uplink.reports.REPORT_PAUSE_S", 0.5)
            reports.add(quick(AttemptRef("0" * 20, 3, 1)))
            assert await reports.flush()
            gateway.taken.clear()
            asked.jobs.clear()
        reports.add(quick(POISONED))
        await eventually(lambda: asked.jobs)
        assert gateway.taken == {}
        reports.add(long)
        await eventually(lambda: len(gateway.taken) == 2)
    finally:
        sending.cancel()


def quick(attempt: AttemptRef) -> TaskResult:
    result = success(attempt, [])
    return msgspec.structs.replace(result, usage=msgspec.structs.replace(result.usage, task_seconds=0.001))


class Asked:
    """Whether results are urgent: never."""

    def __init__(self) -> None:
        self.jobs: list[Collection[str]] = []

    def never(self, jobs: Collection[str]) -> bool:
        self.jobs.append(jobs)
        return False


class Meter:
    """A gateway that keeps what it is told of stopped attempts, or answers with `error`; every result is stale."""

    def __init__(self) -> None:
        self.error: MantaError | None = None
        self.takes_results = True
        self.told: list[StoppedAttempt] = []

    async def call(self, name: str, message: msgspec.Struct, kind: type[Reply]) -> Reply:
        assert isinstance(message, ReportRequest)
        if self.error is not None and (message.stopped or not self.takes_results):
            raise self.error
        self.told += message.stopped
        return kind(stale=tuple(result.attempt for result in message.results))


def _reports(gateway: Meter) -> Reports:
    return Reports("n1", "e", gateway, lambda _: False, Standing, lambda _: None, lambda: None)


async def test_what_a_lost_attempt_used_is_told_whether_its_result_was_sent_or_not() -> None:
    gateway = Meter()
    reports = _reports(gateway)
    for attempt in (GOOD, POISONED):
        reports.add(success(attempt, []))
    assert reports.lose(GOOD)
    assert await reports.flush()
    assert [one.attempt for one in gateway.told] == [GOOD, POISONED], "of the latter the result was stale"
    assert gateway.told[0].usage == success(GOOD, []).usage
    assert await reports.flush()
    assert len(gateway.told) == 2


async def test_what_stopped_attempts_used_waits_for_no_neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.agent.uplink.reports.REPORT_DELAY_S", 3600.0)
    gateway, asked = Meter(), Asked()
    reports = Reports("n1", "e", gateway, asked.never, Standing, lambda _: None, lambda: None)
    sending = asyncio.create_task(reports.run())
    try:
        reports.add(quick(AttemptRef("0" * 20, 3, 1)))
        await eventually(lambda: asked.jobs)
        assert gateway.told == []
        reports.add_stopped(GOOD, success(GOOD, []).usage)
        await eventually(lambda: GOOD in [one.attempt for one in gateway.told])
        gateway.told.clear()
        reports.add_stopped(GOOD, success(GOOD, []).usage)
        await eventually(lambda: len(gateway.told) >= 1)
        reports.add(success(POISONED, []))
        reports.add_stopped(POISONED, success(POISONED, []).usage)
        await eventually(lambda: len(gateway.told) >= 2)
    finally:
        sending.cancel()


async def test_what_stopped_attempts_used_waits_for_a_gateway() -> None:
    gateway = Meter()
    gateway.error = ServiceUnavailable("It fails.")
    reports = _reports(gateway)
    usage = success(GOOD, []).usage
    for number in range(HELD_MAX + 5):
        reports.add_stopped(AttemptRef("0" * 20, number, 1), usage)
    reports.add_stopped(GOOD, msgspec.structs.replace(usage, task_seconds=0.0))
    assert not await reports.flush()
    gateway.error = None
    while len(gateway.told) < HELD_MAX:
        assert await reports.flush()
    assert [one.attempt.task_id for one in gateway.told] == list(range(5, HELD_MAX + 5)), "the latest of them"


async def test_what_a_gateway_refuses_of_stopped_attempts_keeps_no_result_waiting() -> None:
    gateway = Meter()
    reports = _reports(gateway)
    for error, sent in ((ServiceUnavailable("It fails."), False), (BadRequest("Odd."), True)):
        gateway.error = error
        reports.add(success(POISONED, []))
        reports.add_stopped(GOOD, success(GOOD, []).usage)
        assert await reports.flush() is sent
        assert len(reports) == 0
    assert not reports.has_stopped, "it would be refused for ever"


async def test_what_was_sent_twice_and_came_too_late_is_told_and_its_output_left_alone() -> None:
    """The first answer was lost: its output may have been committed, or its job cancelled since."""
    gateway, discarded = Meter(), list[TaskResult]()
    gateway.takes_results = False
    gateway.error = ServiceUnavailable("It fails.")
    reports = Reports("n1", "e", gateway, lambda _: False, Standing, discarded.append, lambda: None)
    reports.add(success(GOOD, [output(new_id(7), ("n1",))]))
    assert not await reports.flush()
    gateway.error = None
    for _ in range(2):
        assert await reports.flush()
    assert ([one.attempt for one in gateway.told], discarded) == ([GOOD], [])
