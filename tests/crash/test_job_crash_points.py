"""A gateway dies between any two transactions on jobs, while its clients and nodes go on with the next one (J3, J4).

A life ends after so many commits: what comes after the last of them is never answered, and all that the process kept in
memory is gone. Clients repeat what was not answered, nodes name what they hold.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from itertools import chain, count, repeat
from pathlib import Path
from typing import Any

import pytest

from jobs.model.inputs import InputSpec
from jobs.model.wire import AttemptRef, InputRef, LeaseRequest, OutputSlot, ReportRequest, TaskLease, TaskResult, Usage
from jobs.scheduler.scheduler import Scheduler
from manta.catalog.job_chunks import encode_chunks
from manta.catalog.job_records import JobView, NewJob
from manta.catalog.job_scripts.store import ScriptedJobs
from manta.core.clock import SystemClock
from manta.core.errors import JobNotRetried, NoSuchJob
from manta.core.names import new_job_id
from tests.support.catalog import opened, shared_catalog_url, sqlite_url
from tests.support.job_rows import check_nothing_of_jobs
from tests.support.jobs import MAP, REDUCE, NoPlacement, failure, new_job, output, stored, success

__all__ = ["shared_catalog_url"]

KEYS = ["bad-1", "bad-2", "c", "d", "e"]
ADDED = (["c", "bad-1"], ["d"])
PLANS: dict[str, list[dict[str, Any]]] = {
    "summed": [{**MAP, "retries": 1}, {**REDUCE, "count": 2}, MAP],
    "each": [{**MAP, "batch": 2}],
}
STOPPED: list[dict[str, Any]] = [MAP, MAP, REDUCE]
INPUTS = len(KEYS) + sum(map(len, ADDED))
OUTPUTS = {"summed": 2, "each": INPUTS}
CLOCK = SystemClock()
NODES = ("n1", "n2")
LEASE_S = 0.1
NEVER_S = 1e6
FOR_EVER = 10**9
Step = Callable[[Scheduler], Awaitable[None]]


class Life:
    """Of one gateway process: `dead` is set once it has made that many commits."""

    def __init__(self, jobs: ScriptedJobs, commits: int) -> None:
        self.dead = asyncio.Event()
        self.commits = 0
        self._write = jobs.write
        self._left = commits
        jobs.write = self._mortal  # type: ignore[method-assign]

    async def _mortal(self, make: Callable[[], Any]) -> Any:
        if not self._left:
            await asyncio.Event().wait()
        self._left -= 1
        result = await self._write(make)
        self.commits += 1
        if not self._left:
            self.dead.set()
            await asyncio.Event().wait()
        return result


class Node:
    """One that outlives gateways: it repeats what it was not thanked for. At times it begins anew, knowing nothing, or
    says nothing until its leases are lost, and then what it has done."""

    def __init__(self, node_id: str, dice: random.Random) -> None:
        self.fails = True
        """Whether tasks of bad inputs do."""
        self._node_id = node_id
        self._dice = dice
        self._epoch = 0
        self._held: dict[AttemptRef, TaskResult] = {}

    async def live(self, scheduler: Scheduler) -> None:
        while True:
            if self._dice.random() < 0.1:
                self._epoch, self._held = self._epoch + 1, {}
            epoch = f"e{self._epoch}"
            leased = await scheduler.lease(LeaseRequest(self._node_id, epoch, 3, 0.05, tuple(self._held)))
            for attempt in leased.lost:
                self._held.pop(attempt, None)
            for task in leased.tasks:
                self._held[AttemptRef(task.job_id, task.task_id, task.attempt)] = self._result(task)
            if self._held and self._dice.random() < 0.05:
                await asyncio.sleep(4 * LEASE_S)
            if self._held:
                await scheduler.report(ReportRequest(self._node_id, epoch, tuple(self._held.values())))
                self._held = {}

    def _result(self, task: TaskLease) -> TaskResult:
        attempt = AttemptRef(task.job_id, task.task_id, task.attempt)
        if task.attempt == 1 and self._dice.random() < 0.2:
            return failure(attempt, retryable=True, code="InternalError")
        if not task.batch:
            return self._result_of(attempt, task.input, task.slot)
        members = [
            self._result_of(AttemptRef(task.job_id, one.number, task.attempt), one.input, one.slot)
            for one in task.batch
        ]
        return TaskResult(attempt, Usage(1, 2, 0.5), members=tuple(members))

    def _result_of(self, attempt: AttemptRef, read: InputRef | None, slot: OutputSlot) -> TaskResult:
        if self.fails and read is not None and read.key.startswith("bad"):
            return failure(attempt)
        return success(attempt, [output(slot.blob_id, (self._node_id,))])


class Client:
    """Of both jobs: what it does, in turn. Each step may be repeated any number of times."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        self.nodes = nodes
        self.ids: dict[str, str] = {}
        self._now_ms = int(CLOCK.wall_s() * 1000)

    def first_act(self) -> list[Step]:
        steps: list[Step] = []
        for name, plan in PLANS.items():
            steps += [
                self._create(name, plan),
                *(self._add(name, place) for place in range(len(ADDED))),
                self._end(name),
            ]
        steps += [self._create("stopped", STOPPED), self._add("stopped", 0), self._cancel("stopped")]
        steps += [*(self._ended(name, failed=3) for name in PLANS), self._ended("stopped")]
        steps += [self._clone("summed", "copy"), self._mend, self._retry("summed"), self._retry("each")]
        steps += [self._ended(name, failed=0) for name in ("summed", "each", "copy")]
        return [*steps, self._clone("each", "orphan"), self._delete("each"), self._all_ended]

    async def all_gone(self, scheduler: Scheduler) -> None:
        """Those that are deleted are not listed any more, and not yet gone."""
        while await scheduler.jobs.list_jobs(None) or await scheduler.jobs.jobs_to_tend(1):
            await asyncio.sleep(0.01)

    def _create(self, name: str, plan: list[dict[str, Any]]) -> Step:
        async def step(scheduler: Scheduler) -> None:
            inputs = [f"s3://books/{key}" for key in KEYS]
            new = new_job(self._now_ms, plan, inputs, idempotency=name, name=name, end=False)
            self.ids[name] = (await scheduler.create(new)).job_id

        return step

    def _add(self, name: str, place: int) -> Step:
        chunks = tuple(encode_chunks([InputSpec("books", key=key) for key in ADDED[place]]))
        return lambda scheduler: scheduler.add_inputs(self.ids[name], chunks, end=False, once=str(place))

    def _end(self, name: str) -> Step:
        return lambda scheduler: scheduler.add_inputs(self.ids[name], (), end=True)

    def _cancel(self, name: str) -> Step:
        return lambda scheduler: scheduler.cancel(self.ids[name], "enough")

    def _clone(self, name: str, copy: str) -> Step:
        async def step(scheduler: Scheduler) -> None:
            view = await scheduler.jobs.get_job(self.ids[name])
            job_id = new_job_id(self._now_ms)
            new = NewJob(
                job_id, "alice", view.plan, self._now_ms, ended=view.input_ended, idempotency=copy, clone_of=view.job_id
            )
            self.ids[copy] = (await scheduler.create(new)).job_id

        return step

    async def _mend(self, scheduler: Scheduler) -> None:
        for node in self.nodes:
            node.fails = False

    def _retry(self, name: str) -> Step:
        async def step(scheduler: Scheduler) -> None:
            try:
                await scheduler.retry(self.ids[name])
            except JobNotRetried:
                assert (await scheduler.jobs.get_job(self.ids[name])).ended_ms is None, (
                    "by a retry that was not answered"
                )

        return step

    def _delete(self, name: str) -> Step:
        async def step(scheduler: Scheduler) -> None:
            try:
                await scheduler.delete(self.ids[name])
                while True:
                    await scheduler.jobs.get_job(self.ids[name])
                    await asyncio.sleep(0.01)
            except NoSuchJob:
                return

        return step

    def _ended(self, name: str, *, failed: int = 0) -> Step:
        async def step(scheduler: Scheduler) -> None:
            view = await scheduler.jobs.get_job(self.ids[name])
            while view.ended_ms is None:
                view = await scheduler.wait(view, 1.0)
            await _check(scheduler, view)
            if name in PLANS:
                tasks = view.phases[0].tasks
                assert (view.inputs, tasks["failed"], tasks["cancelled"]) == (INPUTS, failed, 0)
                assert view.outputs == OUTPUTS[name] - (failed if name == "each" else 0)

        return step

    async def _all_ended(self, scheduler: Scheduler) -> None:
        """And there are no others than those that the client knows of."""
        views = await scheduler.jobs.list_jobs(None)
        assert {view.job_id for view in views} == set(self.ids.values()) - {self.ids["each"]}
        for view in views:
            now = view
            while now.ended_ms is None:
                now = await scheduler.wait(now, 1.0)
            await _check(scheduler, now)


