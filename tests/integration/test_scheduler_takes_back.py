"""The scheduler on a store of its own: what it takes from nodes that poll but do not do their part, or are slow."""

from collections.abc import Sequence
from typing import Any

import pytest

from jobs.model.resources import Capacity, Used
from jobs.model.wire import AttemptRef, LeaseReply, LeaseRequest, ReportRequest, Standing, TaskResult
from jobs.scheduler.scheduler import Scheduler
from manta.catalog.job_scripts.attempts import earlier_attempts
from manta.catalog.memory import MemoryCatalog
from manta.core.limits import (
    INFRASTRUCTURE_RETRIES,
    LEASE_S,
    RECALL_S,
    SECOND_ATTEMPT_AGAIN_S,
    STRAGGLER_MIN_S,
    STRAGGLER_SAMPLE_MIN,
    TASK_GRACE_S,
    TASK_MEMORY_DEFAULT_BYTES,
)
from manta.core.names import new_id
from tests.support.catalog import StandingClock
from tests.support.jobs import MAP, NoPlacement, failure, new_job, output, stored, success

TIMEOUT_S = 60.0
EXPIRY_S = 86_400.0


class Bench:
    """One scheduler, two nodes that hold everything, and one job."""

    def __init__(self) -> None:
        self.clock = StandingClock()
        self.catalog = MemoryCatalog(self.clock)
        self.scheduler = Scheduler(self.catalog.jobs, self.clock, NoPlacement(), job_expiry_s=EXPIRY_S)

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
        idle: int = 0,
        capacity: Capacity | None = None,
    ) -> LeaseReply:
        request = LeaseRequest(
            node, "e", lanes, 0.0, tuple(held), started=tuple(started), returned=tuple(returned), idle_lanes=idle,
            capacity=capacity,
        )  # fmt: skip
        return await self.scheduler.lease(request)

    async def poll_for_reserve(self, node: str, arrived: Sequence[AttemptRef] = ()) -> LeaseReply:
        return await self.scheduler.lease(LeaseRequest(node, "e", 1, 0.0, reserve=True, arrived=tuple(arrived)))

    async def sweep(self) -> None:
        await self.scheduler.sweep()

    async def report(self, node: str, *results: TaskResult) -> tuple[AttemptRef, ...]:
        return (await self.scheduler.report(ReportRequest(node, "e", results))).stale

    def done(self, attempt: AttemptRef) -> TaskResult:
        return success(attempt, [output(new_id(self.clock.now_ms()), ("n1", "n2"))])

    async def straggle(self) -> tuple[str, AttemptRef, AttemptRef]:
        """The job, an attempt that runs too long on n1, and its second attempt on n2."""
        job = await self.begin(*(f"k{number}" for number in range(STRAGGLER_SAMPLE_MIN + 1)))
        slow, *others = refs(await self.poll("n1", lanes=STRAGGLER_SAMPLE_MIN + 1))
        await self.poll("n1", [slow, *others], [slow, *others], lanes=0)
        assert await self.report("n1", *(self.done(one) for one in others)) == ()
        self.clock.advance(STRAGGLER_MIN_S - 1)
        assert (await self.poll("n2", idle=2)).tasks == (), "not yet"
        self.clock.advance(2.0)
        await self.poll("n1", [slow], [slow], lanes=0)
        assert (await self.poll("n2")).tasks == (), "a lane that only looks ahead is not idle"
        assert (await self.poll("n1", [slow], [slow], idle=1)).tasks == (), "the node that has it is no other"
        (second,) = refs(await self.poll("n2", idle=2))
        assert (second.task_id, second.attempt) == (slow.task_id, 2)
        assert (await self.poll("n2", [second], idle=1)).tasks == (), "one second attempt and no third"
        return job, slow, second


