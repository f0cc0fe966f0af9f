"""Requests that come twice, clones that nobody waits for, and a million inputs of one reducer, on every engine."""

from collections.abc import Sequence

import pytest

from jobs.model.inputs import InputSpec
from manta.catalog.job_chunks import encode_chunks
from manta.catalog.job_records import NewJob
from manta.core.errors import IdempotencyKeyReused, JobClosed
from manta.core.limits import CLONE_CHUNKS_PAGE
from manta.core.names import new_job_id
from tests.support.job_inputs import InputRig, rig
from tests.support.jobs import MAP, REDUCE, failure, new_job, ref

__all__ = ["rig"]


def named(*keys: str) -> Sequence[tuple[bytes, int]]:
    return tuple(encode_chunks([InputSpec("books", key=key) for key in keys]))


async def test_a_key_is_for_one_document(rig: InputRig) -> None:
    async def create(*inputs: str, name: str = "x", end: bool = True) -> str:
        new = new_job(rig.clock.now_ms(), [MAP], inputs, idempotency="k", name=name, end=end)
        return (await rig.jobs.create_job(new)).job_id

    first = await create("s3://books/a", end=False)
    assert await create("s3://books/a", end=False) == first
    await rig.jobs.add_inputs(first, named("b"))
    assert await create("s3://books/a", end=False) == first
    for other in (
        create("s3://books/b", end=False),
        create("s3://books/a", name="y", end=False),
        create("s3://books/a"),
    ):
        with pytest.raises(IdempotencyKeyReused):
            await other
    await rig.jobs.add_inputs(first, (), end=True)
    assert await create("s3://books/a", end=False) == first


async def test_inputs_under_one_key_are_added_once(rig: InputRig) -> None:
    await rig.put("a")
    job = await rig.begin(phases=[MAP], end=False)
    for _ in range(2):
        await rig.jobs.add_inputs(job, named("a", "a"), once="one")
    await rig.jobs.add_inputs(job, named("a"), once="two")
    await rig.jobs.add_inputs(job, named("a"))
    with pytest.raises(IdempotencyKeyReused):
        await rig.jobs.add_inputs(job, named("b"), once="one")
    await rig.jobs.add_inputs(job, (), end=True)
    await rig.jobs.add_inputs(job, named("a", "a"), once="one")
    with pytest.raises(JobClosed):
        await rig.jobs.add_inputs(job, named("a"), once="three")
    await rig.tend(job)
    assert (await rig.view(job)).inputs == 4


async def test_the_end_may_be_asked_for_again_after_the_job_has_ended(rig: InputRig) -> None:
    """Whoever did not hear the first answer asks again, and a job without inputs has ended by then."""
    job = await rig.begin(phases=[MAP], end=False)
    await rig.jobs.add_inputs(job, (), end=True)
    await rig.tend(job)
    assert (await rig.view(job)).state == "done"
    await rig.jobs.add_inputs(job, (), end=True)
    with pytest.raises(JobClosed):
        await rig.jobs.add_inputs(job, named("a"))


async def test_inputs_of_a_cancelled_job_have_no_end(rig: InputRig) -> None:
    job = await rig.begin(phases=[MAP], end=False)
    await rig.jobs.cancel_job(job, "Enough.")
    with pytest.raises(JobClosed):
        await rig.jobs.add_inputs(job, (), end=True)


async def clone(rig: InputRig, job: str, once: str | None = None) -> str:
    view = await rig.jobs.get_job(job)
    now_ms = rig.clock.now_ms()
    new = NewJob(new_job_id(now_ms), "alice", view.plan, now_ms, ended=view.input_ended, idempotency=once, clone_of=job)
    return (await rig.jobs.create_job(new)).job_id


async def fed(rig: InputRig, lists: int) -> str:
    job = await rig.begin(phases=[MAP], end=False)
    for _ in range(lists):
        await rig.jobs.add_inputs(job, named("a", "b"))
    await rig.jobs.add_inputs(job, (), end=True)
    await rig.tend(job)
    return job


async def test_a_clone_copies_its_inputs_by_itself(rig: InputRig) -> None:
    """Whoever asked for it may be gone: it is found by those that look for jobs to tend, and ends like any other."""
    await rig.put("a")
    await rig.put("b")
    job = await fed(rig, 2 * CLONE_CHUNKS_PAGE + 1)
    copy = await clone(rig, job)
    assert copy in await rig.jobs.jobs_to_tend(10)
    await rig.jobs.tend(copy)
    assert copy in await rig.jobs.jobs_to_tend(10)
    await rig.tend(copy)
    for one in (job, copy):
        view = await rig.view(one)
        assert (view.inputs, view.phases[0].complete) == (4 * CLONE_CHUNKS_PAGE + 2, True)


