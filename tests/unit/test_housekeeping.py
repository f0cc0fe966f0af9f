"""The scheduler's background work goes on whatever one job, or one round, does."""

import asyncio
from collections.abc import Sequence
from typing import Any, cast

import pytest

from jobs.scheduler.housekeeping import Housekeeper
from manta.catalog.job_records import Stirred
from manta.catalog.job_store import JobStore
from manta.core import limits
from manta.core.clock import SystemClock

POISONED = tuple(f"a{number}" for number in range(2 * limits.TENDING_MAX))
GOOD = "z"


class FailingJobs:
    """Jobs of which the oldest can never be tended, and a catalog whose first sweep fails as no one foresaw."""

    def __init__(self) -> None:
        self.sweeps = 0
        self.tended = asyncio.Event()

    async def expire(self, now_ms: int, alive: Sequence[str]) -> Stirred:
        return Stirred()

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


@pytest.mark.invariant("J4")
async def test_jobs_that_fail_keep_no_other_from_being_tended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SWEEP_S", 0.01)
    jobs = FailingJobs()
    stirred: list[Stirred] = []
    keeper = Housekeeper(cast("JobStore", cast("Any", jobs)), SystemClock(), stirred.append, lambda: [], lambda: None)
    keeper.start()
    async with asyncio.timeout(20):
        await jobs.tended.wait()
    await keeper.close()
    assert jobs.sweeps > 1
