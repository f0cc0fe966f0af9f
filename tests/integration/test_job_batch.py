"""Small inputs that share a task, on every engine: accounted for one by one, whatever becomes of their batch."""

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.model.inputs import InputSpec
from jobs.model.wire import AttemptRef, TaskResult, Usage
from manta.catalog.job_records import Granted
from manta.catalog.job_scripts import views
from manta.catalog.memory import MemoryCatalog
from manta.core.errors import BadRequest
from manta.core.limits import (
    BATCH_INPUT_MAX_BYTES,
    BATCH_INPUTS_MAX,
    BATCH_ROWS,
    LOST_LEASES_MAX,
    RESOLVE_PAGE,
    TASK_WINDOW,
)
from manta.core.names import job_bucket
from tests.support.catalog import StandingClock
from tests.support.job_inputs import InputRig, rig
from tests.support.jobs import MAP, REDUCE, failure, further_slot, new_job, output, success

__all__ = ["rig"]
BATCH = {**MAP, "batch": 3}
IN_PLACE = Usage(1, 2, 0.5, in_place_bytes=10)


def numbers(grant: Granted) -> list[int]:
    return [one.task_id for one in grant.task.inputs]


def keys(grant: Granted) -> list[str]:
    return [one.key for one in grant.task.inputs]


def batch_result(rig: InputRig, grant: Granted, failed: dict[str, bool] | None = None) -> TaskResult:
    """Every input succeeds but those `failed`: {key: whether it is the store's fault}."""
    task = grant.task
    timeout_s = grant.plan.phases[task.phase].task_timeout_s
    members = []
    for one in task.inputs:
        attempt = AttemptRef(task.job_id, one.task_id, task.attempt)
        if failed and one.key in failed:
            members.append(failure(attempt, retryable=failed[one.key]))
        else:
            members.append(success(attempt, [output(further_slot(rig.clock.now_ms(), timeout_s), ("n1",))]))
    return TaskResult(AttemptRef(task.job_id, task.task_id, task.attempt), IN_PLACE, members=tuple(members))


async def test_small_inputs_share_a_task_and_are_counted_one_by_one(rig: InputRig) -> None:
    for key in "abcde":
        await rig.put(key)
    job = await rig.begin("s3://books/", phases=[BATCH])
    assert (await rig.view(job)).phases[0].tasks["ready"] == 5
    grants = await rig.lease()
    assert [keys(grant) for grant in grants] == [["a", "b", "c"], ["d", "e"]]
    assert (await rig.view(job)).phases[0].tasks["running"] == 5
    await rig.report(*(batch_result(rig, grant) for grant in grants))
    view = await rig.view(job)
    assert (view.state, view.inputs, view.outputs, view.phases[0].tasks["committed"]) == ("done", 5, 5, 5)
    named = {line.fields["task"]: line.fields["key"] for line in await rig.jobs.outputs(job, 0, 10)}
    assert named == {number: f"map-0/{number:08d}" for grant in grants for number in numbers(grant)}
    lines = await rig.lines(job)
    assert [(line.seq, line.fields["key"]) for line in lines] == list(zip(sorted(named), "abcde", strict=True))
    assert (await rig.jobs.get_task(job, lines[1].seq)).input_name == "books/b"


async def test_what_is_batched_lies_on_the_same_nodes_and_is_small(rig: InputRig) -> None:
    await rig.put("a", nodes=("n1", "n2"))
    await rig.put("b", nodes=("n2", "n1"))
    await rig.put("c", nodes=("n1", "n3"))
    await rig.put("d", 0)
    await rig.put("e", 0)
    await rig.put("large", BATCH_INPUT_MAX_BYTES + 1)
    job = await rig.begin("s3://books/", phases=[BATCH])
    grants = await rig.lease()
    assert sorted(keys(grant) for grant in grants) == [["a", "b"], ["c"], ["d", "e"], ["large"]]
    assert sum(grant.task.members is not None for grant in grants) == 2
    assert [grant.task.size for grant in grants if grant.task.members] == [20, 0]
    assert (await rig.view(job)).inputs == 6


