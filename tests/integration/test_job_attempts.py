"""Every attempt that ever ran is remembered with how it ended: on every engine, and by `manta job` on a real store."""

import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from jobs.model.states import TaskState
from jobs.scheduler.expiry import Expiry
from manta.catalog.job_records import Granted
from manta.catalog.job_scripts.attempts import earlier_attempts
from manta.catalog.task_records import TaskRow
from manta.core.limits import EARLIER_ATTEMPTS_MAX, LOST_LEASES_MAX
from manta.core.names import new_id
from manta.gateway.ops.job_tasks import shown_task
from manta.sdk import Store
from manta.sdk.jobs import Job
from tests.support.job_inputs import InputRig, rig
from tests.support.jobs import MAP, expire, failure, ref
from tests.support.store import RunningStore, running_store
from tests.support.waiting import await_condition

__all__ = ["rig"]


async def one_task(rig: InputRig, **phase: Any) -> str:
    await rig.jobs.renew("n2", "e", rig.clock.now_ms() + 10_000_000)
    await rig.put("a", nodes=("n1", "n2"))
    return await rig.begin("s3://books/a", phases=[{**MAP, **phase}])


async def shown(rig: InputRig, job: str) -> list[tuple[object, object, object]]:
    """(attempt, node, why) of each attempt of the job's one task, as its owner sees them, the row's own the last."""
    page = await rig.jobs.tasks(job, 0, 10)
    (task,) = page.tasks
    line: dict[str, Any] = shown_task(task, page.elders[0] if page.elders else None)
    return [(one["attempt"], one["node"], one["why"]) for one in (*line["earlier"], line)]


async def row(rig: InputRig, job: str) -> TaskRow:
    (task,) = (await rig.jobs.tasks(job, 0, 10)).tasks
    return task


async def two_attempts(rig: InputRig) -> tuple[Granted, Granted]:
    """The first on n1, the second on n2."""
    (first,) = await rig.lease()
    second = await rig.jobs.lease_second("n2", "e", ref(first.task), new_id(rig.clock.now_ms()))
    assert second is not None
    return first, second


@pytest.mark.parametrize("winner", [0, 1])
async def test_the_loser_of_two_attempts_is_seen(rig: InputRig, winner: int) -> None:
    job = await one_task(rig)
    two = await two_attempts(rig)
    assert await shown(rig, job) == [(1, "n1", None), (2, "n2", None)], "both run"
    leased_ms = rig.clock.now_ms()
    rig.clock.advance(3)
    await rig.jobs.report(("n1", "n2")[winner], [rig.done(two[winner])])
    loser = 1 - winner
    assert await shown(rig, job) == [
        (loser + 1, ("n1", "n2")[loser], "Overtaken"), (winner + 1, ("n1", "n2")[winner], None)
    ]  # fmt: skip
    (other,) = earlier_attempts(await row(rig, job))
    assert (other.started_ms, other.ended_ms) == (leased_ms, leased_ms + 3000), "when it was given, and given up"


async def test_a_failure_of_the_first_attempt_overtakes_the_second(rig: InputRig) -> None:
    job = await one_task(rig)
    first, _ = await two_attempts(rig)
    await rig.jobs.report("n1", [failure(ref(first.task))])
    assert (await row(rig, job)).state == TaskState.FAILED
    assert await shown(rig, job) == [(2, "n2", "Overtaken"), (1, "n1", "UserTaskError")]


@pytest.mark.parametrize("gone", [(), ("n1",), ("n2",)])
async def test_two_attempts_that_are_cancelled_are_both_seen(rig: InputRig, gone: Sequence[str]) -> None:
    """Whichever of them had ended before. Of two that run, the one that has for longer is the task's last."""
    job = await one_task(rig)
    first, second = await two_attempts(rig)
    for node in gone:
        await rig.jobs.release(node, [ref((first if node == "n1" else second).task)], delivered=True)
    await rig.jobs.cancel_job(job, "Enough.")
    await rig.tend(job)
    ends = {node: "NodeLost" if node in gone else "JobCancelled" for node in ("n1", "n2")}
    assert sorted(await shown(rig, job), key=str) == [(1, "n1", ends["n1"]), (2, "n2", ends["n2"])]
    task = await row(rig, job)
    assert (task.state, task.node_id) == (TaskState.CANCELLED, "n2" if gone == ("n1",) else "n1")


@pytest.mark.parametrize("last", ["n1", "n2"])
async def test_an_attempt_that_fails_after_a_cancel_is_seen_as_failed(rig: InputRig, last: str) -> None:
    job = await one_task(rig)
    two = dict(zip(("n1", "n2"), await two_attempts(rig), strict=True))
    (other,) = two.keys() - {last}
    await rig.jobs.report(other, [failure(ref(two[other].task), retryable=True, code="InternalError")])
    await rig.jobs.cancel_job(job, "Enough.")
    await rig.jobs.report(last, [failure(ref(two[last].task), retryable=True, code="InternalError")])
    await rig.tend(job)
    assert sorted(await shown(rig, job), key=str) == [(1, "n1", "InternalError"), (2, "n2", "InternalError")]


async def test_a_node_that_is_back_keeps_what_it_is_given_while_it_is_taken_over(rig: InputRig) -> None:
    for key in ("a", "b"):
        await rig.put(key)
    jobs = {await rig.begin("s3://books/", phases=[MAP]) for _ in range(2)}
    before = [ref(grant.task) for grant in await rig.lease(lanes=2)]
    assert {one.job_id for one in before} == jobs
    given: list[Granted] = []
    async for _ in Expiry(rig.jobs).round([], {"n1": 20.0}):
        given = given or await rig.lease()
    assert {one.task.job_id for one in given} == jobs
    assert set(await rig.jobs.running("n1")) == {ref(grant.task) for grant in given}