async def _check(scheduler: Scheduler, view: JobView) -> None:
    """J1: one output line a task. J3: every input ended, and as many lines say how."""
    tasks = view.phases[0].tasks
    ends = {state: tasks[state] for state in ("committed", "failed", "cancelled") if tasks[state]}
    assert view.inputs == sum(ends.values()), view
    states = Counter(str(line.fields["state"]) for line in await scheduler.jobs.inputs(view.job_id, 0, 1000))
    assert states == ends
    lines = await scheduler.jobs.outputs(view.job_id, 0, 1000)
    assert len({line.fields["task"] for line in lines}) == len(lines) == view.outputs
    assert len(await scheduler.jobs.errors(view.job_id, 0, 1000)) == view.errors


async def _act(url: str, nodes: Sequence[Node], steps: Sequence[Step], lives: Iterator[int], expiry_s: float) -> int:
    """Until the last step was answered, through as many gateways as it takes: how many commits there were."""
    at, commits = 0, 0
    while at < len(steps):
        async with opened(url, CLOCK) as catalog:
            assert isinstance(catalog.jobs, ScriptedJobs)
            life = Life(catalog.jobs, next(lives))
            scheduler = Scheduler(catalog.jobs, CLOCK, NoPlacement(), job_expiry_s=expiry_s)
            await scheduler.start()
            polls = {asyncio.create_task(node.live(scheduler)) for node in nodes}
            dead = asyncio.create_task(life.dead.wait())
            try:
                while at < len(steps) and not dead.done():
                    step = asyncio.ensure_future(steps[at](scheduler))
                    await asyncio.wait({step, dead, *polls}, return_when=asyncio.FIRST_COMPLETED)
                    if step.done():
                        step.result()
                        at += 1
                    else:
                        step.cancel()
                        await asyncio.wait({step})
                    for poll in polls:
                        if poll.done():
                            poll.result()
            finally:
                for task in (*polls, dead):
                    task.cancel()
                await asyncio.wait({*polls, dead})
                await scheduler.close()
            commits += life.commits
    return commits


