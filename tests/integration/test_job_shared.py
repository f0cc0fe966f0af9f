"""Jobs over another account's objects, on every engine: what its policy shares is read, what it withdraws is not."""

import json
from dataclasses import replace

import pytest

from manta.catalog.records import Attributes
from manta.core.errors import AccessDenied, NoSuchBucket
from manta.core.names import new_id
from tests.support.job_inputs import InputRig, rig
from tests.support.jobs import MAP, REDUCE, ref, stored

__all__ = ["rig"]
BATCH = {**MAP, "batch": 4}


def sharing(*keys: str, lists: bool = True, who: str = "alice") -> str:
    """A policy for the bucket `bobs`."""
    statements = [
        {
            "Effect": "Allow",
            "Principal": {"AWS": who},
            "Action": "s3:GetObject",
            "Resource": [f"arn:aws:s3:::bobs/{key}" for key in keys],
        }
    ]
    if lists:
        listing = {"Action": "s3:ListBucket", "Resource": "arn:aws:s3:::bobs"}
        statements.append({"Effect": "Allow", "Principal": "*", **listing})
    return json.dumps({"Statement": statements})


@pytest.fixture
async def bobs(rig: InputRig) -> InputRig:
    await rig.catalog.create_bucket("bobs", "bob", 7)
    for key in ("open/a", "open/b", "shut/c"):
        await rig.put(key, bucket="bobs")
    return rig


async def test_a_bucket_keeps_its_policy(bobs: InputRig) -> None:
    catalog, text = bobs.catalog, sharing("*")
    await catalog.set_bucket_policy("bobs", text)
    located = await catalog.locate("bobs", "open/a")
    assert (await catalog.get_bucket("bobs")).policy == located.bucket.policy == text
    assert [one.policy for one in await catalog.list_buckets("bob")] == [text]
    await catalog.set_bucket_policy("bobs", None)
    assert (await catalog.get_bucket("bobs")).policy is None
    with pytest.raises(NoSuchBucket):
        await catalog.set_bucket_policy("absent", text)
    assert (await catalog.get_bucket("books")).policy is None


@pytest.mark.invariant("S4", "J3")
async def test_each_input_is_read_by_what_is_shared(bobs: InputRig) -> None:
    await bobs.catalog.set_bucket_policy("bobs", sharing("open/*"))
    job = await bobs.begin("s3://bobs/", "s3://bobs/open/a", "s3://bobs/shut/c", "s3://bobs/none", phases=[MAP])
    assert sorted(grant.task.key for grant in await bobs.lease()) == ["open/a", "open/a", "open/b"]
    errors = [line.fields for line in await bobs.jobs.errors(job, 0, 10)]
    assert sorted((error["code"], error["input"]) for error in errors) == [
        ("AccessDenied", "bobs/none"),
        ("AccessDenied", "bobs/shut/c"),
        ("AccessDenied", "bobs/shut/c"),
    ]
    assert (await bobs.view(job)).inputs == 6


async def test_listing_needs_its_own_right(bobs: InputRig) -> None:
    await bobs.catalog.set_bucket_policy("bobs", sharing("*", lists=False))
    job = await bobs.begin("s3://bobs/", "s3://bobs/shut/c", phases=[MAP])
    (grant,) = await bobs.lease()
    assert grant.task.key == "shut/c"
    (error,) = await bobs.jobs.errors(job, 0, 10)
    assert (error.fields["code"], error.fields["input"]) == ("AccessDenied", "bobs/")


@pytest.mark.invariant("S4")
async def test_who_may_only_list_learns_nothing_of_metadata(bobs: InputRig) -> None:
    """Whether an object that may not be read has a certain name and text is no answer of `where`."""
    await bobs.catalog.set_bucket_policy("bobs", sharing("open/*"))
    told = []
    for text in ("7", "8"):
        version = replace(
            stored(bobs.clock.now_ms(), "shut/c", ("n1",)), attributes=Attributes(metadata={"salary": text})
        )
        await bobs.catalog.put_object("bobs", version)
        where = {"metadata": {"salary": "7"}}
        job = await bobs.begin({"bucket": "bobs", "prefix": "shut/", "where": where}, phases=[MAP])
        view = await bobs.view(job)
        told.append((view.inputs, view.errors))
    assert told == [(1, 1), (1, 1)]
    job = await bobs.begin({"bucket": "bobs", "prefix": "shut/", "where": {"size": {"gt": 1000}}}, phases=[MAP])
    assert (await bobs.view(job)).inputs == 0


