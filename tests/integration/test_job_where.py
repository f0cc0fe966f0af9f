"""Inputs chosen by size, date and metadata, on every engine."""

from dataclasses import replace

from jobs.model.inputs import parse_input
from manta.catalog.records import Attributes
from tests.support.job_inputs import InputRig, rig
from tests.support.jobs import MAP, new_job, stored

__all__ = ["rig"]


async def put(rig: InputRig, key: str, size: int, modified_ms: int, **metadata: str) -> None:
    version = stored(rig.clock.now_ms(), key, ("n1",), size)
    await rig.catalog.put_object(
        "books", replace(version, modified_ms=modified_ms, attributes=Attributes(metadata=metadata))
    )


async def chosen(rig: InputRig, where: dict[str, object], glob: str = "**") -> list[str]:
    """By a job, and by its explanation."""
    written = {"bucket": "books", "glob": glob, "where": where}
    job = await rig.begin(written, phases=[MAP])
    keys = [grant.task.key for grant in await rig.lease(20) if grant.task.job_id == job]
    page = await rig.jobs.find_inputs("alice", new_job(1, [MAP], []).plan, [parse_input(written)], 0, "")
    assert len(page.tasks) == len(keys) == (await rig.view(job)).inputs
    return sorted(keys)


async def test_size_date_and_metadata_choose(rig: InputRig) -> None:
    await put(rig, "a", 0, 1_000, project="apollo")
    await put(rig, "b", 10, 2_000, project="apollo", stage="1")
    await put(rig, "c.txt", 20, 3_000, project="gemini")
    await put(rig, "d", 30, 4_000)
    assert await chosen(rig, {}) == ["a", "b", "c.txt", "d"]
    assert await chosen(rig, {"size": {"gt": 0, "le": 20}}) == ["b", "c.txt"]
    assert await chosen(rig, {"size": {"ge": 20}}, "*.txt") == ["c.txt"]
    assert await chosen(rig, {"modified": {"ge": "1970-01-01T00:00:02Z", "lt": "1970-01-01T00:00:04Z"}}) == [
        "b",
        "c.txt",
    ]
    assert await chosen(rig, {"metadata": {"project": "apollo"}}) == ["a", "b"]
    assert await chosen(rig, {"metadata": {"project": "apollo", "stage": "1"}, "size": {"lt": 100}}) == ["b"]
    assert await chosen(rig, {"metadata": {"project": "none"}}) == []


async def test_a_retry_looks_with_the_same_conditions(rig: InputRig) -> None:
    job = await rig.begin({"bucket": "later", "prefix": "x", "where": {"size": {"ge": 20}}}, phases=[MAP])
    assert (await rig.view(job)).errors == 1
    await rig.catalog.create_bucket("later", "alice", 7)
    await rig.put("x-small", 10, bucket="later")
    await rig.put("x-large", 30, bucket="later")
    await rig.jobs.retry_job(job)
    await rig.tend(job)
    (grant,) = await rig.lease()
    assert grant.task.key == "x-large"
