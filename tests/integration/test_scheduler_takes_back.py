"""The scheduler on a store of its own: what it takes from nodes that poll but do not do their part."""

from collections.abc import Sequence

import pytest

from jobs.model.wire import AttemptRef, LeaseReply, LeaseRequest
from jobs.scheduler.scheduler import Scheduler
from manta.catalog.memory import MemoryCatalog
from manta.core.limits import INFRASTRUCTURE_RETRIES, LEASE_S, TASK_GRACE_S
from tests.support.catalog import StandingClock
from tests.support.jobs import MAP, NoPlacement, new_job, stored

TIMEOUT_S = 60.0


class Bench:
    """One scheduler, two nodes that hold everything, and one job."""

    def __init__(self) -> None:
        self.clock = StandingClock()
        self.catalog = MemoryCatalog(self.clock)
        self.scheduler = Scheduler(self.catalog.jobs, self.clock, NoPlacement())

    async def begin(self, *keys: str) -> str:
        await self.catalog.create_bucket("books", "alice", 7)
        for key in keys:
            await self.catalog.put_object("books", stored(self.clock.now_ms(), key))
        document = new_job(self.clock.now_ms(), [{**MAP, "timeout": f"{TIMEOUT_S:.0f}s"}], ["s3://books/"])
        job = await self.catalog.jobs.create_job(document)
        await self.catalog.jobs.tend(job.job_id)
        return job.job_id

    async def poll(
        self,
        node: str,
        held: Sequence[AttemptRef] = (),
        started: Sequence[AttemptRef] = (),
        returned: Sequence[AttemptRef] = (),
        lanes: int = 1,
    ) -> LeaseReply:
        request = LeaseRequest(
            node, "e", lanes, 0.0, tuple(held), started=tuple(started), returned=tuple(returned)
        )  # fmt: skip
        return await self.scheduler.lease(request)

    async def sweep(self) -> None:
        await self.scheduler.sweep()


def refs(reply: LeaseReply) -> list[AttemptRef]:
    return [AttemptRef(task.job_id, task.task_id, task.attempt) for task in reply.tasks]


@pytest.mark.invariant("J4")
async def test_a_node_that_never_ends_a_task_loses_it_and_the_job_ends() -> None:
    bench = Bench()
    job = await bench.begin("a")
    for turn in range(INFRASTRUCTURE_RETRIES + 1):
        node = ("n1", "n2")[turn % 2]
        (held,) = refs(await bench.poll(node))
        assert held.attempt == turn + 1
        for _ in range(int(TIMEOUT_S + TASK_GRACE_S)):
            assert (await bench.poll(node, [held], [held], lanes=0)).lost == ()
            await bench.sweep()
            bench.clock.advance(1.0)
        bench.clock.advance(1.0)
        await bench.sweep()
        assert (await bench.poll(node, [held], [held], lanes=0)).lost == (held,)
    (error,) = await bench.catalog.jobs.errors(job, 0, 10)
    assert error.fields["code"] == "InternalError"
    assert "did not end the task within its timeout of 60 s" in error.fields["message"]
    assert (await bench.catalog.jobs.get_job(job)).state == "done"


async def test_what_a_node_hands_back_is_another_nodes_at_once_and_nobodys_fault() -> None:
    bench = Bench()
    await bench.begin("a", "b")
    held = refs(await bench.poll("n1", lanes=2))
    assert len(held) == 2
    await bench.poll("n1", held[:1], held[:1], held[1:], lanes=0)
    (moved,) = refs(await bench.poll("n2"))
    assert (moved.task_id, moved.attempt) == (held[1].task_id, 2)
    task = await bench.catalog.jobs.get_task(moved.job_id, moved.task_id)
    assert (task.losses, task.faults, task.failures) == (0, 0, 0)


@pytest.mark.invariant("J4")
@pytest.mark.parametrize("step_s", [-7200.0, 0.0, 7200.0])
async def test_a_dead_nodes_tasks_are_taken_over_in_time_whatever_the_wall_clock_does(step_s: float) -> None:
    bench = Bench()
    await bench.begin("a")
    await bench.poll("n2", lanes=0)
    (held,) = refs(await bench.poll("n1"))
    await bench.sweep()
    bench.clock.step(step_s)
    await bench.sweep()
    assert (await bench.poll("n1", [held], lanes=0)).lost == (), "a clock that is set takes nothing from the living"
    bench.clock.advance(LEASE_S / 2)
    await bench.poll("n2", lanes=0)
    bench.clock.advance(LEASE_S / 2 + 1)
    await bench.sweep()
    assert [one.attempt for one in refs(await bench.poll("n2"))] == [2]


@pytest.mark.invariant("J4")
async def test_a_store_that_was_stopped_for_long_fails_nothing_when_it_comes_back() -> None:
    bench = Bench()
    job = await bench.begin("a")
    await bench.poll("n1", lanes=0)
    bench.clock.advance(86_400.0)
    again = Scheduler(bench.catalog.jobs, bench.clock, NoPlacement())
    for _ in range(120):
        await again.sweep()
        bench.clock.advance(1.0)
    assert (await bench.catalog.jobs.get_job(job)).errors == 0, "its nodes may need minutes to start"
