"""A finished job opened again for its failed inputs, on every engine: counts, answers and what is kept for it."""

from collections.abc import AsyncIterator

import pytest
from msgspec import structs

from jobs.model.outputs import base_key
from jobs.model.wire import Output, TaskKind
from manta.catalog.job_records import Granted, JobView
from manta.core.errors import JobNotRetried, NoSuchJob
from manta.core.limits import LEASE_S
from manta.core.names import job_bucket, new_id
from tests.support.catalog import StandingClock, opened
from tests.support.job_inputs import InputRig
from tests.support.jobs import MAP, REDUCE, failure, further_slot, output, ref, stored, success


class RetryRig(InputRig):
    """Its node n1 fails what it is told to."""

    async def put_all(self, *keys: str) -> None:
        for key in keys:
            await self.put(key)

    async def run(self, job: str, *failing: tuple[int, str]) -> list[Granted]:
        """Until the job has nothing to lease: (phase, key of the first input) fail, all else succeeds."""
        ran: list[Granted] = []
        while grants := await self.jobs.lease("n1", "e", [new_id(self.clock.now_ms()) for _ in range(20)]):
            ran += grants
            results = []
            for grant in grants:
                task = grant.task
                bad = (task.phase, task.first_input.removeprefix("books/")) in failing
                made = [output(task.slot, ("n1",))]
                results.append(failure(ref(task)) if bad else success(ref(task), made))
            await self.jobs.report("n1", results)
        await self.tend(job)
        return ran

    async def retry(self, job: str) -> None:
        await self.jobs.retry_job(job)
        await self.tend(job)

    async def view(self, job: str) -> JobView:
        """Of reducers too, whose inputs are not tasks of theirs."""
        view = await self.jobs.get_job(job)
        lines = await self.jobs.inputs(job, 0, 10_000)
        ended = sum(line.fields["state"] in ("committed", "failed", "cancelled") for line in lines)
        if view.ended_ms is not None:
            assert view.inputs == len(lines) == ended, "inputs = committed + failed + cancelled (J3)"
        assert view.errors == len(await self.jobs.errors(job, 0, 10_000))
        assert view.outputs == len(await self.jobs.outputs(job, 0, 10_000))
        return view


@pytest.fixture
async def rig(catalog_url: str, clock: StandingClock) -> AsyncIterator[RetryRig]:
    async with opened(catalog_url, clock) as catalog:
        await catalog.create_bucket("books", "alice", 7)
        await catalog.jobs.renew("n1", "e", clock.now_ms() + int(LEASE_S * 1000))
        yield RetryRig(catalog, clock)


def counts(view: JobView) -> list[dict[str, int]]:
    return [{state: many for state, many in phase.tasks.items() if many} for phase in view.phases]


@pytest.mark.invariant("J3")
async def test_only_failed_inputs_run_again(rig: RetryRig) -> None:
    await rig.put_all("a", "b", "c")
    job = await rig.begin("s3://books/*", "s3://books/late", "nonsense", phases=[MAP])
    await rig.run(job, (0, "b"))
    view = await rig.view(job)
    assert (view.state, view.inputs, view.outputs, view.errors) == ("done", 5, 2, 3)
    await rig.put_all("late")
    await rig.retry(job)
    ran = await rig.run(job)
    assert [(grant.task.key, grant.task.attempt) for grant in ran] == [("b", 2), ("late", 1)]
    view = await rig.view(job)
    assert (view.state, view.inputs, view.outputs, view.errors) == ("done", 5, 4, 1)
    assert counts(view) == [{"committed": 4, "failed": 1}]
    assert [line.seq for line in await rig.jobs.errors(job, 0, 10)] == [4], "numbers of lines only grow"
    assert [line.fields["code"] for line in await rig.jobs.errors(job, 0, 10)] == ["InvalidInput"]


async def test_a_failed_input_is_retried_in_the_version_it_had(rig: RetryRig) -> None:
    await rig.put_all("a")
    job = await rig.begin("s3://books/a", phases=[MAP])
    (first,) = await rig.run(job, (0, "a"))
    await rig.put_all("a")
    await rig.retry(job)
    (again,) = await rig.run(job)
    assert (again.task.version_id, again.task.blob_id) == (first.task.version_id, first.task.blob_id)