@pytest.mark.invariant("J1", "J3")
async def test_inputs_that_fail_leave_their_batch_and_are_tried_again_alone(rig: InputRig) -> None:
    for key in "abc":
        await rig.put(key)
    job = await rig.begin("s3://books/", phases=[BATCH])
    (grant,) = await rig.lease()
    await rig.report(batch_result(rig, grant, {"a": False, "b": True}))
    view = await rig.view(job)
    assert {state: many for state, many in view.phases[0].tasks.items() if many} == {
        "committed": 1,
        "failed": 1,
        "ready": 1,
    }
    (error,) = await rig.jobs.errors(job, 0, 10)
    assert (error.fields["input"], error.fields["task"]) == ("books/a", numbers(grant)[0])
    (again,) = await rig.lease()
    assert (keys(again), again.task.attempt, again.task.faults) == (["b"], 2, 1)
    await rig.report(rig.done(again))
    view = await rig.view(job)
    assert (view.state, view.inputs, view.outputs, view.errors) == ("done", 3, 2, 1)
    await rig.jobs.retry_job(job)
    await rig.tend(job)
    (again,) = await rig.lease()
    assert keys(again) == ["a"]
    await rig.report(rig.done(again))
    view = await rig.view(job)
    assert (view.state, view.inputs, view.outputs, view.errors) == ("done", 3, 3, 0)
    assert [(line.seq, line.fields["key"]) for line in await rig.lines(job, 1)] == list(
        zip(numbers(grant), "abc", strict=True)
    )
    await rig.catalog.delete_objects("books", ["a", "b", "c"])
    left = {one.blob_id for one in await rig.catalog.blobs_of_node("n1")}
    made = await rig.catalog.list_objects(job_bucket(job))
    assert len(left) == len(made.objects) == 3


async def test_an_input_that_a_node_could_not_read_leaves_its_batch_for_another_node(rig: InputRig) -> None:
    """That copy may be damaged, and would fail it again."""
    await rig.jobs.renew("n2", "e", rig.clock.now_ms() + 10_000_000)
    for key in "ab":
        await rig.put(key, nodes=("n1", "n2"))
    await rig.begin("s3://books/", phases=[BATCH])
    (grant,) = await rig.lease()
    await rig.report(batch_result(rig, grant, {"b": True}))
    assert await rig.lease() == []
    assert [keys(again) for again in await rig.lease(node="n2")] == [["b"]]


async def test_a_report_that_comes_twice_changes_nothing(rig: InputRig) -> None:
    for key in "ab":
        await rig.put(key)
    job = await rig.begin("s3://books/", phases=[BATCH])
    (grant,) = await rig.lease()
    result = batch_result(rig, grant, {"a": False})
    await rig.report(result)
    assert (await rig.jobs.report("n1", [result])).stale == ()
    view = await rig.view(job)
    assert (view.outputs, view.errors) == (1, 1)


@pytest.mark.invariant("J2", "J3")
async def test_a_lost_batch_is_offered_whole_and_at_last_fails_one_by_one(rig: InputRig) -> None:
    for key in "abc":
        await rig.put(key)
    job = await rig.begin("s3://books/", phases=[BATCH])
    stale = None
    for _ in range(LOST_LEASES_MAX + 1):
        (grant,) = await rig.lease()
        stale = batch_result(rig, grant)
        await rig.jobs.release("n1", [stale.attempt], delivered=True)
    assert stale is not None
    assert len((await rig.jobs.report("n1", [stale])).stale) == 1
    view = await rig.view(job)
    assert (view.state, view.errors, view.phases[0].tasks["failed"]) == ("done", 3, 3)
    errors = await rig.jobs.errors(job, 0, 10)
    assert [error.fields["input"] for error in errors] == ["books/a", "books/b", "books/c"]


async def test_a_batch_that_could_not_run_fails_one_by_one(rig: InputRig) -> None:
    for key in "ab":
        await rig.put(key)
    job = await rig.begin("s3://books/", phases=[BATCH])
    (grant,) = await rig.lease()
    await rig.report(failure(AttemptRef(job, grant.task.task_id, 1), code="TaskInitError"))
    assert [line.fields["input"] for line in await rig.jobs.errors(job, 0, 10)] == ["books/a", "books/b"]
    assert (await rig.view(job)).state == "done"


