"""Objects larger than a phase's `split`, on every engine: ranges as tasks, their counts, errors and second tries."""

import pytest

from jobs.model.inputs import InputSpec
from jobs.model.wire import Output
from manta.core.limits import RESOLVE_PAGE, SPLIT_MIN_BYTES, SPLIT_RANGES_MAX
from tests.support.job_inputs import InputRig, rig
from tests.support.jobs import MAP, REDUCE, failure, new_job, output, ref, success

__all__ = ["rig"]
KIB64 = SPLIT_MIN_BYTES
SPLIT = {**MAP, "split": "64K"}


async def test_a_large_object_is_several_tasks_and_one_input(rig: InputRig) -> None:
    await rig.put("large", 2 * KIB64 + 5)
    await rig.put("small", KIB64)
    job = await rig.begin("s3://books/large", "s3://books/small", phases=[SPLIT])
    grants = await rig.lease()
    assert [(grant.task.key, grant.task.range, grant.task.size) for grant in grants] == [
        ("large", (0, KIB64), 2 * KIB64 + 5),
        ("large", (KIB64, 2 * KIB64), 2 * KIB64 + 5),
        ("large", (2 * KIB64, 2 * KIB64 + 5), 2 * KIB64 + 5),
        ("small", None, KIB64),
    ]
    assert len({grant.task.version_id for grant in grants}) == 2
    await rig.jobs.report("n1", [success(ref(grant.task), [output(grant.task.slot, ("n1",))]) for grant in grants])
    view = await rig.view(job)
    assert (view.state, view.inputs, view.outputs, view.phases[0].tasks["committed"]) == ("done", 2, 4, 4)
    lines = [line.fields for line in await rig.jobs.inputs(job, 0, 10)]
    assert [line.get("range") for line in lines] == ["0-65536", "65536-131072", "131072-131077", None]
    assert {line["state"] for line in lines} == {"committed"}


async def test_each_range_keeps_the_blob_of_its_version(rig: InputRig) -> None:
    blob = await rig.put("large", 2 * KIB64)
    assert blob is not None
    await rig.begin("s3://books/large", phases=[SPLIT])
    await rig.catalog.delete_object("books", "large")
    for grant in await rig.lease():
        assert grant.task.blob_id == blob
        assert [one.blob_id for one in await rig.catalog.blobs_of_node("n1")] == [blob]
        await rig.jobs.report("n1", [success(ref(grant.task))])
    assert await rig.catalog.blobs_of_node("n1") == []


@pytest.mark.invariant("J1")
async def test_a_failed_range_is_named_and_tried_again_alone(rig: InputRig) -> None:
    await rig.put("large", 3 * KIB64)
    job = await rig.begin("s3://books/large", phases=[SPLIT])
    grants = await rig.lease()
    results = [success(ref(grant.task), [output(grant.task.slot, ("n1",))]) for grant in grants]
    results[1] = failure(ref(grants[1].task))
    await rig.jobs.report("n1", results)
    view = await rig.view(job)
    assert (view.state, view.inputs, view.outputs, view.errors) == ("done", 1, 2, 1)
    (error,) = await rig.jobs.errors(job, 0, 10)
    assert (error.fields["input"], error.fields["range"]) == ("books/large", "65536-131072")
    await rig.jobs.retry_job(job)
    await rig.tend(job)
    (again,) = await rig.lease()
    assert again.task.range == (KIB64, 2 * KIB64)
    await rig.jobs.report("n1", [success(ref(again.task), [output(again.task.slot, ("n1",))])])
    view = await rig.view(job)
    assert (view.state, view.inputs, view.outputs, view.errors) == ("done", 1, 3, 0)


async def test_an_inner_phase_splits_what_the_one_before_made(rig: InputRig) -> None:
    await rig.put("a", 10)
    job = await rig.begin("s3://books/a", phases=(MAP, SPLIT, REDUCE))
    (first,) = await rig.lease()
    made: Output = output(first.task.slot, ("n1",), size=2 * KIB64 + 1)
    await rig.jobs.report("n1", [success(ref(first.task), [made])])
    grants = await rig.lease()
    assert [grant.task.range for grant in grants] == [(0, KIB64), (KIB64, 2 * KIB64), (2 * KIB64, 2 * KIB64 + 1)]
    await rig.jobs.report("n1", [success(ref(grant.task)) for grant in grants])
    (reducer,) = await rig.lease()
    await rig.jobs.report("n1", [success(ref(reducer.task))])
    await rig.tend(job)
    assert (await rig.jobs.get_job(job)).state == "done"


