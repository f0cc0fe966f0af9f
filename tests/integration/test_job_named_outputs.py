"""Outputs that name objects, as the job store commits or refuses them on every engine."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import msgspec
import pytest

from jobs.model.wire import Output
from manta.catalog.job_records import Granted
from manta.catalog.store import Catalog
from manta.core.errors import BadRequest, StaleAttempt
from manta.core.limits import LEASE_S
from manta.core.names import job_bucket, new_id
from tests.support.catalog import StandingClock, opened
from tests.support.jobs import MAP, failure, further_slot, new_job, output, ref, stored, success


@dataclass
class Job:
    """A job of alice with one input; `grant` is its running task."""

    catalog: Catalog
    clock: StandingClock
    job_id: str
    grant: Granted

    def named(self, bucket: str, key: str, **fields: object) -> Output:
        made = output(further_slot(self.clock.now_ms()), ("n1",))
        return msgspec.structs.replace(made, bucket=bucket, key=key, **fields)

    async def reference(self, bucket: str, key: str) -> Output:
        version = (await self.catalog.locate(bucket, key)).object
        assert version is not None
        return Output(None, version.size, bytes(16), bytes(8), bucket=bucket, key=key, version_id=version.version_id)

    async def report(self, *outputs: Output) -> None:
        stirred = await self.catalog.jobs.report("n1", [success(ref(self.grant.task), outputs)])
        assert stirred.stale == ()

    async def keys(self, bucket: str) -> list[str]:
        return [one.key for one in (await self.catalog.list_objects(bucket)).objects]

    async def codes(self) -> list[str]:
        return [line.fields["code"] for line in await self.catalog.jobs.errors(self.job_id, 0, 10)]

    async def lease(self) -> Granted:
        (grant,) = await self.catalog.jobs.lease("n1", "e", [new_id(self.clock.now_ms())])
        return grant


async def begun(catalog: Catalog, clock: StandingClock, phases: int = 1) -> Job:
    for bucket, owner in (("books", "alice"), ("secret", "bob")):
        await catalog.create_bucket(bucket, owner, 7)
        await catalog.put_object(bucket, stored(clock.now_ms(), "in", ("n1",)))
    await catalog.jobs.renew("n1", "e", clock.now_ms() + int(LEASE_S * 1000))
    made = await catalog.jobs.create_job(new_job(clock.now_ms(), [MAP] * phases, ["s3://books/in"]))
    while (await catalog.jobs.tend(made.job_id)).more:
        pass
    (grant,) = await catalog.jobs.lease("n1", "e", [new_id(clock.now_ms())])
    return Job(catalog, clock, made.job_id, grant)


@pytest.fixture
async def job(catalog_url: str, clock: StandingClock) -> AsyncIterator[Job]:
    async with opened(catalog_url, clock) as catalog:
        yield await begun(catalog, clock)


@pytest.fixture
async def inner(catalog_url: str, clock: StandingClock) -> AsyncIterator[Job]:
    async with opened(catalog_url, clock) as catalog:
        yield await begun(catalog, clock, phases=2)


async def test_a_named_output_is_an_object_with_its_headers(job: Job) -> None:
    made = job.named("books", "out", headers={"content-type": "text/x", "x-amz-meta-a": "b"})
    await job.report(made, job.named("books", "beside", side=True), output(job.grant.task.slot, ("n1",)))
    version = (await job.catalog.locate("books", "out")).object
    assert version is not None
    assert (version.attributes.headers, version.attributes.metadata) == ({"content-type": "text/x"}, {"a": "b"})
    lines = await job.catalog.jobs.outputs(job.job_id, 0, 10)
    assert [(line.fields["bucket"], line.fields["key"]) for line in lines] == [
        ("books", "out"),
        (job_bucket(job.job_id), "map-0/00000001"),
    ]
    assert await job.keys("books") == ["beside", "in", "out"]


@pytest.mark.invariant("S4")
@pytest.mark.parametrize(
    ("bucket", "code"),
    [("secret", "AccessDenied"), ("missing", "ResourceNotFound"), ("job-00000000000000000000", "AccessDenied")],
)
async def test_the_commit_asks_for_the_owners_rights_again(job: Job, bucket: str, code: str) -> None:
    """S4: a node that reports what the gateway would not have allowed gets nothing committed."""
    await job.report(job.named(bucket, "out"), job.named("books", "other"))
    assert await job.codes() == [code]
    assert await job.keys("books") == ["in"]
    assert await job.keys("secret") == ["in"]


async def test_only_the_tasks_own_names_in_the_jobs_bucket(job: Job) -> None:
    own = job_bucket(job.job_id)
    await job.report(job.named(own, "map-0/00000002.x"))
    assert await job.codes() == ["AccessDenied"]


async def test_a_reference_to_anothers_object_is_refused(job: Job) -> None:
    await job.report(await job.reference("secret", "in"))
    assert await job.codes() == ["AccessDenied"]
    assert await job.catalog.jobs.outputs(job.job_id, 0, 10) == []


async def test_a_reference_is_the_next_phases_input_and_outlives_the_object(inner: Job) -> None:
    await inner.catalog.put_object("books", stored(inner.clock.now_ms(), "data", ("n1",)))
    await inner.report(await inner.reference("books", "data"), await inner.reference("books", "data"))
    await inner.catalog.delete_object("books", "data")
    first, second = await inner.catalog.jobs.lease("n1", "e", [new_id(inner.clock.now_ms()) for _ in range(2)])
    assert (first.task.bucket, first.task.key, first.task.blob_id) == ("books", "data", second.task.blob_id)
    assert await inner.catalog.jobs.report("n1", [failure(ref(first.task)), failure(ref(second.task))])
    assert len(await inner.codes()) == 2


async def test_a_version_that_changed_meanwhile_is_tried_again(job: Job) -> None:
    await job.catalog.put_object("books", stored(job.clock.now_ms(), "data", ("n1",)))
    old = await job.reference("books", "data")
    await job.catalog.put_object("books", stored(job.clock.now_ms(), "data", ("n1",)))
    await job.report(old)
    assert await job.codes() == []
    again = await job.lease()
    assert again.task.attempt == 2
    job.grant = again
    await job.report(await job.reference("books", "data"))
    assert [line.fields["key"] for line in await job.catalog.jobs.outputs(job.job_id, 0, 10)] == ["data"]


async def test_a_named_output_of_an_inner_phase_is_object_and_input(inner: Job) -> None:
    """Two references to one blob: neither end takes it from the other."""
    await inner.report(inner.named("books", "out"))
    grant = await inner.lease()
    version = (await inner.catalog.locate("books", "out")).object
    assert version is not None
    assert version.blob is not None
    assert grant.task.blob_id == version.blob.blob_id
    assert (await inner.catalog.jobs.report("n1", [success(ref(grant.task))])).stale == ()
    await inner.catalog.jobs.tend(inner.job_id)
    assert await inner.catalog.unknown_blobs("n1", [version.blob.blob_id]) == set()


@pytest.mark.invariant("J1", "J2")
async def test_a_stale_attempts_names_never_appear(job: Job) -> None:
    """J1, J2: the lease was lost before the report came."""
    await job.catalog.jobs.release("n1", [ref(job.grant.task)], delivered=True)
    late = await job.catalog.jobs.report("n1", [success(ref(job.grant.task), [job.named("books", "late")])])
    assert late.stale
    assert await job.keys("books") == ["in"]
    with pytest.raises(StaleAttempt):
        await job.catalog.jobs.attempt_rights("n1", ref(job.grant.task))


async def test_rights_are_those_of_the_current_attempt_on_its_node(job: Job) -> None:
    task, owner, plan = await job.catalog.jobs.attempt_rights("n1", ref(job.grant.task))
    assert (task.key, owner, len(plan.phases)) == ("in", "alice", 1)
    with pytest.raises(StaleAttempt):
        await job.catalog.jobs.attempt_rights("n2", ref(job.grant.task))
    await job.catalog.jobs.cancel_job(job.job_id, "enough")
    with pytest.raises(StaleAttempt):
        await job.catalog.jobs.attempt_rights("n1", ref(job.grant.task))


async def test_odd_reports_are_refused_whole(job: Job) -> None:
    twice = [job.named("books", "out"), job.named("books", "out")]
    split = job.named("books", "out", headers={"content-type": "a\r\nx: y"})
    nameless = msgspec.structs.replace(job.named("books", "out"), bucket="")
    for outputs in (twice, [split], [nameless], [msgspec.structs.replace(twice[0], reducer=-1)]):
        with pytest.raises(BadRequest):
            await job.catalog.jobs.report("n1", [success(ref(job.grant.task), outputs)])
    assert await job.keys("books") == ["in"]