@pytest.mark.invariant("J3")
async def test_cancelling_ends_every_input_of_every_batch(rig: InputRig) -> None:
    for key in "abcdefg":
        await rig.put(key)
    job = await rig.begin("s3://books/", phases=[BATCH])
    await rig.lease(1)
    await rig.jobs.cancel_job(job, "Enough.")
    await rig.tend(job)
    view = await rig.view(job)
    assert (view.state, view.errors, view.phases[0].tasks["cancelled"]) == ("cancelled", 7, 7)
    await rig.catalog.delete_objects("books", list("abcdefg"))
    assert await rig.catalog.blobs_of_node("n1") == []


async def test_an_inner_phase_batches_what_one_report_brings(rig: InputRig) -> None:
    for key in "abcd":
        await rig.put(key)
    job = await rig.begin("s3://books/", phases=[MAP, BATCH, REDUCE])
    await rig.report(*[rig.done(grant) for grant in await rig.lease()])
    grants = await rig.lease()
    assert [len(grant.task.inputs) for grant in grants] == [3, 1]
    assert [one.first_input for one in grants[0].task.inputs] == ["books/a", "books/b", "books/c"]
    await rig.report(*(batch_result(rig, one) if one.task.members else rig.done(one) for one in grants))
    (reducer,) = await rig.lease()
    assert len(await rig.jobs.reducer_inputs("n1", AttemptRef(job, reducer.task.task_id, 1), 0, 10)) == 4
    await rig.report(rig.done(reducer))
    await rig.tend(job)
    assert (await rig.view(job)).state == "done"


async def test_explain_counts_inputs_and_batches(rig: InputRig) -> None:
    for key in "abcde":
        await rig.put(key)
    page = await rig.jobs.find_inputs("alice", new_job(1, [BATCH], []).plan, [InputSpec("books")], 0, "")
    assert page.tasks == ((30, ("n1",), 3), (20, ("n1",), 2))


@pytest.mark.parametrize("window", [2, 5, TASK_WINDOW])
async def test_pages_of_inputs_are_whole_whatever_their_size(
    rig: InputRig, window: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where a window that is looked through has few of them, or none."""
    monkeypatch.setattr(views, "TASK_WINDOW", window)
    for place in range(40):
        await rig.put(f"{place:03d}", BATCH_INPUT_MAX_BYTES + 1 if place % 7 == 3 else 10)
    job = await rig.begin("s3://books/", phases=[BATCH])
    for grant in await rig.lease(4):
        if grant.task.members:
            await rig.report(batch_result(rig, grant, dict.fromkeys(keys(grant)[1:2], False)))
    whole = [(line.seq, line.fields["key"]) for line in await rig.lines(job)]
    assert sorted(key for _, key in whole) == [f"{place:03d}" for place in range(40)]
    for limit in (1, 2, 3, 7):
        assert [(line.seq, line.fields["key"]) for line in await rig.lines(job, limit)] == whole


async def test_inputs_among_tasks_of_later_phases_are_all_listed(
    rig: InputRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A read looks through no more numbers than a window has, however many there are behind the last input."""
    monkeypatch.setattr(views, "TASK_WINDOW", 2)
    for place in range(5):
        await rig.put(f"{place:03d}")
    job = await rig.begin("s3://books/", phases=[MAP, MAP, MAP])
    while grants := await rig.lease():
        await rig.report(*[rig.done(grant) for grant in grants])
    looks = 0

    def look(*args: Any) -> Any:
        nonlocal looks
        looks += 1
        return inputs_page(*args)

    inputs_page = views.inputs_page
    monkeypatch.setattr(views, "inputs_page", look)
    assert [line.fields["key"] for line in await rig.jobs.inputs(job, 0, 10)] == [f"{place:03d}" for place in range(5)]
    assert looks == 8, "of 15 tasks"


async def test_odd_reports_of_batches_are_refused(rig: InputRig) -> None:
    await rig.put("a")
    await rig.put("b")
    await rig.begin("s3://books/", phases=[BATCH])
    (grant,) = await rig.lease()
    good = batch_result(rig, grant)
    for members in ((good,), good.members * BATCH_INPUTS_MAX):
        with pytest.raises(BadRequest):
            await rig.report(TaskResult(good.attempt, IN_PLACE, members=members))
    of_another = success(AttemptRef(good.attempt.job_id, numbers(grant)[1], 7))
    await rig.report(TaskResult(good.attempt, IN_PLACE, members=(good.members[0], of_another)))
    (again,) = await rig.lease()
    assert keys(again) == ["b"]


@pytest.mark.invariant("J1", "J3")
@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 30), st.sampled_from(["well", "badly", "lost"])), min_size=1, max_size=25),
    st.integers(2, 7),
)
async def test_results_are_what_they_would_be_without_batches(inputs: list[tuple[int, str]], size: int) -> None:
    """Whatever fails, for whatever reason: the same inputs are committed and the same are errors."""
    ends = {f"{place:02d}": how for place, (_, how) in enumerate(inputs)}
    found = []
    for batch in (1, size):
        clock = StandingClock()
        catalog = MemoryCatalog(clock)
        rig = InputRig(catalog, clock)
        await catalog.create_bucket("books", "alice", 7)
        await catalog.jobs.renew("n1", "e", clock.now_ms() + 10_000_000)
        for key, (length, _) in zip(ends, inputs, strict=True):
            await rig.put(key, length)
        job = await rig.begin("s3://books/", phases=[{**MAP, "batch": batch}])
        bad = {key: how == "lost" for key, how in ends.items() if how != "well"}
        while grants := await rig.lease(3):
            for grant in grants:
                if grant.task.members:
                    await rig.report(batch_result(rig, grant, bad))
                else:
                    attempt = AttemptRef(job, grant.task.task_id, grant.task.attempt)
                    own = bad.get(grant.task.key)
                    await rig.report(rig.done(grant) if own is None else failure(attempt, retryable=own))
        view = await rig.view(job)
        errors = await rig.jobs.errors(job, 0, 100)
        found.append(
            (
                view.state,
                view.inputs,
                view.outputs,
                sorted((line.fields["input"], line.fields["code"], line.fields["attempt"]) for line in errors),
                sorted((line.fields["key"], line.fields["state"]) for line in await rig.lines(job)),
            )
        )
    assert found[0] == found[1]