@pytest.mark.invariant("J1")
async def test_what_a_reducer_put_beside_its_outputs_is_its_last_runs_alone(rig: RetryRig) -> None:
    await rig.put_all("a", "b")
    job = await rig.begin("s3://books/*", phases=[MAP, REDUCE])
    bucket = job_bucket(job)

    async def reduce() -> list[str]:
        """What there is in the job's bucket after it."""
        (grant,) = await rig.lease()
        slot, task = further_slot(rig.clock.now_ms()), grant.task
        key = base_key(TaskKind.REDUCE, task.phase, task.task_id) + "kept"
        beside = structs.replace(output(slot, ("n1",)), bucket=bucket, key=key, side=True)
        await rig.report(success(ref(task), [beside, output(task.slot, ("n1",))]))
        await rig.tend(job)
        return [one.key for one in (await rig.catalog.list_objects(bucket)).objects]

    first, second = await rig.lease()
    await rig.report(failure(ref(first.task)), rig.done(second))
    before = await reduce()
    await rig.retry(job)
    (again,) = await rig.lease()
    await rig.report(rig.done(again))
    after = await reduce()
    assert (len(before), len(after)) == (2, 2)
    assert len({*before, *after}) == 3, "the reducer has another number, and so have its names"


async def test_a_retry_keeps_what_a_task_that_is_not_done_anew_has_made(rig: RetryRig) -> None:
    """A reducer put it out by reference, and will again."""
    await rig.put_all("a", "b")
    job = await rig.begin("s3://books/*", phases=[MAP, REDUCE])
    bucket = job_bucket(job)
    first, second = await rig.lease()
    key = base_key(TaskKind.MAP, 0, second.task.task_id) + "kept"
    beside = structs.replace(output(further_slot(rig.clock.now_ms()), ("n1",)), bucket=bucket, key=key, side=True)
    await rig.report(failure(ref(first.task)), success(ref(second.task), [beside]))
    (reducer,) = await rig.lease()
    made = (await rig.catalog.locate(bucket, key)).object
    assert made is not None
    named = Output(None, made.size, bytes(16), bytes(8), bucket=bucket, key=key, version_id=made.version_id)
    await rig.report(success(ref(reducer.task), [named]))
    await rig.tend(job)
    assert [line.fields["key"] for line in await rig.jobs.outputs(job, 0, 10)] == [key]
    await rig.retry(job)
    assert (await rig.view(job)).outputs == 0
    assert (await rig.catalog.locate(bucket, key)).object == made


@pytest.mark.invariant("J3")
async def test_reducers_behind_a_failed_input_run_again_on_everything(rig: RetryRig) -> None:
    await rig.put_all("a", "b", "c")
    job = await rig.begin("s3://books/*", phases=[MAP, {**REDUCE, "count": 2}, MAP])
    await rig.run(job, (0, "b"))
    assert counts(await rig.view(job)) == [{"committed": 2, "failed": 1}, {"committed": 2}, {"committed": 2}]
    await rig.retry(job)
    (again,) = await rig.jobs.lease("n1", "e", [new_id(rig.clock.now_ms())])
    assert (again.task.phase, again.task.key) == (0, "b")
    await rig.jobs.report("n1", [success(ref(again.task), [output(again.task.slot, ("n1",))])])
    reducers = await rig.jobs.lease("n1", "e", [new_id(rig.clock.now_ms()) for _ in range(9)])
    read = [await rig.jobs.reducer_inputs("n1", ref(grant.task), 0, 10) for grant in reducers]
    assert sorted(len(rows) for rows in read) == [1, 2], "what the first run made is there still"
    results = [success(ref(grant.task), [output(grant.task.slot, ("n1",))]) for grant in reducers]
    await rig.jobs.report("n1", results)
    await rig.run(job)
    view = await rig.view(job)
    assert counts(view) == [{"committed": 3}, {"committed": 2}, {"committed": 2}]
    assert (view.state, view.inputs, view.outputs, view.errors) == ("done", 3, 2, 0)
    listed = await rig.catalog.list_objects(job_bucket(job))
    lines = await rig.jobs.outputs(job, 0, 10)
    assert sorted(line.fields["key"] for line in lines) == [entry.key for entry in listed.objects]
    assert [line.seq for line in lines] == [3, 4]