async def test_a_node_too_small_for_a_straggler_does_not_try_it() -> None:
    """It would refuse it, and the task have no second attempt left for a node that is large enough."""
    bench = Bench()
    await bench.begin(*(f"k{number}" for number in range(STRAGGLER_SAMPLE_MIN + 1)))
    large = Capacity(1 << 40, 8.0)
    slow, *others = refs(await bench.poll("n1", lanes=STRAGGLER_SAMPLE_MIN + 1, capacity=large))
    await bench.poll("n1", [slow, *others], [slow, *others], lanes=0)
    await bench.report("n1", *(bench.done(one) for one in others))
    bench.clock.advance(STRAGGLER_MIN_S + 1)
    await bench.poll("n1", [slow], [slow], lanes=0)
    assert (await bench.poll("n2", idle=1, capacity=Capacity(1, 8.0))).tasks == ()
    bench.clock.advance(SECOND_ATTEMPT_AGAIN_S + 1)
    await bench.poll("n1", [slow], [slow], lanes=0)
    assert len((await bench.poll("n2", idle=1, capacity=large)).tasks) == 1


async def test_what_waits_for_room_is_recalled_once_another_node_could_begin_it() -> None:
    bench = Bench()
    await bench.begin("a", "b")
    capacity = Capacity(2 * TASK_MEMORY_DEFAULT_BYTES - 1, 8.0)
    full, free = Used(TASK_MEMORY_DEFAULT_BYTES), Used()

    async def poll(
        node: str, held: Sequence[AttemptRef], number: int, used: Used, lanes: int = 0, started: int = 1
    ) -> LeaseReply:
        """The first of those held runs."""
        standing = Standing(number=number, used=used, lanes=1)
        request = LeaseRequest(
            node, "e", lanes, 0.0, tuple(held), started=tuple(held[:started]), capacity=capacity, standing=standing
        )
        return await bench.scheduler.lease(request)

    await poll("n2", (), 1, full)
    held = refs(await poll("n1", (), 1, free, lanes=2))
    assert len(held) == 2, "nobody else has room for the second"
    bench.clock.advance(2 * RECALL_S)
    assert (await poll("n1", held, 2, full)).recalled == ()
    await poll("n2", (), 2, free)
    bench.clock.advance(RECALL_S)
    assert (await poll("n1", held, 3, full)).recalled == (held[1],)
    assert (await poll("n1", held, 4, full)).recalled == (), "it may have begun"
    bench.clock.advance(2 * RECALL_S)
    assert (await poll("n1", held, 5, full, started=0)).recalled == (), "one has ended: its outputs are being stored"
    await bench.poll("n1", held[:1], held[:1], held[1:], lanes=0)
    assert len((await poll("n2", (), 3, free, lanes=1)).tasks) == 1


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
    assert earlier_attempts(task) == [], "it never ran there"


@pytest.mark.invariant("J8")
async def test_what_was_granted_for_the_lane_in_reserve_and_never_arrived_is_offered_again_at_once() -> None:
    """Or a small job would wait for the time of a lease since its node stood still for a moment."""
    bench = Bench()
    await bench.begin("a")
    await bench.poll("n1", lanes=0)
    (lost,) = refs(await bench.poll_for_reserve("n1"))
    (again,) = refs(await bench.poll_for_reserve("n1"))
    assert (again.task_id, again.attempt) == (lost.task_id, lost.attempt + 1)
    assert refs(await bench.poll_for_reserve("n1", [again])) == []
    assert (await bench.poll("n1", [again], lanes=0)).lost == ()
    task = await bench.catalog.jobs.get_task(again.job_id, again.task_id)
    assert (earlier_attempts(task), task.losses) == ([], 0), "it never ran"


async def test_what_an_agent_stops_at_its_end_is_remembered_and_nobodys_fault() -> None:
    bench = Bench()
    await bench.begin("a", "b")
    began, waits = refs(await bench.poll("n1", lanes=2))
    await bench.poll("n1", [began, waits], [began], lanes=0)
    await bench.poll("n1", (), [began], [began, waits], lanes=0)
    again = refs(await bench.poll("n2", lanes=2))
    tasks = [await bench.catalog.jobs.get_task(one.job_id, one.task_id) for one in again]
    assert [task.losses for task in tasks] == [0, 0]
    told = [[(one.attempt, one.node_id, one.why) for one in earlier_attempts(task)] for task in tasks]
    assert told == [[(1, "n1", "NodeStopped")], []]


