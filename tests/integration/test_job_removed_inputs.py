"""A job over the outputs of one that is removed, on every engine: it is told, and takes no part for the whole."""

import pytest

from jobs.model.wire import TaskResult
from manta.catalog.job_records import Granted
from manta.core.names import job_bucket
from tests.support.job_inputs import InputRig, rig
from tests.support.jobs import MAP, output, ref, success

__all__ = ["rig"]


def _wrote(grant: Granted) -> TaskResult:
    return success(ref(grant.task), [output(grant.task.slot, ("n1",))])


async def _done(rig: InputRig) -> str:
    """A job with two outputs in its own bucket."""
    for key in ("a", "b"):
        await rig.put(key)
    job = await rig.begin("s3://books/a", "s3://books/b", phases=[MAP])
    await rig.report(*(_wrote(grant) for grant in await rig.lease()))
    assert (await rig.view(job)).outputs == 2
    return job


async def test_outputs_of_a_job_are_inputs_of_another(rig: InputRig) -> None:
    bucket = job_bucket(await _done(rig))
    job = await rig.begin(f"s3://{bucket}/", phases=[MAP])
    assert [(line.fields["bucket"], line.fields["key"]) for line in await rig.lines(job)] == [
        (bucket, "map-0/00000001"), (bucket, "map-0/00000002")
    ]  # fmt: skip


@pytest.mark.parametrize("written", ["", "map-0/00000001"])
async def test_what_lies_under_an_output_is_not_in_the_jobs_own_bucket(rig: InputRig, written: str) -> None:
    await rig.put("a")
    other = await rig.begin("s3://books/a", phases=[MAP], output="s3://books/out/")
    await rig.report(*(_wrote(grant) for grant in await rig.lease()))
    job = await rig.begin(f"s3://{job_bucket(other)}/{written}", phases=[MAP])
    (error,) = await rig.jobs.errors(job, 0, 10)
    assert error.fields["code"] == "ResourceNotFound"
    assert "what a job with `output` puts out lies under that" in str(error.fields["message"])


@pytest.mark.invariant("J3")
@pytest.mark.parametrize("written", ["", "map-*/*"])
async def test_a_job_that_is_being_removed_has_no_outputs_any_more(rig: InputRig, written: str) -> None:
    """J3: its objects go page by page; whoever lists them meanwhile would take what is left for all of them."""
    removed = await _done(rig)
    bucket = job_bucket(removed)
    await rig.jobs.delete_job(removed)
    meanwhile = await rig.begin(f"s3://{bucket}/{written}", phases=[MAP])
    await rig.tend(removed)
    afterwards = await rig.begin(f"s3://{bucket}/{written}", phases=[MAP])
    said = {meanwhile: f"The job {removed} is being removed, and its outputs", afterwards: "or is gone"}
    for job, words in said.items():
        (error,) = await rig.jobs.errors(job, 0, 10)
        assert (error.fields["code"], error.fields["input"]) == ("ResourceNotFound", f"{bucket}/{written}")
        assert words in error.fields["message"]
        assert (await rig.view(job)).inputs == 1
    assert await rig.lease() == []


async def test_what_was_found_before_stays_readable(rig: InputRig) -> None:
    """Inputs are pinned: the job runs to its end on outputs whose job went."""
    removed = await _done(rig)
    job = await rig.begin(f"s3://{job_bucket(removed)}/", phases=[MAP])
    await rig.jobs.delete_job(removed)
    await rig.tend(removed)
    grants = await rig.lease()
    assert [grant.task.key for grant in grants] == ["map-0/00000001", "map-0/00000002"]
    await rig.report(*(_wrote(grant) for grant in grants))
    view = await rig.view(job)
    assert (view.state, view.outputs, view.errors) == ("done", 2, 0)