async def test_lost_attempts_are_seen_also_of_a_task_that_was_lost_too_often(rig: InputRig) -> None:
    job = await one_task(rig)
    for number in range(1, LOST_LEASES_MAX + 2):
        node = "n1" if number % 2 else "n2"
        assert len(await rig.lease(node=node)) == 1
        await expire(rig.jobs, {"n1", "n2"} - {node}, {node: 20.0})
    assert (await row(rig, job)).state == TaskState.FAILED
    assert await shown(rig, job) == [
        (number, "n1" if number % 2 else "n2", "NodeLost") for number in range(1, LOST_LEASES_MAX + 2)
    ]


async def test_a_node_that_starts_anew_or_is_stopped_leaves_its_attempts_behind(rig: InputRig) -> None:
    job = await one_task(rig)
    (first,) = await rig.lease()
    await rig.jobs.renew("n1", "e2", rig.clock.now_ms() + 10_000_000)
    (second,) = await rig.lease(node="n2")
    await rig.jobs.release("n2", [ref(second.task)], delivered=False, why="NodeStopped")
    (third,) = await rig.lease(node="n2")
    await rig.jobs.release("n2", [ref(third.task)], delivered=False)
    (last,) = await rig.lease(node="n2")
    await rig.jobs.report("n2", [rig.done(last)])
    task = await row(rig, job)
    assert await shown(rig, job) == [(1, "n1", "NodeLost"), (2, "n2", "NodeStopped"), (4, "n2", None)]
    assert task.losses == 1, "what its node handed back is no fault of the task"
    assert first.task.attempt == 1
    assert third.task.attempt == 3, "it never reached its node, and is no attempt that ever ran"


async def test_a_failed_attempt_is_remembered_once_through_retries(rig: InputRig) -> None:
    job = await one_task(rig, retries=1)
    for _ in range(2):
        (grant,) = await rig.lease()
        await rig.jobs.report("n1", [failure(ref(grant.task))])
    assert await shown(rig, job) == [(1, "n1", "UserTaskError"), (2, "n1", "UserTaskError")]
    await rig.jobs.retry_job(job)
    await rig.tend(job)
    (grant,) = await rig.lease()
    await rig.jobs.report("n1", [rig.done(grant)])
    assert await shown(rig, job) == [(1, "n1", "UserTaskError"), (2, "n1", "UserTaskError"), (3, "n1", None)]


async def test_what_a_task_remembers_is_bounded_and_a_commit_adds_nothing(rig: InputRig) -> None:
    job = await one_task(rig, retries=100)
    for _ in range(EARLIER_ATTEMPTS_MAX + 3):
        (grant,) = await rig.lease()
        await rig.jobs.report("n1", [failure(ref(grant.task), code="UserTaskError")])
    before = (await row(rig, job)).earlier
    (grant,) = await rig.lease()
    await rig.jobs.report("n1", [rig.done(grant)])
    task = await row(rig, job)
    assert task.earlier == before
    assert len(earlier_attempts(task)) == EARLIER_ATTEMPTS_MAX
    assert len(task.earlier) < 100 * EARLIER_ATTEMPTS_MAX


async def test_a_task_that_is_committed_at_once_remembers_nothing(rig: InputRig) -> None:
    job = await one_task(rig)
    (grant,) = await rig.lease()
    await rig.jobs.report("n1", [rig.done(grant)])
    assert (await row(rig, job)).earlier == ""


# --- on a running store

_WAITS = 'echo begun >&2\nif [ "$MANTA_ATTEMPT" = 1 ]; then sleep 600; fi\ncat'


def running_node(job: Job, running: RunningStore, number: int = 1) -> tuple[str, int]:
    """Where that task of the job says that it has begun: the node, and the number of its process."""

    def node() -> str | None:
        return next((str(task["node"]) for task in job.tasks() if task["task"] == number and task["node"]), None)

    await_condition(lambda: node() is not None, "the task to be leased")
    said = b""
    for piece in job.follow_stderr(number):
        said += piece
        if b"begun" in said:
            break
    found = node()
    assert found is not None
    return found, running.children()[found]


def attempts_told(running: RunningStore, job: Job) -> tuple[str, str]:
    """`manta job tasks` and the page of `manta job share`."""
    told = running.manta("job", "tasks", job.id)
    page = running.manta("job", "share", job.id)
    assert (told.returncode, page.returncode) == (0, 0), told.stderr + page.stderr
    return told.stdout.decode(), page.stdout.decode()


def submitted(store: Store) -> Job:
    store.make_bucket("books")
    store.write("s3://books/in", b"x\n")
    return store.submit([{"type": "map", "exec": _WAITS}], inputs=["s3://books/in"])


@pytest.mark.slow
@pytest.mark.invariant("J4")
def test_the_attempt_of_a_node_that_is_killed_is_seen(tmp_path: Path) -> None:
    with running_store(tmp_path, "--nodes", "2", "--copies", "2") as running, running.client() as store:
        job = submitted(store)
        node, pid = running_node(job, running)
        os.kill(pid, signal.SIGKILL)
        assert job.wait(timeout_s=90).errors == 0
        (task,) = job.tasks()
        (lost,) = task["earlier"]
        assert (lost["attempt"], lost["node"], lost["why"], task["why"]) == (1, node, "NodeLost", None)
        lines, page = attempts_told(running, job)
        assert "(attempt 1: lost: node stopped answering)" in lines
        assert "attempt 1, lost: node stopped answering" in page
        assert f"attempt {task['attempt']}, committed" in page
        told = running.manta("job", "tasks", "--json", job.id).stdout
        assert msgspec.json.decode(told)["earlier"] == [lost]
