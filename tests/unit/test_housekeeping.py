"""The scheduler's background work goes on whatever one job, or one round, does."""

import asyncio
from typing import Any, cast

import pytest

from jobs.scheduler.housekeeping import Housekeeper
from jobs.scheduler.liveness import Liveness
from manta.catalog.job_records import Stirred
from manta.catalog.job_store import JobStore
from manta.core import limits
from manta.core.clock import SystemClock
from manta.core.errors import NoSuchJob
from tests.support.catalog import StandingClock

POISONED = tuple(f"a{number}" for number in range(2 * limits.TENDING_MAX))
GOOD = "z"


class FailingJobs:
    """Jobs of which the oldest can never be tended, and a catalog whose first sweep fails as no one foresaw."""

    def __init__(self) -> None:
        self.sweeps = 0
        self.tended = asyncio.Event()
        self.pruned_before: list[int] = []

    async def agents(self) -> list[tuple[str, str, int]]:
        return []

    async def late_reducers(self) -> dict[str, dict[int, int]]:
        return {}

    async def expired_jobs(self, ended_before_ms: int, limit: int) -> list[str]:
        self.sweeps += 1
        if self.sweeps == 1:
            raise ValueError("unforeseen")
        return []

    async def jobs_to_tend(self, limit: int) -> list[str]:
        return [*POISONED, GOOD][:limit]

    async def tend(self, job_id: str) -> Stirred:
        if job_id in POISONED:
            raise RuntimeError("unforeseen")
        self.tended.set()
        return Stirred()

    async def prune_usage(self, before_day: int) -> None:
        self.pruned_before.append(before_day)


class ExpiredJobs(FailingJobs):
    """Three jobs have expired; another gateway has deleted the first a moment before, the second cannot be."""

    def __init__(self) -> None:
        super().__init__()
        self.deleted: list[str] = []

    async def expired_jobs(self, ended_before_ms: int, limit: int) -> list[str]:
        return ["gone", "poisoned", "old"]

    async def delete_job(self, job_id: str) -> Stirred:
        if job_id == "gone":
            raise NoSuchJob
        if job_id == "poisoned":
            raise ValueError("unforeseen")
        self.deleted.append(job_id)
        return Stirred()


async def _nothing() -> None: ...


async def test_a_job_that_cannot_be_deleted_ends_no_sweep() -> None:
    jobs = ExpiredJobs()
    keeper = Housekeeper(cast("JobStore", cast("Any", jobs)), StandingClock(), lambda _: None, Liveness(), _nothing)
    await keeper.sweep()
    await keeper.close()
    assert jobs.deleted == ["old"]
    assert jobs.pruned_before, "the sweep went on to its end"


@pytest.mark.invariant("J4")
async def test_jobs_that_fail_keep_no_other_from_being_tended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SWEEP_S", 0.01)
    jobs = FailingJobs()
    stirred: list[Stirred] = []
    keeper = Housekeeper(cast("JobStore", cast("Any", jobs)), SystemClock(), stirred.append, Liveness(), _nothing)
    keeper.start()
    async with asyncio.timeout(20):
        await jobs.tended.wait()
    await keeper.close()
    assert jobs.sweeps > 1


async def test_old_usage_is_pruned_once_a_day(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SWEEP_S", 0.001)
    jobs = FailingJobs()
    clock = StandingClock()
    keeper = Housekeeper(cast("JobStore", cast("Any", jobs)), clock, lambda _: None, Liveness(), _nothing)
    keeper.start()
    async with asyncio.timeout(20):
        for day in range(2):
            while len(jobs.pruned_before) <= day:
                await asyncio.sleep(0.001)
            sweeps = jobs.sweeps
            while jobs.sweeps < sweeps + 3:
                await asyncio.sleep(0.001)
            clock.advance(86_400)
    await keeper.close()
    first = jobs.pruned_before[0]
    assert first == int(StandingClock().wall_s() // 86_400) - limits.USAGE_KEEP_DAYS
    assert jobs.pruned_before[:2] == [first, first + 1]