@pytest.mark.invariant("S4", "J3")
@pytest.mark.parametrize("phase", [MAP, BATCH], ids=["one by one", "in a batch"])
async def test_what_is_withdrawn_before_it_is_read_is_not_read(bobs: InputRig, phase: dict[str, object]) -> None:
    await bobs.catalog.set_bucket_policy("bobs", sharing("*"))
    job = await bobs.begin("s3://bobs/", phases=[phase])
    await bobs.catalog.set_bucket_policy("bobs", sharing("open/b"))
    grants = await bobs.lease()
    assert [one.key for grant in grants for one in grant.task.inputs] == ["open/b"]
    await bobs.catalog.set_bucket_policy("bobs", None)
    assert await bobs.lease() == []
    errors = [line.fields for line in await bobs.jobs.errors(job, 0, 10)]
    assert [(error["code"], error["input"]) for error in errors] == [
        ("AccessDenied", "bobs/open/a"),
        ("AccessDenied", "bobs/shut/c"),
    ]


async def test_a_job_of_which_all_is_withdrawn_ends(bobs: InputRig) -> None:
    await bobs.catalog.set_bucket_policy("bobs", sharing("*"))
    job = await bobs.begin("s3://bobs/", phases=[BATCH])
    await bobs.catalog.set_bucket_policy("bobs", sharing("*", who="carol"))
    assert await bobs.lease() == []
    view = await bobs.view(job)
    assert (view.state, view.errors, view.phases[0].tasks["failed"]) == ("done", 3, 3)
    await bobs.catalog.set_bucket_policy("bobs", sharing("*"))
    await bobs.jobs.retry_job(job)
    await bobs.tend(job)
    assert len(await bobs.lease()) == 3


async def test_what_is_pinned_stays_readable_when_its_name_is_gone(bobs: InputRig) -> None:
    await bobs.put("mine")
    await bobs.begin("s3://books/", phases=[MAP])
    await bobs.catalog.delete_object("books", "mine")
    await bobs.catalog.delete_bucket("books")
    assert [grant.task.key for grant in await bobs.lease()] == ["mine"]


@pytest.mark.invariant("S4")
async def test_a_reducer_is_given_nothing_that_was_withdrawn(bobs: InputRig) -> None:
    await bobs.catalog.set_bucket_policy("bobs", sharing("*"))
    await bobs.put("mine")
    await bobs.begin("s3://books/mine", "s3://bobs/", phases=[REDUCE])
    (grant,) = await bobs.lease()
    assert len(await bobs.jobs.reducer_inputs("n1", ref(grant.task), 0, 10)) == 4
    await bobs.catalog.set_bucket_policy("bobs", sharing("open/*"))
    with pytest.raises(AccessDenied, match="s3://bobs/shut/c"):
        await bobs.jobs.reducer_inputs("n1", ref(grant.task), 0, 10)
    await bobs.catalog.delete_objects("bobs", ["open/a", "open/b", "shut/c"])
    await bobs.catalog.delete_bucket("bobs")
    rows = await bobs.jobs.reducer_inputs("n1", ref(grant.task), 0, 10)
    assert len(rows) == 4, "what is pinned stays readable when its name is gone"


@pytest.mark.invariant("S4")
async def test_a_straggler_gets_no_second_attempt_on_what_was_withdrawn(bobs: InputRig) -> None:
    await bobs.jobs.renew("n2", "e", bobs.clock.now_ms() + 10_000_000)
    await bobs.put("open/z", nodes=("n1", "n2"), bucket="bobs")
    await bobs.catalog.set_bucket_policy("bobs", sharing("*"))
    await bobs.begin("s3://bobs/open/z", phases=[MAP])
    (grant,) = await bobs.lease()
    await bobs.catalog.set_bucket_policy("bobs", None)
    slot = new_id(bobs.clock.now_ms())
    assert await bobs.jobs.lease_second("n2", "e", ref(grant.task), slot) is None
    await bobs.catalog.set_bucket_policy("bobs", sharing("open/*"))
    assert await bobs.jobs.lease_second("n2", "e", ref(grant.task), slot) is not None