@pytest.mark.invariant("J7")
async def test_batches_are_read_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each may be BATCH_INPUTS_MAX names: a page of 10,000 tasks, or of their inputs, took gigabytes."""
    clock = StandingClock()
    catalog = MemoryCatalog(clock)
    rig = InputRig(catalog, clock)
    await catalog.create_bucket("books", "alice", 7)
    for place in range(2 * BATCH_ROWS + 5):
        await rig.put(f"{place:03d}")
    job = await rig.begin("s3://books/", phases=[{**MAP, "batch": 2}])
    read: list[int] = []
    inputs_page = catalog.jobs.tables.inputs_page

    def counted(job_id: str, phase: int, after: int, last: int, limit: int) -> list[tuple[Any, ...]]:
        read.append(limit)
        return inputs_page(job_id, phase, after, last, limit)

    monkeypatch.setattr(catalog.jobs.tables, "inputs_page", counted)
    lines = await rig.jobs.inputs(job, 0, 10_000)
    assert [line.fields["key"] for line in lines] == [f"{place:03d}" for place in range(2 * BATCH_ROWS + 5)]
    assert max(read) <= BATCH_ROWS
    page = await rig.jobs.tasks(job, 0, 10_000)
    assert len(page.tasks) == BATCH_ROWS
    rest = await rig.jobs.tasks(job, page.reached or 0, 10_000)
    assert (len(rest.tasks), rest.reached) == (3, None)


@pytest.mark.invariant("J6")
async def test_a_cancel_of_what_is_not_batched_goes_in_whole_pages(rig: InputRig) -> None:
    """However large the batches of another phase."""
    await rig.put("a")
    phases: list[dict[str, Any]] = [MAP, {**MAP, "batch": BATCH_INPUTS_MAX}]
    job = await rig.begin(*["s3://books/a"] * 200, phases=phases)
    await rig.jobs.cancel_job(job, "Enough.")
    await rig.jobs.tend(job)
    view = await rig.view(job)
    assert (view.state, view.errors) == ("cancelled", 200)


async def test_a_page_of_batches_is_bounded_by_inputs(rig: InputRig) -> None:
    await asyncio.gather(*(rig.put(f"{place:05d}", 0) for place in range(RESOLVE_PAGE + 10)))
    made = await rig.jobs.create_job(new_job(rig.clock.now_ms(), [{**MAP, "batch": 200}], ["s3://books/"]))
    await rig.jobs.tend(made.job_id)
    assert (await rig.view(made.job_id)).phases[0].tasks["ready"] == RESOLVE_PAGE