@pytest.mark.invariant("J3")
async def test_a_reduce_of_objects_runs_again_with_all_of_them(rig: RetryRig) -> None:
    await rig.put_all("a", "b")
    job = await rig.begin("s3://books/*", "s3://books/late", phases=[REDUCE])
    await rig.run(job, (0, ""))
    view = await rig.view(job)
    assert (view.inputs, view.errors, view.outputs) == (3, 2, 0)
    await rig.put_all("late")
    await rig.retry(job)
    (reducer,) = await rig.jobs.lease("n1", "e", [new_id(rig.clock.now_ms())])
    rows = await rig.jobs.reducer_inputs("n1", ref(reducer.task), 0, 10)
    assert [row.key for row in rows] == ["a", "b", "late"]
    await rig.jobs.report("n1", [success(ref(reducer.task), [output(reducer.task.slot, ("n1",))])])
    view = await rig.view(job)
    assert (view.state, view.inputs, view.errors, view.outputs) == ("done", 3, 0, 1)


async def test_a_failed_later_map_runs_again_on_what_the_first_made(rig: RetryRig) -> None:
    await rig.put_all("a", "b")
    job = await rig.begin("s3://books/*", phases=[MAP, MAP])
    await rig.run(job, (1, "a"))
    await rig.retry(job)
    ran = await rig.run(job)
    assert [(grant.task.phase, grant.task.first_input) for grant in ran] == [(1, "books/a")]
    assert counts(await rig.view(job)) == [{"committed": 2}, {"committed": 2}]


async def test_a_prefix_that_was_refused_is_listed_again(rig: RetryRig) -> None:
    job = await rig.begin(
        {"bucket": "later", "prefix": "x/", "glob": "*.txt"}, {"bucket": "later", "key": "*"}, phases=[MAP]
    )
    assert (await rig.view(job)).errors == 2
    await rig.catalog.create_bucket("later", "alice", 7)
    for key in ("x/1.txt", "x/2.txt", "x/3.bin", "*"):
        await rig.catalog.put_object("later", stored(rig.clock.now_ms(), key, ("n1",)))
    await rig.retry(job)
    ran = await rig.run(job)
    assert sorted(grant.task.key for grant in ran) == ["*", "x/1.txt", "x/2.txt"]
    assert (await rig.view(job)).inputs == 3


async def test_a_retry_that_is_cancelled_ends_each_input(rig: RetryRig) -> None:
    await rig.put_all("a", "b")
    job = await rig.begin("s3://books/*", phases=[MAP, REDUCE])
    await rig.run(job, (0, "a"))
    await rig.jobs.retry_job(job)
    await rig.jobs.cancel_job(job, "Enough.")
    await rig.tend(job)
    view = await rig.view(job)
    assert (view.state, counts(view)) == ("cancelled", [{"committed": 1, "cancelled": 1}, {"cancelled": 1}])
    with pytest.raises(JobNotRetried):
        await rig.jobs.retry_job(job)


async def test_what_is_kept_for_a_retry_goes_with_the_job(rig: RetryRig) -> None:
    await rig.put_all("a", "b")
    job = await rig.begin("s3://books/*", phases=[MAP, REDUCE])
    (failed, *_) = await rig.run(job, (0, "a"))
    await rig.catalog.delete_objects("books", ["a", "b"])
    held = [blob.blob_id for blob in await rig.catalog.blobs_of_node("n1")]
    assert failed.task.blob_id in held
    assert len(held) == 3, "the failed input, what the other one made, and the reducer's output"
    await rig.jobs.delete_job(job)
    await rig.tend(job)
    with pytest.raises(NoSuchJob):
        await rig.jobs.get_job(job)
    assert await rig.catalog.blobs_of_node("n1") == []


async def test_what_cannot_be_retried_says_so(rig: RetryRig) -> None:
    await rig.put_all("a")
    job = await rig.begin("s3://books/a", phases=[MAP])
    with pytest.raises(JobNotRetried, match="not ended"):
        await rig.jobs.retry_job(job)
    await rig.run(job)
    await rig.retry(job)
    assert (await rig.view(job)).state == "done"
    with pytest.raises(NoSuchJob):
        await rig.jobs.retry_job("0" * 20)
