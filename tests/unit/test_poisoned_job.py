"""A job whose plan no version at hand can read, after an upgrade say, fails for itself: nodes go on with the others."""

import dataclasses
from collections.abc import AsyncIterator

import pytest

from jobs.model.wire import StoppedAttempt, Usage
from manta.catalog.job_records import Granted, UsageDay
from manta.catalog.memory import MemoryCatalog
from manta.core.names import new_id
from tests.support.catalog import StandingClock
from tests.support.jobs import MAP, expire, new_job, ref, stored


@pytest.fixture
def clock() -> StandingClock:
    return StandingClock()


@pytest.fixture
async def catalog(clock: StandingClock) -> AsyncIterator[MemoryCatalog]:
    catalog = MemoryCatalog(clock)
    await catalog.create_bucket("books", "alice", 1)
    for key in ("a", "b"):
        await catalog.put_object("books", stored(clock.now_ms(), key, ("n1", "n2")))
    for node in ("n1", "n2"):
        await catalog.jobs.renew(node, "e", clock.now_ms() + 10**6)
    yield catalog
    await catalog.close()


async def _job(catalog: MemoryCatalog, clock: StandingClock) -> str:
    clock.advance(1)
    made = await catalog.jobs.create_job(new_job(clock.now_ms(), [MAP], ["s3://books/"]))
    await catalog.jobs.tend(made.job_id)
    return made.job_id


def _poison(catalog: MemoryCatalog, job_id: str) -> None:
    jobs = catalog.jobs.tables.jobs
    jobs[job_id] = dataclasses.replace(jobs[job_id], plan=b"not a plan")


async def _lease(catalog: MemoryCatalog, clock: StandingClock, lanes: int, *, idle: bool = False) -> list[Granted]:
    slots = [new_id(clock.now_ms()) for _ in range(lanes)]
    return await catalog.jobs.lease("n1", "e", slots, idle_jobs_only=idle)


@pytest.mark.invariant("J4", "J8")
@pytest.mark.parametrize("idle", [False, True])
async def test_its_tasks_keep_no_node_from_those_of_others(
    catalog: MemoryCatalog, clock: StandingClock, caplog: pytest.LogCaptureFixture, *, idle: bool
) -> None:
    poisoned = await _job(catalog, clock)
    _poison(catalog, poisoned)
    good = await _job(catalog, clock)
    granted = await _lease(catalog, clock, 2, idle=idle)
    assert {grant.task.job_id for grant in granted} == {good}
    assert any(poisoned in record.getMessage() for record in caplog.records)


@pytest.mark.invariant("J4")
@pytest.mark.parametrize("how", ["returned", "new epoch", "dead"])
async def test_a_node_loses_what_it_has_of_others(catalog: MemoryCatalog, clock: StandingClock, how: str) -> None:
    jobs = [await _job(catalog, clock) for _ in range(2)]
    granted = await _lease(catalog, clock, 4)
    assert len(granted) == 4
    _poison(catalog, jobs[0])
    if how == "returned":
        await catalog.jobs.release("n1", [ref(grant.task) for grant in granted], delivered=False)
    elif how == "new epoch":
        await catalog.jobs.renew("n1", "f", clock.now_ms() + 10**6)
    else:
        await expire(catalog.jobs, ["n2"], {"n1": 30.0})
    left = {attempt.job_id for attempt in await catalog.jobs.running("n1")}
    assert left == {jobs[0]}


async def test_what_its_stopped_tasks_used_keeps_no_other_jobs_from_being_charged(
    catalog: MemoryCatalog, clock: StandingClock
) -> None:
    jobs = [await _job(catalog, clock) for _ in range(2)]
    granted = await _lease(catalog, clock, 4)
    for job in jobs:
        await catalog.jobs.cancel_job(job, "Enough.")
        while (await catalog.jobs.tend(job)).more:
            pass
    _poison(catalog, jobs[0])
    for _ in range(2):
        told = [StoppedAttempt(ref(grant.task), Usage(1, 2, 0.5)) for grant in granted]
        await catalog.jobs.charge_stopped("n1", told)
    today = clock.now_ms() // 86_400_000
    (charged,) = await catalog.jobs.usage("alice", today, today)
    assert charged == UsageDay(today, 2, 1000, charged.byte_seconds, 0, 0, 0, 0), "both tasks of the other, once"