async def test_what_was_granted_to_the_last_poll_of_an_agent_that_ends_never_reached_it() -> None:
    """It hangs up at its end, whatever answer is on its way."""
    bench = Bench()
    await bench.begin("a", "b")
    (began,) = refs(await bench.poll("n1"))
    await bench.poll("n1", [began], [began])
    last = LeaseRequest("n1", "e-ended", 0, 0.0, started=(began,), returned=(began,), ends=True)
    assert await bench.scheduler.lease(last) == LeaseReply()
    again = refs(await bench.poll("n2", lanes=2))
    tasks = [await bench.catalog.jobs.get_task(one.job_id, one.task_id) for one in again]
    assert [(task.attempt, task.losses) for task in tasks] == [(2, 0), (2, 0)]
    told = [[(one.attempt, one.why) for one in earlier_attempts(task)] for task in tasks]
    assert told == [[(1, "NodeStopped")], []]


async def test_what_a_node_dropped_while_its_gateway_was_another_is_remembered() -> None:
    """It ran there under a gateway that is gone: this one gives the node the time of a lease to name it."""
    bench = Bench()
    job = await bench.begin("a")
    await bench.catalog.jobs.renew("n1", "e", bench.clock.now_ms() + 1_000_000)
    (grant,) = await bench.catalog.jobs.lease("n1", "e", [new_id(bench.clock.now_ms())])
    for _ in range(3):
        await bench.poll("n1", lanes=0)
        bench.clock.advance(LEASE_S / 2 + 1)
    (again,) = refs(await bench.poll("n2"))
    task = await bench.catalog.jobs.get_task(job, again.task_id)
    assert [(one.attempt, one.node_id, one.why) for one in earlier_attempts(task)] == [(1, "n1", "NodeLost")]
    assert (grant.task.attempt, task.losses) == (1, 0)


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


@pytest.mark.invariant("J1", "J2")
@pytest.mark.parametrize("winner", ["n1", "n2"])
async def test_of_two_attempts_the_first_to_commit_wins_and_the_other_ends(winner: str) -> None:
    bench = Bench()
    job, slow, second = await bench.straggle()
    first, late = ((slow, "n1"), (second, "n2")) if winner == "n1" else ((second, "n2"), (slow, "n1"))
    assert await bench.report(winner, bench.done(first[0])) == ()
    assert (await bench.poll(late[1], [late[0]], [late[0]], lanes=0)).lost == (late[0],)
    assert await bench.report(late[1], bench.done(late[0])) == (late[0],)
    view = await bench.catalog.jobs.get_job(job)
    assert (view.state, view.errors, view.outputs) == ("done", 0, STRAGGLER_SAMPLE_MIN + 1)
    task = await bench.catalog.jobs.get_task(job, slow.task_id)
    assert (task.attempt, task.node_id) == (first[0].attempt, winner)


async def test_a_second_attempt_never_counts_as_a_failure() -> None:
    bench = Bench()
    job, slow, second = await bench.straggle()
    await bench.report("n2", failure(second))
    assert (await bench.catalog.jobs.get_job(job)).errors == 0
    assert (await bench.poll("n1", [slow], [slow], lanes=0)).lost == ()
    await bench.report("n1", bench.done(slow))
    view = await bench.catalog.jobs.get_job(job)
    assert (view.state, view.errors, view.outputs) == ("done", 0, STRAGGLER_SAMPLE_MIN + 1)


async def test_a_failure_of_the_first_attempt_decides() -> None:
    bench = Bench()
    job, slow, second = await bench.straggle()
    await bench.report("n1", failure(slow))
    assert (await bench.poll("n2", [second], [second], lanes=0)).lost == (second,)
    view = await bench.catalog.jobs.get_job(job)
    assert (view.state, view.errors) == ("done", 1)