@pytest.mark.invariant("J4", "J7")
async def test_outputs_of_very_many_ranges_are_cut_page_by_page(rig: InputRig) -> None:
    """However many come in one report, each transaction makes a page of them; between pages anything may crash."""
    for key in ("a", "b", "c"):
        await rig.put(key)
    job = await rig.begin("s3://books/", phases=(MAP, SPLIT, REDUCE))
    size = RESOLVE_PAGE * KIB64 - 1  # a page, to the range
    made = [success(ref(one.task), [output(one.task.slot, ("n1",), size=size)]) for one in await rig.lease()]
    stirred = await rig.jobs.report("n1", made)
    assert stirred.more == {job}
    seen = [(2, RESOLVE_PAGE)]
    while stirred.more:
        view = await rig.jobs.get_job(job)
        assert (view.state, (view.phases[1].tasks["waiting"], view.phases[1].tasks["ready"])) == ("running", seen[-1])
        waiting, ready = seen[-1]
        stirred = await rig.jobs.tend(job)
        seen.append((waiting - 1, ready + RESOLVE_PAGE))
    assert seen[-1] == (0, 3 * RESOLVE_PAGE)
    ranges: dict[str, list[tuple[int, int] | None]] = {}
    while grants := await rig.lease(500):
        for grant in grants:
            ranges.setdefault(grant.task.key, []).append(grant.task.range)
        await rig.report(*(success(ref(grant.task)) for grant in grants))
    assert ranges.pop("") == [None]  # the reducer
    assert list(ranges.values()) == [[(start, min(start + KIB64, size)) for start in range(0, size, KIB64)]] * 3
    await rig.tend(job)
    assert (await rig.jobs.get_job(job)).state == "done"
    assert sorted(one.size for one in await rig.catalog.blobs_of_node("n1")) == [10] * 3


@pytest.mark.invariant("J3")
async def test_what_waits_to_be_cut_is_cancelled_with_its_job(rig: InputRig) -> None:
    await rig.put("a")
    job = await rig.begin("s3://books/a", phases=(MAP, SPLIT))
    (grant,) = await rig.lease()
    blob = grant.task.slot
    await rig.report(success(ref(grant.task), [output(blob, ("n1",), size=3 * RESOLVE_PAGE * KIB64)]))
    await rig.jobs.cancel_job(job, "Enough.")
    await rig.tend(job)
    view = await rig.view(job)
    assert view.state == "cancelled"
    assert view.phases[1].tasks["cancelled"] == view.errors
    assert blob not in [one.blob_id for one in await rig.catalog.blobs_of_node("n1")]


async def test_a_page_of_many_ranges_is_bounded_and_none_is_lost(rig: InputRig) -> None:
    """A page ends with the input that fills it, however the inputs are written."""
    for key in ("a", "b", "c"):
        await rig.put(key, RESOLVE_PAGE * KIB64)
    for inputs in (["s3://books/"], ["s3://books/a", "s3://books/b", "s3://books/c"]):
        made = await rig.jobs.create_job(new_job(rig.clock.now_ms(), [SPLIT], inputs))
        await rig.jobs.tend(made.job_id)
        assert (await rig.jobs.get_job(made.job_id)).phases[0].tasks["ready"] == RESOLVE_PAGE
        await rig.tend(made.job_id)
        view = await rig.jobs.get_job(made.job_id)
        assert (view.inputs, view.phases[0].tasks["ready"]) == (3, 3 * RESOLVE_PAGE)


async def test_explain_counts_inputs_and_their_ranges(rig: InputRig) -> None:
    await rig.put("large", 2 * KIB64 + 5)
    await rig.put("huge", 2 * SPLIT_RANGES_MAX * KIB64)
    plan = new_job(1, [SPLIT], []).plan
    page = await rig.jobs.find_inputs("alice", plan, [InputSpec("books", key="large")], 0, "")
    assert page.tasks == ((KIB64, ("n1",), 1), (KIB64, ("n1",), 0), (5, ("n1",), 0))
    page = await rig.jobs.find_inputs("alice", plan, [InputSpec("books", key="huge")], 0, "")
    assert [size for size, _, _ in page.tasks] == [2 * KIB64] * SPLIT_RANGES_MAX