@pytest.fixture
def small_and_short(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that all that is done in pages takes several transactions; and no one waits long for a sweep or a lease."""
    for module in ("tend", "resolve", "unit", "map_tasks", "ending", "report", "retry"):
        monkeypatch.setattr(f"manta.catalog.job_scripts.{module}.RESOLVE_PAGE", 2)
    monkeypatch.setattr("manta.catalog.job_chunks.RESOLVE_PAGE", 2)
    monkeypatch.setattr("manta.catalog.job_scripts.clone.CLONE_CHUNKS_PAGE", 1)
    monkeypatch.setattr("manta.core.limits.SWEEP_S", 0.02)
    monkeypatch.setattr("manta.catalog.job_scripts.tend.STOPPED_TOLD_S", 0.0)
    for name in ("manta.core.limits", "jobs.scheduler.liveness", "jobs.scheduler.deliveries"):
        monkeypatch.setattr(f"{name}.LEASE_S", LEASE_S)
    monkeypatch.setattr("jobs.scheduler.liveness.TAKEOVER_S", 2 * LEASE_S)
    monkeypatch.setattr("manta.core.limits.LOST_LEASES_MAX", 1000)  # a machine that is busy loses many that short


async def _play(url: str, seed: int, lives: Iterator[int]) -> int:
    """Two jobs, their retry, their clones, a cancel, a delete, the expiry of the rest: how many commits it took."""
    async with opened(url, CLOCK) as catalog:
        await catalog.create_bucket("books", "alice", 1)
        for key in KEYS:
            await catalog.put_object("books", stored(int(CLOCK.wall_s() * 1000), key, NODES))
    nodes = [Node(node_id, random.Random(f"{seed} {node_id}")) for node_id in NODES]
    client = Client(nodes)
    commits = await _act(url, nodes, client.first_act(), lives, NEVER_S)
    return commits + await _act(url, nodes, [client.all_gone], lives, 0.0)


@pytest.mark.invariant("J1", "J3", "J4")
@pytest.mark.parametrize("seed", [1, 2])
async def test_gateways_that_all_die_young_end_every_job(
    shared_catalog_url: str, small_and_short: None, caplog: pytest.LogCaptureFixture, seed: int
) -> None:
    dice = random.Random(seed)
    await _play(shared_catalog_url, seed, (dice.randrange(2, 15) for _ in count()))
    _check_end(shared_catalog_url, caplog)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.invariant("J1", "J3", "J4")
async def test_a_gateway_may_die_after_any_commit(
    tmp_path: Path, small_and_short: None, caplog: pytest.LogCaptureFixture
) -> None:
    """After the first, after the second, and so on to the last that a run without a death makes."""
    died_after, commits = 1, 2
    while died_after < commits:
        folder = tmp_path / str(died_after)
        folder.mkdir()
        commits = await _play(sqlite_url(folder), died_after, chain([died_after], repeat(FOR_EVER)))
        _check_end(sqlite_url(folder), caplog)
        died_after += 1
    assert died_after > 50


def _check_end(url: str, caplog: pytest.LogCaptureFixture) -> None:
    assert [record.getMessage() for record in caplog.records if record.levelname in ("WARNING", "ERROR")] == []
    check_nothing_of_jobs(url, "books", len(KEYS))
