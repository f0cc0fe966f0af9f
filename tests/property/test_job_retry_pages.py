"""A retry looks for failed tasks page by page, while those that it found run, fail, are lost and make others."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.model.states import JobState, TaskState
from jobs.model.wire import AttemptRef
from manta.catalog.job_scripts import ending, resolve, retry, tend, unit
from manta.catalog.memory import MemoryCatalog
from manta.catalog.task_records import TaskRow
from manta.core.limits import HOLDER_WAIT_S, LEASE_S
from manta.core.names import new_id
from tests.property.test_job_machine import now
from tests.support.catalog import StandingClock
from tests.support.jobs import MAP, REDUCE, expire, failure, new_job, output, ref, stored, success

PLANS: tuple[list[dict[str, Any]], ...] = (
    [MAP],
    [MAP, MAP],
    [MAP, MAP, REDUCE],
    [{**MAP, "batch": 3}, MAP],
    [{**MAP, "batch": 2}, {**MAP, "batch": 2}, {**REDUCE, "count": 2}],
)
STEPS = ("tend", "lease", "good", "bad", "lost", "dead")
ENDED_BADLY = (TaskState.FAILED, TaskState.CANCELLED)


@pytest.fixture(autouse=True, scope="module")
def small_pages() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for module in (ending, resolve, retry, tend, unit):
            patch.setattr(module, "RESOLVE_PAGE", 2)
        yield


class Retried:
    """One job of five inputs, on one node."""

    def __init__(self, plan: list[dict[str, Any]]) -> None:
        self.clock = StandingClock()
        self.catalog = MemoryCatalog(self.clock)
        self.jobs = self.catalog.jobs
        now(self.catalog.create_bucket("books", "alice", 1))
        for number in range(5):
            now(self.catalog.put_object("books", stored(self.clock.now_ms(), str(number), ("n1",))))
        now(self.jobs.renew("n1", "e", self.clock.now_ms() + int(LEASE_S * 1000)))
        self.job_id = now(self.jobs.create_job(new_job(self.clock.now_ms(), plan, ["s3://books/"]))).job_id
        self.held: dict[AttemptRef, TaskRow] = {}
        self.failed: Counter[int] = Counter()
        """By task, how often it failed since the retry began."""

    def lease(self) -> None:
        slots = [new_id(self.clock.now_ms()) for _ in range(2)]
        self.held.update((ref(one.task), one.task) for one in now(self.jobs.lease("n1", "e", slots)))

    def end(self, *, well: bool) -> None:
        """What the node has held the longest."""
        if not self.held:
            return
        attempt = next(iter(self.held))
        task = self.held.pop(attempt)
        if well and task.members is None:
            now(self.jobs.report("n1", [success(attempt, [output(task.slot, ("n1",))])]))
            return
        self.failed.update(one.task_id for one in task.inputs)
        now(self.jobs.report("n1", [failure(attempt)]))

    def step(self, name: str) -> None:
        if name == "tend":
            now(self.jobs.tend(self.job_id))
        elif name == "lease":
            self.lease()
        elif name in ("good", "bad"):
            self.end(well=name == "good")
        elif name == "lost" and self.held:
            attempt = next(iter(self.held))
            del self.held[attempt]
            now(self.jobs.release("n1", [attempt], delivered=False))
        elif name == "dead":  # for so long that what waits for it fails, and back again
            self.clock.advance(HOLDER_WAIT_S + 1)
            self.held.clear()
            now(expire(self.jobs, [], {"n1": HOLDER_WAIT_S + 1}))
            now(self.jobs.renew("n1", "e", self.clock.now_ms() + int(LEASE_S * 1000)))

    def run_out(self, *, well: bool) -> None:
        """To the job's end."""
        for _ in range(300):
            now(self.jobs.tend(self.job_id))
            self.lease()
            self.end(well=well)
            job = self.job
            if job.ended_ms is not None and not job.tend:
                return
        raise AssertionError("the job did not end (J4)")

    @property
    def job(self) -> Any:
        return self.jobs.tables.jobs[self.job_id]

    def check(self) -> None:
        rows = self.jobs.tables.task_rows[self.job_id].values()
        badly = sum(row.weight for row in rows if row.phase >= 0 and row.state in ENDED_BADLY)
        lines = now(self.jobs.errors(self.job_id, 0, 1000))
        assert self.job.errors == len(lines) == badly, "one line for each input that ended badly, none for another"
        view = now(self.jobs.get_job(self.job_id))
        for number, phase in enumerate(view.phases):
            counted = Counter(row.state for row in rows if row.phase == number for _ in range(row.weight))
            assert phase.tasks["failed"] == counted[TaskState.FAILED]
            assert phase.tasks["committed"] == counted[TaskState.COMMITTED]


@pytest.mark.invariant("J3", "J4")
@settings(max_examples=200, deadline=None)
@given(
    plan=st.sampled_from(PLANS),
    first=st.lists(st.sampled_from(("lease", "good", "bad", "tend")), max_size=30),
    steps=st.lists(st.sampled_from(STEPS), max_size=40),
    cancelled=st.booleans(),
    well=st.booleans(),
)
def test_a_failed_input_is_tried_once_by_a_retry(
    plan: list[dict[str, Any]], first: list[str], steps: list[str], *, cancelled: bool, well: bool
) -> None:
    job = Retried(plan)
    for name in first:
        job.step(name)
    job.run_out(well=False)
    job.check()
    job.failed.clear()
    now(job.jobs.retry_job(job.job_id))
    for name in steps:
        job.step(name)
    if cancelled and job.job.ended_ms is None:
        now(job.jobs.cancel_job(job.job_id, "enough"))
    job.run_out(well=well)
    assert job.job.state in (JobState.DONE, JobState.CANCELLED)
    job.check()
    assert not job.failed or max(job.failed.values()) == 1


@pytest.mark.invariant("J3")
def test_a_task_that_a_retry_has_made_is_not_retried_by_it() -> None:
    """Its number is beyond the page that the retry has come to when it fails."""
    job = Retried([MAP, MAP])
    job.run_out(well=False)
    now(job.jobs.retry_job(job.job_id))
    job.failed.clear()
    while not job.held:
        job.step("tend")
        job.step("lease")
    assert job.job.retry, "there are pages left"
    job.step("good")
    while not any(task.phase == 1 for task in job.held.values()):
        job.lease()
        if not any(task.phase == 1 for task in job.held.values()):
            job.step("good")
    while job.held:
        job.step("bad")
    job.run_out(well=True)
    job.check()
    assert max(job.failed.values()) == 1