@pytest.mark.invariant("J4")
async def test_when_both_attempts_are_lost_the_task_runs_again() -> None:
    bench = Bench()
    job, slow, second = await bench.straggle()
    await bench.catalog.jobs.release("n1", [slow], delivered=True)
    assert (await bench.catalog.jobs.get_task(job, slow.task_id)).losses == 0, "the other goes on"
    await bench.catalog.jobs.release("n2", [second], delivered=True)
    (third,) = refs(await bench.poll("n1"))
    assert (third.task_id, third.attempt) == (slow.task_id, 3)
    assert await bench.report("n2", bench.done(second)) == (second,)
    assert await bench.report("n1", bench.done(third)) == ()


async def test_a_cancelled_job_ends_both_attempts() -> None:
    bench = Bench()
    job, slow, second = await bench.straggle()
    await bench.scheduler.cancel(job, "enough")
    await bench.catalog.jobs.tend(job)
    assert (await bench.poll("n1", [slow], [slow], lanes=0)).lost == (slow,)
    assert (await bench.poll("n2", [second], [second], lanes=0)).lost == (second,)
    assert (await bench.catalog.jobs.get_job(job)).state == "cancelled"


async def test_an_ended_job_is_removed_with_all_its_rows_when_it_expires() -> None:
    bench = Bench()
    job = await bench.begin("a", "b")
    await bench.report("n1", *(bench.done(one) for one in refs(await bench.poll("n1", lanes=2))))
    tables = bench.catalog.jobs.tables
    assert [(row.epoch, row.holders, row.slot) for row in tables.task_rows[job].values()] == [("", "", None)] * 2
    bench.clock.advance(EXPIRY_S - 1)
    await bench.scheduler.sweep()
    assert (await bench.catalog.jobs.get_job(job)).state == "done"
    bench.clock.advance(2.0)
    await bench.scheduler.sweep()
    while (await bench.catalog.jobs.tend(job)).more:
        pass
    assert job not in tables.jobs
    assert not any(rows.get(job) for rows in (tables.task_rows, tables.output_rows, tables.error_rows, tables.chunks))


@pytest.mark.parametrize("how", ["its agent began anew", "it is dead"])
async def test_what_waited_on_a_node_that_is_gone_does_not_hide_what_runs_elsewhere(how: str) -> None:
    bench = Bench()
    job = await bench.begin("a", "b")

    async def told() -> int:
        view = bench.scheduler.as_started(await bench.catalog.jobs.get_job(job))
        return view.phases[0].tasks["running"]

    async def poll(node: str, held: Sequence[AttemptRef] = (), **standing: Any) -> list[AttemptRef]:
        request = LeaseRequest(node, "e", 2, 0.0, tuple(held), standing=Standing(**standing))
        return refs(await bench.scheduler.lease(request))

    held = await poll("n1")
    await poll("n1", held, queued=((job, 0, 2),), number=1)
    assert await told() == 0
    if how == "it is dead":
        bench.clock.advance(LEASE_S + 1)
    else:  # as another gateway heard
        await bench.catalog.jobs.renew("n1", "newer", bench.clock.now_ms() + 1_000_000)
    await bench.sweep()
    assert len(await poll("n2", lanes=2)) == 2
    assert await told() == 2


async def test_what_waited_on_a_node_that_reaches_another_gateway_alone_is_forgotten() -> None:
    """Or its tasks would be told here as waiting for as long as that lasts."""
    bench = Bench()
    job = await bench.begin("a", "b")
    other = Scheduler(bench.catalog.jobs, bench.clock, NoPlacement())
    held = refs(await bench.scheduler.lease(LeaseRequest("n1", "e", 2, 0.0)))
    waiting = Standing(queued=((job, 0, 2),), number=1)
    await bench.scheduler.lease(LeaseRequest("n1", "e", 0, 0.0, tuple(held), standing=waiting))

    async def told() -> int:
        view = bench.scheduler.as_started(await bench.catalog.jobs.get_job(job))
        return view.phases[0].tasks["running"]

    assert await told() == 0
    for number in range(2, 3 * int(LEASE_S)):
        bench.clock.advance(1)
        await other.lease(LeaseRequest("n1", "e", 0, 0.0, tuple(held), standing=Standing(number=number)))
        await bench.sweep()
        await other.sweep()
    assert await told() == 2
