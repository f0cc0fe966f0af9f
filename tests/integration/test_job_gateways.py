"""Gateways beside and after one another on one catalog: nothing that must be right is in the memory of any."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from jobs.model.wire import AttemptRef, LeaseRequest, ReportRequest, TaskResult
from jobs.scheduler.scheduler import Scheduler
from manta.catalog.job_store import JobStore
from manta.catalog.store import Catalog
from manta.core.clock import SystemClock
from manta.core.names import new_id
from manta.gateway.bootstrap import ensure_named_root
from tests.support.catalog import StandingClock, opened
from tests.support.jobs import MAP, REDUCE, NoPlacement, new_job, output, ref, stored, success

OBJECTS = 60
NODES = ("n1", "n2", "n3")


@pytest.fixture
async def catalogs(postgres_url: str) -> AsyncIterator[list[Catalog]]:
    """The same catalog, opened by each gateway for itself."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(opened(postgres_url, SystemClock())) for _ in range(2)]


class Agent:
    """A node that polls every gateway, as agents do, and answers at once; some of its answers get lost."""

    def __init__(self, node_id: str, schedulers: list[Scheduler]) -> None:
        self.node_id = node_id
        self.schedulers = schedulers
        self.held: set[AttemptRef] = set()
        self.unanswered = 0
        """Reports under way: one gateway may commit, and name their attempts as lost, before the other answers."""
        self.accepted: list[AttemptRef] = []

    async def poll(self, scheduler: Scheduler) -> None:
        while True:
            request = LeaseRequest(self.node_id, "e", 4, 0.2, tuple(self.held))
            leased = await scheduler.lease(request)
            self.held.difference_update(leased.lost)
            results = []
            for task in leased.tasks:
                attempt = AttemptRef(task.job_id, task.task_id, task.attempt)
                self.held.add(attempt)
                results.append(success(attempt, [output(task.slot.blob_id, (self.node_id,))]))
            if not results:
                continue
            report = ReportRequest(self.node_id, "e", tuple(results))
            self.unanswered += 1
            replies = await asyncio.gather(*(one.report(report) for one in self.schedulers))
            self.unanswered -= 1
            for result in results:
                if all(result.attempt not in reply.stale for reply in replies):
                    self.accepted.append(result.attempt)
                self.held.discard(result.attempt)


@pytest.mark.invariant("J1", "J3")
async def test_each_input_is_committed_once_whichever_gateway_is_asked(catalogs: list[Catalog]) -> None:
    clock = SystemClock()
    now_ms = int(clock.wall_s() * 1000)
    await catalogs[0].create_bucket("books", "alice", 1)
    for number in range(OBJECTS):
        nodes = (NODES[number % 3], NODES[(number + 1) % 3])
        await catalogs[0].put_object("books", stored(now_ms, f"k{number:03}", nodes))
    schedulers = [Scheduler(catalog.jobs, clock, NoPlacement()) for catalog in catalogs]
    agents = [Agent(node, schedulers) for node in NODES]
    for scheduler in schedulers:
        await scheduler.start()
    polls = [asyncio.create_task(agent.poll(scheduler)) for agent in agents for scheduler in schedulers]
    try:
        views = [await one.create(new_job(now_ms, [MAP, REDUCE], ["s3://books/"])) for one in schedulers]
        for view in views:
            while view.ended_ms is None:
                view = await schedulers[0].wait(view, 5.0)
                assert not [poll.exception() for poll in polls if poll.done()]
            assert (view.state, view.inputs, view.outputs, view.errors) == ("done", OBJECTS, 1, 0)
        while any(agent.held or agent.unanswered for agent in agents):
            await asyncio.sleep(0.01)
    finally:
        for poll in polls:
            poll.cancel()
        await asyncio.gather(*polls, return_exceptions=True)
        for scheduler in schedulers:
            await scheduler.close()
    accepted = Counter((one.job_id, one.task_id) for agent in agents for one in agent.accepted)
    assert len(accepted) == 2 * (OBJECTS + 1)
    assert set(accepted.values()) == {1}


async def test_one_idempotency_key_makes_one_job_whichever_gateways_are_asked(catalogs: list[Catalog]) -> None:
    now_ms = int(SystemClock().wall_s() * 1000)
    for number in range(10):
        news = [new_job(now_ms, [MAP], [], idempotency=str(number)) for _ in range(6)]
        calls = [catalogs[place % 2].jobs.create_job(new) for place, new in enumerate(news)]
        assert len({view.job_id for view in await asyncio.gather(*calls)}) == 1


async def test_gateways_of_a_new_cluster_may_begin_side_by_side(catalogs: list[Catalog]) -> None:
    environment = {"MANTA_ROOT_ACCESS_KEY": "ROOT", "MANTA_ROOT_SECRET_KEY": "first-secret"}
    await asyncio.gather(*(ensure_named_root(catalog, environment) for catalog in catalogs))
    (key,) = await catalogs[0].list_keys("root")
    assert (key.access_key, key.secret_key) == ("ROOT", "first-secret")
    await ensure_named_root(catalogs[0], {"MANTA_ROOT_ACCESS_KEY": "OTHER"})
    assert len(await catalogs[0].list_keys("root")) == 1


def reporting(results: list[TaskResult]) -> Callable[[JobStore], Awaitable[Any]]:
    return lambda jobs: jobs.report("n1", results)


@pytest.mark.invariant("J4", "D1")
async def test_a_job_goes_on_where_a_dead_gateway_left_it(shared_catalog_url: str, clock: StandingClock) -> None:
    """The gateway is gone after each step; what was acknowledged is there, and the next one ends the job."""

    async def step(work: Callable[[JobStore], Awaitable[Any]]) -> Any:
        async with opened(shared_catalog_url, clock) as catalog:
            return await work(catalog.jobs)

    async with opened(shared_catalog_url, clock) as catalog:
        await catalog.create_bucket("books", "alice", 1)
        for number in range(3):
            await catalog.put_object("books", stored(clock.now_ms(), f"k{number}"))
    until_ms = clock.now_ms() + 1_000_000
    await step(lambda jobs: jobs.renew("n1", "e", until_ms))
    job = (await step(lambda jobs: jobs.create_job(new_job(clock.now_ms(), [MAP, REDUCE], ["s3://books/"])))).job_id
    assert await step(lambda jobs: jobs.jobs_to_tend(9)) == [job]
    await step(lambda jobs: jobs.tend(job))
    lost = await step(lambda jobs: jobs.lease("n1", "e", [new_id(clock.now_ms()) for _ in range(9)]))
    assert len(lost) == 3
    await step(lambda jobs: jobs.renew("n1", "e2", until_ms))
    for _ in range(2):
        grants = await step(lambda jobs: jobs.lease("n1", "e2", [new_id(clock.now_ms()) for _ in range(9)]))
        results = [success(ref(grant.task), [output(grant.task.slot, ("n1",))]) for grant in grants]
        for _again in range(2):
            assert (await step(reporting(results))).stale == ()
    await step(lambda jobs: jobs.tend(job))
    view = await step(lambda jobs: jobs.get_job(job))
    assert (view.state, view.inputs, view.outputs, view.errors) == ("done", 3, 1, 0)
    assert (await step(lambda jobs: jobs.report("n1", [success(ref(lost[0].task))]))).stale != ()
