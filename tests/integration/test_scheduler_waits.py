"""A client that waits for a job to move hears of everything that moved since it last saw the job."""

import asyncio

import pytest
from msgspec.structs import replace

from jobs.model.wire import LeaseReply, LeaseRequest, ReportRequest, Standing
from jobs.scheduler.scheduler import Scheduler
from manta.catalog.job_records import JobView
from manta.catalog.memory import MemoryCatalog
from manta.core.clock import SystemClock
from manta.core.names import new_id
from tests.support.jobs import MAP, NoPlacement, failure, new_job, ref, stored

LONG_S = 60.0


async def leased_job() -> tuple[Scheduler, JobView, ReportRequest]:
    """A scheduler, a job of two inputs of which one is leased, and the report that this one failed."""
    clock = SystemClock()
    now_ms = int(clock.wall_s() * 1000)
    catalog = MemoryCatalog(clock)
    jobs, scheduler = catalog.jobs, Scheduler(catalog.jobs, clock, NoPlacement())
    await catalog.create_bucket("books", "alice", 1)
    for key in "ab":
        await catalog.put_object("books", stored(now_ms, key))
    job = await jobs.create_job(new_job(now_ms, [MAP], ["s3://books/"]))
    await jobs.tend(job.job_id)
    await jobs.renew("n1", "e", now_ms + 1_000_000)
    (grant,) = await jobs.lease("n1", "e", [new_id(now_ms)])
    seen = await jobs.get_job(job.job_id)
    return scheduler, seen, ReportRequest("n1", "e", (failure(ref(grant.task)),))


@pytest.mark.parametrize("early", [True, False], ids=["before it waits", "as soon as it waits"])
async def test_what_moves_at_the_start_of_a_wait_is_told(early: bool) -> None:
    scheduler, seen, report = await leased_job()
    if early:
        await scheduler.report(report)
    waiting = asyncio.create_task(scheduler.wait(seen, LONG_S))
    await asyncio.sleep(0)
    if not early:
        await scheduler.report(report)
    async with asyncio.timeout(LONG_S / 2):
        assert (await waiting).errors == 1


async def test_who_waits_for_the_end_hears_of_nothing_else() -> None:
    scheduler, seen, report = await leased_job()
    waiting = asyncio.create_task(scheduler.wait(seen, LONG_S, for_end=True))
    progress = asyncio.create_task(scheduler.wait(seen, LONG_S))
    await asyncio.sleep(0)
    await scheduler.report(report)
    async with asyncio.timeout(LONG_S / 2):
        assert (await progress).errors == 1
        assert not waiting.done()
        await scheduler.cancel(seen.job_id, "Enough.")
        while (await scheduler.jobs.get_job(seen.job_id)).ended_ms is None:
            await scheduler.jobs.tend(seen.job_id)
        assert (await waiting).state == "cancelled"


async def settled() -> None:
    """Whoever was woken has looked."""
    for _ in range(100):
        await asyncio.sleep(0)


async def waiting_for_room() -> tuple[Scheduler, ReportRequest, "asyncio.Task[LeaseReply]"]:
    """A poll that asks for three tasks, of no job that there is."""
    scheduler, seen, report = await leased_job()
    held = tuple(result.attempt for result in report.results)
    full = Standing(blocked_jobs=(seen.job_id,), room=3, number=1)
    poll = LeaseRequest("n1", "e", 3, LONG_S, held, started=held, standing=full)
    waiting = asyncio.create_task(scheduler.lease(poll))
    await settled()
    await scheduler.sweep()
    await settled()
    assert not waiting.done()
    return scheduler, report, waiting


async def test_a_node_that_waits_for_room_gets_a_task_with_the_report_that_makes_some() -> None:
    scheduler, report, waiting = await waiting_for_room()
    await scheduler.report(replace(report, standing=Standing(room=2, number=2)))
    await settled()
    assert len(waiting.result().tasks) == 1


async def test_a_poll_for_the_lane_in_reserve_tells_of_room_as_well() -> None:
    scheduler, _, waiting = await waiting_for_room()
    await scheduler.lease(LeaseRequest("n1", "e", 0, 0.0, reserve=True, standing=Standing(room=1, number=2)))
    await settled()
    assert len(waiting.result().tasks) == 1


async def test_a_poll_that_waits_gets_nothing_when_the_room_that_it_asked_for_is_gone() -> None:
    """The node would hand it back at once."""
    scheduler, _, waiting = await waiting_for_room()
    await scheduler.report(ReportRequest("n1", "e", (), standing=Standing(room=0, number=2)))
    await scheduler.sweep()
    await settled()
    assert not waiting.done()
    await scheduler.report(ReportRequest("n1", "e", (), standing=Standing(room=1, number=3)))
    await settled()
    assert len(waiting.result().tasks) == 1