async def test_a_clone_is_the_same_when_asked_for_again_after_its_job_was_ended(rig: InputRig) -> None:
    await rig.put("a")
    job = await rig.begin("s3://books/a", phases=[MAP], end=False)
    copy = await clone(rig, job, "again")
    await rig.jobs.add_inputs(job, (), end=True)
    assert await clone(rig, job, "again") == copy


async def test_a_clone_of_an_open_job_takes_more_inputs(rig: InputRig) -> None:
    await rig.put("a")
    job = await rig.begin("s3://books/a", phases=[MAP], end=False)
    copy = await clone(rig, job)
    await rig.jobs.add_inputs(copy, named("a"))
    await rig.tend(copy)
    assert (await rig.view(copy)).inputs == 2
    await rig.jobs.add_inputs(copy, (), end=True)
    await rig.tend(copy)
    assert (await rig.view(copy)).phases[0].complete


async def test_a_clone_whose_job_is_deleted_meanwhile_says_so(rig: InputRig) -> None:
    job = await fed(rig, CLONE_CHUNKS_PAGE + 1)
    copy = await clone(rig, job)
    await rig.jobs.tend(copy)
    await rig.jobs.delete_job(job)
    await rig.tend(copy)
    view = await rig.view(copy)
    assert view.state == "cancelled"
    assert "deleted" in (view.cancel_reason or "")


@pytest.mark.invariant("J1")
async def test_a_clone_of_a_retried_job_has_each_input_once(rig: InputRig) -> None:
    await rig.put("a")
    job = await rig.begin("s3://books/a", "s3://books/late", "s3://nobucket/*", phases=[MAP])
    await rig.report(*[rig.done(grant) for grant in await rig.lease()])
    await rig.jobs.retry_job(job)
    await rig.tend(job)
    assert (await rig.view(job)).inputs == 3
    copy = await clone(rig, job)
    await rig.tend(copy)
    assert sorted(line.fields["key"] for line in await rig.lines(copy)) == ["*", "a", "late"]


async def test_a_clone_of_a_clone_waits_for_its_inputs(rig: InputRig) -> None:
    await rig.put("a")
    await rig.put("b")
    job = await fed(rig, 2 * CLONE_CHUNKS_PAGE)
    first = await clone(rig, job)
    second = await clone(rig, first)
    await rig.tend(second)
    assert (await rig.jobs.get_job(second)).state == "queued"
    assert second in await rig.jobs.jobs_to_tend(10), "the sweep comes back to it"
    await rig.jobs.tend(first)
    await rig.tend(second)
    assert not (await rig.view(second)).phases[0].complete
    await rig.tend(first)
    await rig.tend(second)
    for one in (first, second):
        view = await rig.view(one)
        assert (view.inputs, view.phases[0].complete) == (4 * CLONE_CHUNKS_PAGE, True)


@pytest.mark.invariant("J3")
async def test_inputs_of_a_reducer_end_in_pages(rig: InputRig, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("ending", "resolve"):
        monkeypatch.setattr(f"manta.catalog.job_scripts.{module}.RESOLVE_PAGE", 2)
    for key in "abcde":
        await rig.put(key)
    job = await rig.begin("s3://books/", phases=[{**REDUCE, "count": 2}])
    first, second = await rig.lease()
    await rig.report(rig.done(first))
    await rig.report(failure(ref(second.task)))
    assert (await rig.jobs.get_job(job)).state == "running"
    await rig.tend(job)
    assert (await rig.jobs.get_job(job)).state == "done"
    states = {line.fields["key"]: line.fields["state"] for line in await rig.lines(job)}
    assert sorted(states.values()) == ["committed"] * 3 + ["failed"] * 2
    await rig.jobs.retry_job(job)
    await rig.tend(job)
    await rig.report(*[rig.done(grant) for grant in await rig.lease()])
    await rig.tend(job)
    assert {line.fields["state"] for line in await rig.lines(job)} == {"committed"}


@pytest.mark.invariant("J3")
async def test_cancelling_keeps_what_reducers_have_ended(rig: InputRig) -> None:
    for key in "abcd":
        await rig.put(key)
    job = await rig.begin("s3://books/", phases=[{**REDUCE, "count": 2}])
    (first,) = await rig.lease(1)
    await rig.report(rig.done(first))
    await rig.jobs.cancel_job(job, "Enough.")
    await rig.tend(job)
    assert (await rig.jobs.get_job(job)).state == "cancelled"
    states = [line.fields["state"] for line in await rig.lines(job)]
    assert sorted(states) == ["cancelled", "cancelled", "committed", "committed"]
