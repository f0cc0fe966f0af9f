"""What the job store answers on every engine: one suite, run on each of them."""

import dataclasses
import hashlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from msgspec.structs import replace

from jobs.model.inputs import InputSpec
from jobs.model.resources import Needs
from jobs.model.states import TaskState
from jobs.model.wire import AttemptRef, Output, StoppedAttempt, TaskResult
from manta.catalog.job_chunks import encode_chunks
from manta.catalog.job_records import Choice, Granted, JobView, NewJob, UsageDay, WrittenInputs
from manta.catalog.job_scripts.attempts import earlier_attempts
from manta.catalog.store import Catalog
from manta.catalog.task_records import TaskRow
from manta.core.errors import BadRequest, Conflict, JobClosed, NoSuchBucket, NoSuchJob, StaleAttempt
from manta.core.limits import (
    EARLIER_ATTEMPTS_MAX,
    FAIR_JOBS_MAX,
    GARBAGE_DELAY_S,
    HOLDER_WAIT_S,
    INLINE_OUTPUT_BYTES,
    LEASE_S,
    LOST_LEASES_MAX,
    REDUCER_PATIENCE_S,
    RESOLVE_PAGE,
    STOPPED_TOLD_S,
)
from manta.core.names import job_bucket, new_id
from tests.support.catalog import StandingClock, opened
from tests.support.jobs import MAP, REDUCE, expire, failure, further_slot, new_job, output, ref, stored, success


@pytest.fixture
async def catalog(catalog_url: str, clock: StandingClock) -> AsyncIterator[Catalog]:
    async with opened(catalog_url, clock) as catalog:
        await catalog.create_bucket("books", "alice", 7)
        await catalog.create_bucket("secret", "bob", 7)
        await alive(catalog, clock, "n1", "n2")
        yield catalog


async def alive(catalog: Catalog, clock: StandingClock, *nodes: str) -> None:
    for node in nodes:
        await catalog.jobs.renew(node, "e", clock.now_ms() + int(LEASE_S * 1000))


async def put(catalog: Catalog, clock: StandingClock, *keys: str, nodes: tuple[str, ...] = ("n1", "n2")) -> None:
    for key in keys:
        await catalog.put_object("books", stored(clock.now_ms(), key, nodes))


async def begin(
    catalog: Catalog, clock: StandingClock, phases: Sequence[dict[str, Any]], *inputs: object, **more: Any
) -> str:
    """A job with its inputs resolved."""
    made = await catalog.jobs.create_job(new_job(clock.now_ms(), phases, inputs, **more))
    await tended(catalog, made.job_id)
    return made.job_id


async def tended(catalog: Catalog, job_id: str) -> None:
    while (await catalog.jobs.tend(job_id)).more:
        pass


async def lease(catalog: Catalog, clock: StandingClock, node: str = "n1", lanes: int = 10) -> list[Granted]:
    return await catalog.jobs.lease(node, "e", [new_id(clock.now_ms()) for _ in range(lanes)])


def done(grants: Sequence[Granted], nodes: tuple[str, ...] = ("n1", "n2")) -> list[TaskResult]:
    return [success(ref(grant.task), [output(grant.task.slot, nodes)]) for grant in grants]


def inline(data: bytes) -> Output:
    return Output(None, len(data), hashlib.md5(data).digest(), bytes(8), inline=data)


def counts(view: JobView, phase: int = 0) -> dict[str, int]:
    return {state: many for state, many in view.phases[phase].tasks.items() if many}


async def test_a_map_runs_once_for_each_input_and_its_outputs_are_objects(
    catalog: Catalog, clock: StandingClock
) -> None:
    await put(catalog, clock, "a", "b")
    job = await begin(catalog, clock, [MAP], "s3://books/", "s3://books/a")
    grants = await lease(catalog, clock)
    assert sorted(grant.task.input_name for grant in grants) == ["books/a", "books/a", "books/b"]
    assert (await catalog.jobs.get_job(job)).state == "running"
    stirred = await catalog.jobs.report("n1", done(grants))
    assert stirred.stale == ()
    view = await catalog.jobs.get_job(job)
    assert (view.state, view.inputs, view.outputs, view.errors, counts(view)) == ("done", 3, 3, 0, {"committed": 3})
    assert (view.in_place_bytes, view.task_seconds, view.byte_seconds) == (30, 1.5, 3 * (128 << 20))
    lines = await catalog.jobs.outputs(job, 0, 10)
    assert [line.seq for line in lines] == [1, 2, 3]
    listed = await catalog.list_objects(job_bucket(job))
    assert [entry.key for entry in listed.objects] == sorted(line.fields["key"] for line in lines)
    found = await catalog.locate(job_bucket(job), "map-0/00000001")
    assert found.object is not None
    assert found.object.blob is not None
    assert (found.object.etag, found.object.blob.nodes) == (hashlib.md5(b"xxx").hexdigest(), ("n1", "n2"))
    assert found.bucket.owner_id == "alice"
    assert job_bucket(job) not in [bucket.name for bucket in await catalog.list_buckets("alice")]


async def test_inputs_that_cannot_be_read_are_errors_by_their_code(catalog: Catalog, clock: StandingClock) -> None:
    job = await begin(
        catalog, clock, [MAP], "s3://books/none", "s3://secret/x", "s3://secret/", "s3://absent/x", "nonsense"
    )
    view = await catalog.jobs.get_job(job)
    assert (view.state, view.inputs, counts(view)) == ("done", 5, {"failed": 5})
    errors = [line.fields for line in await catalog.jobs.errors(job, 0, 10)]
    codes = ["ResourceNotFound", "AccessDenied", "AccessDenied", "ResourceNotFound", "InvalidInput"]
    assert [error["code"] for error in errors] == codes
    written = ["books/none", "secret/x", "secret/", "absent/x", "nonsense"]
    assert [(error["input"], error["first_input"]) for error in errors] == [(name, name) for name in written]


@pytest.mark.invariant("J4")
async def test_inputs_that_no_column_can_hold_end_as_malformed(catalog: Catalog, clock: StandingClock) -> None:
    """They kept the whole page, and so the job, from ever being resolved on PostgreSQL."""
    odd = [
        "s3://books/\0", "s3://secret/\0*", "\0", "s3://bo\0oks/a", {"bucket": "secret", "glob": "\0"},
        {"bucket": "books", "key": "\0"},
    ]  # fmt: skip
    job = await begin(catalog, clock, [MAP], *odd)
    assert (await catalog.jobs.get_job(job)).state == "done"
    codes = [line.fields["code"] for line in await catalog.jobs.errors(job, 0, 10)]
    assert codes == ["InvalidInput"] * len(odd)


async def test_phases_overlap_and_a_reducer_waits_for_all_of_its_input(catalog: Catalog, clock: StandingClock) -> None:
    await put(catalog, clock, "a", "b", "c")
    job = await begin(catalog, clock, [MAP, MAP, {**REDUCE, "count": 2}], "s3://books/")
    first = await lease(catalog, clock, lanes=1)
    await catalog.jobs.report("n1", done(first))
    rest = await lease(catalog, clock)
    assert sorted(grant.task.phase for grant in rest) == [0, 0, 1], "the second phase starts while the first runs"
    await catalog.jobs.report("n1", done(rest))
    view = await catalog.jobs.get_job(job)
    assert counts(view, 2) == {"waiting": 2}
    await catalog.jobs.report("n1", done(await lease(catalog, clock)))
    grants = [*await lease(catalog, clock), *await lease(catalog, clock, "n2")]
    assert sorted(grant.task.reducer for grant in grants) == [0, 1]
    pages = [await catalog.jobs.reducer_inputs(g.task.node_id, ref(g.task), 0, 10) for g in grants]
    assert sorted(len(page) for page in pages) == [1, 2], "dealt out evenly"
    assert all(row.holders == "n1,n2" and row.size == 3 for page in pages for row in page)
    for grant in grants:
        await catalog.jobs.report(grant.task.node_id, done([grant]))
    assert (await catalog.jobs.get_job(job)).state == "done"
    keys = [line.fields["key"] for line in await catalog.jobs.outputs(job, 0, 10)]
    assert sorted(keys) == ["reduce-2/00000000", "reduce-2/00000001"]


@pytest.mark.invariant("J1", "D1")
async def test_a_small_output_for_a_reducer_is_durable_with_its_report(catalog: Catalog, clock: StandingClock) -> None:
    """No blob is made for it. In any other place an output that lies nowhere is refused."""
    await put(catalog, clock, "a", "b")
    job = await begin(catalog, clock, [MAP, MAP, REDUCE], "s3://books/")
    made = inline(b"x" * INLINE_OUTPUT_BYTES)
    grants = await lease(catalog, clock)
    with pytest.raises(BadRequest, match="to be stored"):
        await catalog.jobs.report("n1", [success(ref(grants[0].task), [made])])
    await catalog.jobs.report("n1", done(grants))
    grants = await lease(catalog, clock)
    assert [grant.task.phase for grant in grants] == [1, 1]
    for odd in (
        inline(b"x" * (INLINE_OUTPUT_BYTES + 1)),
        replace(made, nodes=("n1",)),
        replace(made, size=3),
        replace(made, blob_id=grants[0].task.slot),
        replace(made, bucket="books", key="named"),
    ):
        with pytest.raises(BadRequest):
            await catalog.jobs.report("n1", [success(ref(grants[0].task), [odd])])
    await catalog.jobs.report("n1", [success(ref(grant.task), [made]) for grant in grants])
    (reducer,) = await lease(catalog, clock)
    rows = await catalog.jobs.reducer_inputs("n1", ref(reducer.task), 0, 10)
    assert [(row.inline, row.blob_id, row.size) for row in rows] == [(made.inline, None, made.size)] * 2
    with pytest.raises(BadRequest, match="to be stored"):
        await catalog.jobs.report("n1", [success(ref(reducer.task), [made])])
    await catalog.jobs.report("n1", done([reducer]))
    assert (await catalog.jobs.get_job(job)).state == "done"


async def test_a_map_of_nothing_ends_and_a_reducer_of_nothing_runs(catalog: Catalog, clock: StandingClock) -> None:
    nothing = await begin(catalog, clock, [MAP], "s3://books/")
    assert (await catalog.jobs.get_job(nothing)).state == "done"
    job = await begin(catalog, clock, [MAP, REDUCE], "s3://books/")
    grants = await lease(catalog, clock)
    assert [(grant.task.job_id, grant.task.phase) for grant in grants] == [(job, 1)]
    await catalog.jobs.report("n1", [success(ref(grants[0].task), [output(None, (), size=0)])])
    view = await catalog.jobs.get_job(job)
    assert (view.state, view.outputs) == ("done", 1)
    assert (await catalog.jobs.outputs(job, 0, 1))[0].fields["size"] == 0


async def test_a_first_phase_that_reduces_reads_the_inputs_themselves(catalog: Catalog, clock: StandingClock) -> None:
    await put(catalog, clock, "a", "b")
    job = await begin(catalog, clock, [REDUCE], "s3://books/")
    grants = await lease(catalog, clock)
    rows = await catalog.jobs.reducer_inputs("n1", ref(grants[0].task), 0, 1)
    rows += await catalog.jobs.reducer_inputs("n1", ref(grants[0].task), rows[0].seq, 1)
    assert [row.key for row in rows] == ["a", "b"]
    await catalog.jobs.report("n1", done(grants))
    states = [line.fields["state"] for line in await catalog.jobs.inputs(job, 0, 10)]
    assert states == ["committed", "committed"]


@pytest.mark.invariant("J2")
async def test_an_attempt_that_was_lost_cannot_commit(catalog: Catalog, clock: StandingClock) -> None:
    await put(catalog, clock, "a")
    job = await begin(catalog, clock, [MAP], "s3://books/a")
    old = await lease(catalog, clock)
    clock.advance(LEASE_S + 1)
    await alive(catalog, clock, "n2")
    stirred = await expire(catalog.jobs, ["n2"], {"n1": 1.0})
    assert "n2" in stirred.ready
    new = await lease(catalog, clock, "n2")
    assert [grant.task.attempt for grant in new] == [2]
    late = await catalog.jobs.report("n1", done(old))
    assert late.stale == ((job, old[0].task.task_id, 1),)
    assert (await catalog.jobs.outputs(job, 0, 10)) == []
    with pytest.raises(StaleAttempt):
        await catalog.jobs.reducer_inputs("n1", ref(old[0].task), 0, 1)
    assert (await catalog.jobs.report("n2", done(new))).stale == ()
    assert (await catalog.jobs.report("n2", done(new))).stale == (), "a repeated report is no loss"
    assert (await catalog.jobs.get_job(job)).outputs == 1


async def test_a_node_that_starts_anew_loses_what_its_earlier_self_ran(catalog: Catalog, clock: StandingClock) -> None:
    await put(catalog, clock, "a", nodes=("n1",))
    job = await begin(catalog, clock, [MAP], "s3://books/a")
    await lease(catalog, clock)
    await catalog.jobs.renew("n1", "e2", clock.now_ms() + 1000)
    assert await lease(catalog, clock) == [], "the old epoch gets nothing"
    grants = await catalog.jobs.lease("n1", "e2", [new_id(clock.now_ms())])
    assert grants[0].task.attempt == 2
    assert counts(await catalog.jobs.get_job(job)) == {"running": 1}


async def test_a_node_that_dies_again_and_again_ends_the_task(catalog: Catalog, clock: StandingClock) -> None:
    await put(catalog, clock, "a")
    job = await begin(catalog, clock, [MAP], "s3://books/a")
    for _ in range(LOST_LEASES_MAX + 1):
        grants = [*await lease(catalog, clock, "n1"), *await lease(catalog, clock, "n2")]
        task = grants[0].task
        await catalog.jobs.release(task.node_id, [ref(task)], delivered=True)
    assert [line.fields["code"] for line in await catalog.jobs.errors(job, 0, 10)] == ["InternalError"]


async def test_the_stores_faults_are_tried_elsewhere_and_users_failures_are_not(
    catalog: Catalog, clock: StandingClock
) -> None:
    await put(catalog, clock, "a")
    job = await begin(catalog, clock, [MAP], "s3://books/a")
    first = await lease(catalog, clock, "n1")
    await catalog.jobs.report("n1", [failure(ref(first[0].task), retryable=True)])
    assert await lease(catalog, clock, "n1") == [], "another holder is asked first"
    second = await lease(catalog, clock, "n2")
    await catalog.jobs.report("n2", [failure(ref(second[0].task))])
    view = await catalog.jobs.get_job(job)
    assert (view.state, counts(view)) == ("done", {"failed": 1})
    error = (await catalog.jobs.errors(job, 0, 10))[0].fields
    assert (error["code"], error["node"], error["attempt"], error["input"]) == ("UserTaskError", "n2", 2, "books/a")


async def test_a_phase_may_ask_for_retries_of_users_failures(catalog: Catalog, clock: StandingClock) -> None:
    await put(catalog, clock, "a")
    job = await begin(catalog, clock, [{**MAP, "retries": 1}], "s3://books/a")
    for _ in range(2):
        grants = await lease(catalog, clock)
        await catalog.jobs.report("n1", [failure(ref(grants[0].task))])
    assert (await catalog.jobs.get_job(job)).errors == 1


@pytest.mark.invariant("J3")
async def test_cancel_ends_each_unfinished_input(catalog: Catalog, clock: StandingClock) -> None:
    await put(catalog, clock, "a", "b", "c")
    job = await begin(catalog, clock, [MAP, REDUCE], "s3://books/")
    grants = await lease(catalog, clock, lanes=2)
    await catalog.jobs.report("n1", done(grants[:1]))
    await catalog.jobs.cancel_job(job, "Enough.")
    assert await lease(catalog, clock) == []
    stirred = await catalog.jobs.tend(job)
    assert stirred.lost == {"n1"}
    assert await catalog.jobs.running("n1") == []
    assert (await catalog.jobs.report("n1", done(grants[1:]))).stale != ()
    view = await catalog.jobs.get_job(job)
    assert (view.state, view.cancel_reason, view.inputs) == ("cancelled", "Enough.", 3)
    assert counts(view) == {"committed": 1, "cancelled": 2}
    codes = [line.fields["code"] for line in await catalog.jobs.errors(job, 0, 10)]
    assert codes == ["JobCancelled", "JobCancelled"]
    with pytest.raises(JobClosed):
        await catalog.jobs.add_inputs(job, tuple(encode_chunks([InputSpec("books", key="a")])))


async def test_so_many_errors_and_no_more(catalog: Catalog, clock: StandingClock) -> None:
    await put(catalog, clock, "a", "b", "c")
    job = await begin(catalog, clock, [MAP], "s3://books/", max_errors=1)
    grants = await lease(catalog, clock, lanes=1)
    await catalog.jobs.report("n1", [failure(ref(grants[0].task))])
    await tended(catalog, job)
    view = await catalog.jobs.get_job(job)
    assert (view.state, counts(view)) == ("cancelled", {"failed": 1, "cancelled": 2})
    assert "max_errors" in (view.cancel_reason or "")


async def test_inputs_may_come_later_and_the_end_last(catalog: Catalog, clock: StandingClock) -> None:
    await put(catalog, clock, "a", "b")
    job = await begin(catalog, clock, [MAP], end=False)
    await catalog.jobs.add_inputs(
        job, tuple(encode_chunks([InputSpec("books", key="a"), InputSpec("books", glob="b*")]))
    )
    await tended(catalog, job)
    await catalog.jobs.report("n1", done(await lease(catalog, clock)))
    assert (await catalog.jobs.get_job(job)).state == "running"
    await catalog.jobs.add_inputs(job, (), end=True)
    await catalog.jobs.add_inputs(job, (), end=True)
    await tended(catalog, job)
    assert (await catalog.jobs.get_job(job)).state == "done"


async def test_an_input_is_pinned_while_its_task_may_run(catalog: Catalog, clock: StandingClock) -> None:
    await put(catalog, clock, "a")
    await begin(catalog, clock, [MAP], "s3://books/a")
    await catalog.delete_object("books", "a")
    due = clock.now_ms() + int(GARBAGE_DELAY_S * 1000)
    assert await catalog.due_garbage(due, 10) == []
    grants = await lease(catalog, clock)
    assert await catalog.unknown_blobs("n1", [grants[0].task.slot or ""]) == set(), "an output on its way is no orphan"
    await catalog.jobs.report("n1", done(grants))
    assert {row.blob_id for row in await catalog.due_garbage(due, 10)} == {grants[0].task.blob_id}


async def test_intermediate_outputs_vanish_with_the_end(catalog: Catalog, clock: StandingClock) -> None:
    await put(catalog, clock, "a", "b")
    job = await begin(catalog, clock, [MAP, REDUCE], "s3://books/")
    maps = await lease(catalog, clock)
    await catalog.jobs.report("n1", done(maps))
    await catalog.jobs.report("n1", done(await lease(catalog, clock)))
    await tended(catalog, job)
    due = await catalog.due_garbage(clock.now_ms() + int(GARBAGE_DELAY_S * 1000), 10)
    assert {row.blob_id for row in due} == {grant.task.slot for grant in maps}


async def test_outputs_go_where_the_document_says(catalog: Catalog, clock: StandingClock) -> None:
    await put(catalog, clock, "a")
    await catalog.create_bucket("results", "alice", 7)
    job = await begin(catalog, clock, [MAP], "s3://books/a", output="s3://results/run/")
    await catalog.jobs.report("n1", done(await lease(catalog, clock)))
    line = (await catalog.jobs.outputs(job, 0, 10))[0].fields
    assert (line["bucket"], line["key"]) == ("results", "run/map-0/00000001")
    found = await catalog.locate("results", "run/map-0/00000001")
    assert found.object is not None
    assert found.object.size == 3


async def test_a_deleted_job_leaves_nothing(catalog: Catalog, clock: StandingClock) -> None:
    await put(catalog, clock, "a", "b")
    job = await begin(catalog, clock, [MAP], "s3://books/")
    await catalog.jobs.report("n1", done(await lease(catalog, clock, lanes=1)))
    await catalog.jobs.delete_job(job)
    with pytest.raises(NoSuchJob):
        await catalog.jobs.get_job(job)
    await tended(catalog, job)
    clock.advance(STOPPED_TOLD_S)
    await tended(catalog, job)
    assert await catalog.jobs.jobs_to_tend(10) == []
    assert await catalog.jobs.ended_jobs([job]) == [job]
    assert await catalog.jobs.gone_jobs([job]) == [job]
    with pytest.raises(NoSuchBucket):
        await catalog.get_bucket(job_bucket(job))


async def test_old_jobs_are_named_for_removal(catalog: Catalog, clock: StandingClock) -> None:
    job = await begin(catalog, clock, [MAP])
    assert await catalog.jobs.expired_jobs(clock.now_ms(), 10) == []
    clock.advance(10)
    assert await catalog.jobs.expired_jobs(clock.now_ms(), 10) == [job]


async def test_the_same_idempotency_key_gives_the_same_job(catalog: Catalog, clock: StandingClock) -> None:
    def asked(owner: str) -> NewJob:
        return new_job(clock.now_ms(), [MAP], [], idempotency="k", owner=owner)

    first = await catalog.jobs.create_job(asked("alice"))
    assert await catalog.jobs.create_job(asked("alice")) == first
    assert (await catalog.jobs.create_job(asked("bob"))).job_id != first.job_id


async def test_jobs_are_listed_newest_first_by_state_and_name(catalog: Catalog, clock: StandingClock) -> None:
    made = []
    for name in ("x", "y", "x"):
        made.append(await begin(catalog, clock, [MAP], name=name))
        clock.advance(1)
    other = await begin(catalog, clock, [MAP], name="x", owner="bob")

    async def ids(owner: str | None, **query: Any) -> list[str]:
        return [view.job_id for view in await catalog.jobs.list_jobs(owner, **query)]

    assert await ids("alice") == made[::-1]
    assert await ids("alice", name="x") == [made[2], made[0]]
    assert await ids("alice", after=made[2], limit=1) == [made[1]]
    assert await ids("alice", state="running") == []
    assert (await ids(None))[0] == other


async def test_pages_of_inputs_neither_repeat_nor_skip(catalog: Catalog, clock: StandingClock) -> None:
    await put(catalog, clock, *(f"k{number}" for number in range(5)))
    job = await begin(catalog, clock, [MAP], "s3://books/k*")
    seen: list[str] = []
    after = 0
    while page := await catalog.jobs.inputs(job, after, 2):
        seen.extend(line.fields["key"] for line in page)
        after = page[-1].seq
    assert seen == ["k0", "k1", "k2", "k3", "k4"]


async def test_lanes_are_shared_between_accounts_and_jobs(catalog: Catalog, clock: StandingClock) -> None:
    await put(catalog, clock, *(f"k{number}" for number in range(8)))
    await catalog.put_object("secret", stored(clock.now_ms(), "s"))
    big = await begin(catalog, clock, [MAP], "s3://books/")
    clock.advance(1)
    small = await begin(catalog, clock, [MAP], "s3://books/k1")
    clock.advance(1)
    bobs = await begin(catalog, clock, [MAP], "s3://secret/s", owner="bob")
    jobs = [grant.task.job_id for grant in await lease(catalog, clock, lanes=4)]
    assert sorted(jobs) == sorted([big, big, small, bobs])


@pytest.mark.invariant("J8")
async def test_an_account_with_many_jobs_keeps_no_other_waiting(catalog: Catalog, clock: StandingClock) -> None:
    await put(catalog, clock, "k")
    await catalog.put_object("secret", stored(clock.now_ms(), "s"))
    for _ in range(FAIR_JOBS_MAX + 2):
        await begin(catalog, clock, [MAP], "s3://books/k")
        clock.advance(0.001)
    bobs = await begin(catalog, clock, [MAP], "s3://secret/s", owner="bob")
    owners = [grant.owner_id for grant in await lease(catalog, clock, lanes=2)]
    assert sorted(owners) == ["alice", "bob"]
    assert counts(await catalog.jobs.get_job(bobs)) == {"running": 1}
    left = [grant.owner_id for grant in await lease(catalog, clock, lanes=2 * FAIR_JOBS_MAX)]
    assert left == ["alice"] * FAIR_JOBS_MAX, "the rest at the next turn"
    assert len(await lease(catalog, clock, lanes=2 * FAIR_JOBS_MAX)) == 1


@pytest.mark.invariant("J8")
@pytest.mark.parametrize("why", ["blocked", "left"])
async def test_an_account_whose_tasks_a_node_does_not_take_keeps_no_other_from_it(
    catalog: Catalog, clock: StandingClock, why: str
) -> None:
    """Alice runs nothing, so that every lane would be hers, but her job's image is on its way there, or too large."""
    await put(catalog, clock, "a")
    for key in ("s", "t"):
        await catalog.put_object("secret", stored(clock.now_ms(), key))
    bobs = await begin(catalog, clock, [{**MAP, "memory": "8M"}], "s3://secret/", owner="bob")
    assert len(await lease(catalog, clock, "n2", lanes=1)) == 1
    alices = await begin(catalog, clock, [{**MAP, "memory": "64M"}], "s3://books/a")
    slot = [new_id(clock.now_ms())]
    if why == "blocked":
        granted = await catalog.jobs.lease("n1", "e", slot, without=[alices])
    else:
        granted = await catalog.jobs.lease("n1", "e", slot, choose=_leaves_large)
    assert [grant.task.job_id for grant in granted] == [bobs]


def _leaves_large(needs: Needs, _hosts: Sequence[str], _is_idle: bool) -> Choice:
    """Of a node that has 8 MiB."""
    return Choice.ELSEWHERE if needs.memory_bytes > 8 << 20 else Choice.HERE


@pytest.mark.invariant("J4")
async def test_a_task_is_offered_anew_to_the_only_node_that_is_large_enough_for_it(
    catalog: Catalog, clock: StandingClock
) -> None:
    """It was lost there, so another holder had its turn, which left it to the first: nobody ever ran it."""
    await put(catalog, clock, "a")
    await begin(catalog, clock, [MAP], "s3://books/a")
    (grant,) = await lease(catalog, clock, "n1")
    await catalog.jobs.release("n1", [ref(grant.task)], delivered=True)
    assert await lease(catalog, clock, "n1") == [], "the other holder is asked first"
    slot = [new_id(clock.now_ms())]
    assert (
        await catalog.jobs.lease(
            "n2", "e", slot, choose=lambda _, hosts, __: Choice.ELSEWHERE if "n1" in hosts else Choice.HERE
        )
        == []
    )
    (again,) = await lease(catalog, clock, "n1")
    assert again.task.attempt == 2
    assert await lease(catalog, clock, "n2") == []


@pytest.mark.invariant("J4")
async def test_a_task_that_fits_is_found_behind_many_that_are_left_to_others(
    catalog: Catalog, clock: StandingClock
) -> None:
    """A small node sat idle until the large one had done all of a phase that only it has room for."""
    await put(catalog, clock, "a")
    large, small = {**MAP, "memory": "64M"}, {**MAP, "memory": "8M"}
    job = await begin(catalog, clock, [large, small], *["s3://books/a"] * 30)
    await catalog.jobs.report("n2", done(await lease(catalog, clock, "n2", lanes=1)))

    async def poll(lanes: int = 2) -> list[Granted]:
        slots = [new_id(clock.now_ms()) for _ in range(lanes)]
        return await catalog.jobs.lease("n1", "e", slots, choose=_leaves_large)

    (grant,) = await poll()
    assert grant.task.phase == 1
    assert counts(await catalog.jobs.get_job(job)) == {"ready": 29, "committed": 1}
    assert await poll() == []
    await catalog.jobs.report("n1", done([grant]))
    clock.advance(REDUCER_PATIENCE_S + 1)
    await alive(catalog, clock, "n1")
    await expire(catalog.jobs, ["n1"], {"n2": 1.0})
    assert len(await lease(catalog, clock, "n1", lanes=40)) == 29, "the large one is gone: nobody else has more room"


@pytest.mark.invariant("J4")
async def test_a_reducer_that_its_node_leaves_is_anybody_s(catalog: Catalog, clock: StandingClock) -> None:
    await put(catalog, clock, "a")
    job = await begin(catalog, clock, [MAP, {**REDUCE, "memory": "64M"}], "s3://books/a")
    await catalog.jobs.report("n1", done(await lease(catalog, clock), nodes=("n1",)))
    assert counts(await catalog.jobs.get_job(job), 1) == {"ready": 1}
    assert await catalog.jobs.lease("n1", "e", [new_id(clock.now_ms())], choose=lambda *_: Choice.ELSEWHERE) == []
    (reducer,) = await lease(catalog, clock, "n2")
    assert reducer.task.job_id == job


@pytest.mark.invariant("J1", "J2")
@pytest.mark.parametrize("winner", [0, 1])
async def test_of_two_attempts_one_is_committed(catalog: Catalog, clock: StandingClock, winner: int) -> None:
    await put(catalog, clock, "a")
    job = await begin(catalog, clock, [MAP], "s3://books/a")
    (first,) = await lease(catalog, clock, "n1")
    assert await catalog.jobs.lease_second("n1", "e", ref(first.task), new_id(clock.now_ms())) is None
    second = await catalog.jobs.lease_second("n2", "e", ref(first.task), new_id(clock.now_ms()))
    assert second is not None
    assert await catalog.jobs.lease_second("n2", "e", ref(second.task), new_id(clock.now_ms())) is None
    assert await catalog.jobs.running("n1") == [ref(first.task)]
    assert await catalog.jobs.running("n2") == [ref(second.task)]
    assert counts(await catalog.jobs.get_job(job)) == {"running": 1}
    slot = new_id(clock.now_ms())
    await catalog.jobs.set_slot("n1", ref(first.task), slot)
    first = dataclasses.replace(first, task=(await catalog.jobs.attempt_rights("n1", ref(first.task)))[0])
    assert first.task.slot == slot
    two = [("n1", first), ("n2", second)]
    node, won = two[winner]
    assert (await catalog.jobs.report(node, done([won]))).stale == ()
    node, late = two[1 - winner]
    assert (await catalog.jobs.report(node, done([late]))).stale == (
        (job, late.task.task_id, late.task.attempt),
    )  # fmt: skip
    view = await catalog.jobs.get_job(job)
    assert (view.state, view.outputs, counts(view)) == ("done", 1, {"committed": 1})
    assert await catalog.jobs.running("n1") == await catalog.jobs.running("n2") == []


async def test_reducers_go_where_their_input_lies_but_do_not_wait_for_ever(
    catalog: Catalog, clock: StandingClock
) -> None:
    await put(catalog, clock, "a")
    job = await begin(catalog, clock, [MAP, REDUCE], "s3://books/a")
    await catalog.jobs.report("n1", done(await lease(catalog, clock), nodes=("n2", "n3")))
    assert await lease(catalog, clock, "n1") == []
    clock.advance(REDUCER_PATIENCE_S + 1)
    await expire(catalog.jobs, ["n1", "n2"], {})
    assert [grant.task.job_id for grant in await lease(catalog, clock, "n1")] == [job]
    assert await lease(catalog, clock, "n2") == [], "out of every queue"


async def test_a_task_without_a_living_holder_fails_after_a_long_wait(catalog: Catalog, clock: StandingClock) -> None:
    await put(catalog, clock, "a", nodes=("n8", "n9"))
    job = await begin(catalog, clock, [MAP], "s3://books/a")
    dead = {"n8": HOLDER_WAIT_S + 1, "n9": HOLDER_WAIT_S + 1}
    clock.advance(HOLDER_WAIT_S - 1)
    await expire(catalog.jobs, ["n1", "n2"], dead)
    assert (await catalog.jobs.get_job(job)).ended_ms is None
    clock.advance(2)
    await expire(catalog.jobs, ["n1", "n2"], dead | {"n9": HOLDER_WAIT_S - 1})
    assert (await catalog.jobs.get_job(job)).ended_ms is None
    await expire(catalog.jobs, ["n1", "n2"], dead)
    errors = await catalog.jobs.errors(job, 0, 10)
    assert [line.fields["code"] for line in errors] == ["InternalError"]
    assert (await catalog.jobs.get_job(job)).state == "done"


@pytest.mark.invariant("J4")
async def test_a_task_that_was_ready_for_long_still_waits_for_its_holder(
    catalog: Catalog, clock: StandingClock
) -> None:
    """A long queue, and a node that is away for a minute: nothing of it fails."""
    await put(catalog, clock, "a", nodes=("n1",))
    job = await begin(catalog, clock, [MAP], "s3://books/a")
    clock.advance(2 * HOLDER_WAIT_S)
    await expire(catalog.jobs, ["n2"], {"n1": 60.0})
    assert counts(await catalog.jobs.get_job(job)) == {"ready": 1}
    await expire(catalog.jobs, ["n2"], {"n1": HOLDER_WAIT_S + 1})
    assert counts(await catalog.jobs.get_job(job)) == {"failed": 1}


@pytest.mark.invariant("J4")
async def test_what_waits_behind_a_long_queue_of_a_dead_node_is_offered_too(
    catalog: Catalog, clock: StandingClock
) -> None:
    """Tasks that only the dead node could run stay in its queue for HOLDER_WAIT_S: they hid all behind them."""
    await put(catalog, clock, "only", nodes=("n1",))
    await put(catalog, clock, "both")
    stuck = await begin(catalog, clock, [MAP], *["s3://books/only"] * (RESOLVE_PAGE + 1))
    clock.advance(1)
    job = await begin(catalog, clock, [MAP], "s3://books/both")
    assert stuck < job
    (grant,) = await lease(catalog, clock, "n2")
    await catalog.jobs.report("n2", [failure(ref(grant.task), retryable=True)])
    clock.advance(REDUCER_PATIENCE_S + 1)
    await alive(catalog, clock, "n2")
    assert await lease(catalog, clock, "n2") == [], "the other holder is to try it"
    stirred = await expire(catalog.jobs, ["n2"], {"n1": 1.0})
    assert stirred.ready == {"n2"}
    assert stirred.jobs == {job}, "no job is touched that nothing can be done for"
    (grant,) = await lease(catalog, clock, "n2")
    assert grant.task.job_id == job
    assert (await expire(catalog.jobs, ["n2"], {"n1": 1.0})).jobs == frozenset()
    await expire(catalog.jobs, ["n2"], {"n1": 1.0})
    clock.advance(HOLDER_WAIT_S)
    await expire(catalog.jobs, ["n2"], {"n1": HOLDER_WAIT_S + 1})
    assert (await catalog.jobs.get_job(stuck)).state == "done", "all of them at once, each with its error"
    assert (await catalog.jobs.get_job(stuck)).errors == RESOLVE_PAGE + 1


@pytest.mark.invariant("J4")
@pytest.mark.parametrize("step_s", [-7200.0, 7200.0])
async def test_a_wall_clock_that_is_set_fails_no_task_and_holds_none_up(
    catalog: Catalog, clock: StandingClock, step_s: float
) -> None:
    await put(catalog, clock, "a")
    job = await begin(catalog, clock, [MAP, REDUCE], "s3://books/a")
    await catalog.jobs.report("n1", done(await lease(catalog, clock), nodes=("n2", "n3")))
    clock.step(step_s)
    await expire(catalog.jobs, ["n1"], {"n2": 1.0})
    (reducer,) = await lease(catalog, clock, "n1")
    assert reducer.task.job_id == job, "a queue of before the step is no younger for it"
    await expire(catalog.jobs, ["n2"], {"n1": 1.0})
    assert counts(await catalog.jobs.get_job(job), 1) == {"ready": 1}


@pytest.mark.invariant("J3")
async def test_inputs_of_a_reducer_that_was_lost_too_often_have_failed(catalog: Catalog, clock: StandingClock) -> None:
    await put(catalog, clock, "a", "b")
    job = await begin(catalog, clock, [REDUCE], "s3://books/")
    for _ in range(LOST_LEASES_MAX + 1):
        (grant,) = await lease(catalog, clock)
        await catalog.jobs.release("n1", [ref(grant.task)], delivered=True)
    assert (await catalog.jobs.get_job(job)).state == "done"
    assert {line.fields["state"] for line in await catalog.jobs.inputs(job, 0, 10)} == {"failed"}


async def test_errors_of_any_kind_count_towards_max_errors(catalog: Catalog, clock: StandingClock) -> None:
    await put(catalog, clock, "a")
    missing = [f"s3://books/missing-{number}" for number in range(3)]
    job = await begin(catalog, clock, [MAP], *missing, "s3://books/a", max_errors=3)
    view = await catalog.jobs.get_job(job)
    assert (view.state, view.cancel_reason) == ("cancelled", "The job reached its max_errors of 3.")
    assert counts(view) == {"failed": 3, "cancelled": 1}


@pytest.mark.invariant("S1")
async def test_outputs_do_not_go_into_a_bucket_that_became_anothers(catalog: Catalog, clock: StandingClock) -> None:
    await put(catalog, clock, "a")
    await catalog.create_bucket("results", "alice", 7)
    job = await begin(catalog, clock, [MAP], "s3://books/a", output="s3://results/run/")
    grants = await lease(catalog, clock)
    await catalog.delete_bucket("results")
    await catalog.create_bucket("results", "bob", 7)
    await catalog.jobs.report("n1", done(grants))
    (error,) = await catalog.jobs.errors(job, 0, 10)
    assert error.fields["code"] == "AccessDenied"
    await catalog.delete_bucket("results")


@pytest.mark.invariant("J6")
async def test_what_runs_is_cancelled_before_what_waits(
    catalog: Catalog, clock: StandingClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many inputs come before it, and whether or not they are resolved yet."""
    for module in ("tend", "resolve"):
        monkeypatch.setattr(f"manta.catalog.job_scripts.{module}.RESOLVE_PAGE", 2)
    await put(catalog, clock, "a", "b", "c", "d", nodes=("n1",))
    await put(catalog, clock, "e", nodes=("n2",))
    made = await catalog.jobs.create_job(new_job(clock.now_ms(), [MAP], ["s3://books/", *["s3://books/later"] * 9]))
    while not (granted := await lease(catalog, clock, "n2")):
        await catalog.jobs.tend(made.job_id)
    await catalog.jobs.cancel_job(made.job_id, "enough")
    assert (await catalog.jobs.tend(made.job_id)).lost == {"n2"}
    assert await catalog.jobs.running("n2") == []
    assert (await catalog.jobs.report("n2", done(granted))).stale
    await tended(catalog, made.job_id)
    view = await catalog.jobs.get_job(made.job_id)
    assert view.inputs == sum(counts(view).values()) == view.errors == 14


async def test_a_slot_may_be_changed_by_its_holder_only(catalog: Catalog, clock: StandingClock) -> None:
    await put(catalog, clock, "a")
    await begin(catalog, clock, [MAP], "s3://books/a")
    task = (await lease(catalog, clock))[0].task
    slot = new_id(clock.now_ms())
    with pytest.raises(StaleAttempt):
        await catalog.jobs.set_slot("n2", ref(task), slot)
    await catalog.jobs.set_slot("n1", ref(task), slot)
    assert (await catalog.jobs.get_task(task.job_id, task.task_id)).slot == slot
    with pytest.raises(StaleAttempt):
        await catalog.jobs.set_slot("n1", AttemptRef(task.job_id, task.task_id, 7), slot)


@pytest.mark.invariant("J1")
async def test_a_blob_of_another_object_or_of_garbage_is_no_output(catalog: Catalog, clock: StandingClock) -> None:
    """Else a node that lies would give its tenant what is not the tenant's, or an object whose bytes vanish."""
    foreign = stored(clock.now_ms(), "foreign", ("n1",))
    await catalog.put_object("secret", foreign)
    await put(catalog, clock, "deleted", "input")
    deleted = (await catalog.locate("books", "deleted")).object
    await catalog.delete_object("books", "deleted")
    job_id = await begin(catalog, clock, [MAP], "s3://books/input")
    (grant,) = await lease(catalog, clock)
    assert deleted is not None
    for blob in (foreign.blob, deleted.blob):
        assert blob is not None
        with pytest.raises(Conflict):
            await catalog.jobs.report("n1", [success(ref(grant.task), [output(blob.blob_id, ("n1",))])])
    with pytest.raises(BadRequest):
        await catalog.jobs.report("n1", [success(ref(grant.task), [output(grant.task.slot, ("n1",))] * 2)])
    assert (await catalog.jobs.report("n1", done([grant]))).stale == ()
    assert (await catalog.jobs.get_job(job_id)).outputs == 1


@pytest.mark.invariant("J1", "S2")
@pytest.mark.parametrize("born_s", [0.0, -86_400.0, 86_400.0 * 30])
async def test_an_output_lies_in_a_blob_that_the_attempt_was_given(
    catalog: Catalog, clock: StandingClock, born_s: float
) -> None:
    """Not in one of an upload under way, in one the sweeper may have taken, or in one it would never take."""
    await put(catalog, clock, "input")
    await begin(catalog, clock, [MAP], "s3://books/input")
    (grant,) = await lease(catalog, clock)
    other = new_id(int(clock.now_ms() + born_s * 1000))
    for named in (False, True):
        made = output(other, ("n1",))
        made = replace(made, bucket="books", key="named") if named else made
        with pytest.raises(Conflict, match="none of those"):
            await catalog.jobs.report("n1", [success(ref(grant.task), [made])])
    further = output(further_slot(clock.now_ms()), ("n1",))
    results = [success(ref(grant.task), [output(grant.task.slot, ("n1",)), further])]
    assert (await catalog.jobs.report("n1", results)).stale == ()


@pytest.mark.parametrize(
    "odd",
    [
        {"nodes": ()},
        {"nodes": ("n1", "n1")},
        {"nodes": ("../n1",)},
        {"blob_id": "../../etc/passwd"},
        {"size": 0},
        {"size": -1},
        {"md5": b"short"},
        {"blob_id": None},
    ],
)
async def test_a_report_that_no_agent_makes_changes_nothing(
    catalog: Catalog, clock: StandingClock, odd: dict[str, Any]
) -> None:
    await put(catalog, clock, "a")
    job = await begin(catalog, clock, [MAP], "s3://books/a")
    grants = await lease(catalog, clock)
    made = replace(output(grants[0].task.slot, ("n1",)), **odd)
    with pytest.raises(BadRequest):
        await catalog.jobs.report("n1", [success(ref(grants[0].task), [made])])
    assert counts(await catalog.jobs.get_job(job)) == {"running": 1}


@pytest.mark.invariant("J7")
async def test_inputs_are_resolved_in_pages_without_skipping(
    catalog: Catalog, clock: StandingClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("manta.catalog.job_scripts.resolve.RESOLVE_PAGE", 2)
    await put(catalog, clock, "a1", "a2", "a3", "a4", "b1")
    written = ("s3://books/a1", "s3://books/a*", "s3://books/b1", "s3://books/a1", "s3://books/a2", "s3://books/")
    made = await catalog.jobs.create_job(new_job(clock.now_ms(), [MAP], written))
    pages = 0
    while (await catalog.jobs.tend(made.job_id)).more:
        pages += 1
        assert (await catalog.jobs.get_job(made.job_id)).inputs <= 2 * pages
    assert pages >= 6
    keys = [line.fields["key"] for line in await catalog.jobs.inputs(made.job_id, 0, 100)]
    assert keys == ["a1", "a1", "a2", "a3", "a4", "b1", "a1", "a2", "a1", "a2", "a3", "a4", "b1"]
    assert len(await lease(catalog, clock, lanes=64)) == len(keys)


async def test_a_long_cancel_goes_in_pages(
    catalog: Catalog, clock: StandingClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put(catalog, clock, *(f"k{number}" for number in range(5)))
    job = await begin(catalog, clock, [MAP], "s3://books/")
    grants = await lease(catalog, clock, lanes=3)
    monkeypatch.setattr("manta.catalog.job_scripts.unit.RESOLVE_PAGE", 2)
    await catalog.jobs.cancel_job(job, "Enough.")
    assert (await catalog.jobs.tend(job)).more == {job}
    assert (await catalog.jobs.get_job(job)).state == "running"
    last = grants[-1:]
    await catalog.jobs.release("n1", [ref(last[0].task)], delivered=False)
    await tended(catalog, job)
    view = await catalog.jobs.get_job(job)
    assert (view.state, counts(view), view.errors) == ("cancelled", {"cancelled": 5}, 5)


@pytest.mark.invariant("J3")
async def test_a_cancelled_job_ends_no_sooner_than_all_of_its_inputs(catalog: Catalog, clock: StandingClock) -> None:
    await put(catalog, clock, "a", "b")
    job = await begin(catalog, clock, [REDUCE], "s3://books/")
    grants = await lease(catalog, clock)
    await catalog.jobs.cancel_job(job, "Enough.")
    await catalog.jobs.release("n1", [ref(grants[0].task)], delivered=True)
    await tended(catalog, job)
    assert [line.fields["state"] for line in await catalog.jobs.inputs(job, 0, 10)] == ["cancelled", "cancelled"]
    assert (await catalog.jobs.get_job(job)).state == "cancelled"


async def tasks_of(catalog: Catalog, job: str, state: TaskState | None = None, limit: int = 2) -> list[TaskRow]:
    """Page after page."""
    found: list[TaskRow] = []
    after: int | None = 0
    while after is not None:
        page = await catalog.jobs.tasks(job, after, limit, state)
        found += page.tasks
        after = page.reached
    return found


async def test_each_attempt_of_a_task_is_remembered_with_its_node_and_its_times(
    catalog: Catalog, clock: StandingClock
) -> None:
    await put(catalog, clock, "a")
    job = await begin(catalog, clock, [{**MAP, "retries": 1}], "s3://books/a")
    assert [(task.state, task.started_ms) for task in await tasks_of(catalog, job)] == [(TaskState.READY, None)]
    first = (await lease(catalog, clock, "n1"))[0].task
    await catalog.jobs.report("n1", [failure(ref(first))])
    lost = (await lease(catalog, clock, "n1"))[0].task
    leased_ms = clock.now_ms()
    clock.advance(5)
    await catalog.jobs.release("n1", [ref(lost)], delivered=True)
    last = await lease(catalog, clock, "n2")
    assert [(task.node_id, task.started_ms, task.ended_ms) for task in await tasks_of(catalog, job)] == [
        ("n2", None, None)
    ], "what runs has no times yet, and nothing of the attempt before"
    await catalog.jobs.report("n2", done(last))
    (task,) = await tasks_of(catalog, job)
    assert (task.state, task.attempt, task.node_id, task.started_ms, task.ended_ms) == (3, 3, "n2", 1, 2)
    assert earlier_attempts(task) == [
        (1, "n1", 1, 2, "UserTaskError"),
        (2, "n1", leased_ms, leased_ms + 5000, "NodeLost"),
    ]


async def test_a_task_remembers_its_latest_attempts_only(catalog: Catalog, clock: StandingClock) -> None:
    await put(catalog, clock, "a")
    job = await begin(catalog, clock, [{**MAP, "retries": 100}], "s3://books/a")
    for _ in range(EARLIER_ATTEMPTS_MAX + 2):
        (granted,) = await lease(catalog, clock)
        await catalog.jobs.report("n1", [failure(ref(granted.task))])
    (task,) = await tasks_of(catalog, job)
    assert [one.attempt for one in earlier_attempts(task)] == list(range(3, EARLIER_ATTEMPTS_MAX + 3))


async def test_an_attempt_that_is_cancelled_ended_then(catalog: Catalog, clock: StandingClock) -> None:
    await put(catalog, clock, "a")
    job = await begin(catalog, clock, [MAP], "s3://books/a")
    await lease(catalog, clock)
    leased_ms = clock.now_ms()
    clock.advance(3)
    await catalog.jobs.cancel_job(job, "enough")
    await tended(catalog, job)
    (task,) = await tasks_of(catalog, job)
    assert (task.node_id, task.started_ms, task.ended_ms) == ("n1", leased_ms, leased_ms + 3000)


@pytest.mark.parametrize("window", [3, 10_000])
async def test_pages_of_tasks_neither_repeat_nor_skip_whatever_their_state(
    catalog: Catalog, clock: StandingClock, window: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("manta.catalog.job_scripts.views.TASK_WINDOW", window)
    keys = [f"k{number}" for number in range(10)]
    await put(catalog, clock, *keys)
    job = await begin(catalog, clock, [MAP], "s3://books/")
    grants = await lease(catalog, clock, lanes=7)
    await catalog.jobs.report("n1", [failure(ref(grants[6].task)), *done(grants[:2])])
    assert [task.task_id for task in await tasks_of(catalog, job)] == list(range(1, 11))
    found = {state: [task.task_id for task in await tasks_of(catalog, job, state)] for state in TaskState}
    assert {state: ids for state, ids in found.items() if ids} == {
        TaskState.COMMITTED: [1, 2], TaskState.RUNNING: [3, 4, 5, 6], TaskState.FAILED: [7],
        TaskState.READY: [8, 9, 10],
    }  # fmt: skip
    with pytest.raises(NoSuchJob):
        await catalog.jobs.tasks("0" * 32, 0, 10)


async def test_the_first_inputs_are_read_as_they_were_written(catalog: Catalog, clock: StandingClock) -> None:
    job = (await catalog.jobs.create_job(new_job(clock.now_ms(), [MAP], ["s3://books/0"], end=False))).job_id
    await catalog.jobs.add_inputs(job, tuple(encode_chunks(InputSpec("books", key=str(n)) for n in range(1, 1500))))
    await catalog.jobs.add_inputs(job, tuple(encode_chunks([InputSpec("books", key="1500")])))
    for limit, more in ((1, True), (3, True), (1200, True), (1500, True), (1501, False), (9000, False)):
        first = await catalog.jobs.first_inputs(job, limit)
        assert [spec.key for spec in first.specs] == [str(n) for n in range(min(limit, 1501))]
        assert first.more is more
    assert await catalog.jobs.first_inputs("0" * 20, 9) == WrittenInputs((), more=False)


async def test_what_tasks_cost_is_kept_for_their_account_by_day(catalog: Catalog, clock: StandingClock) -> None:
    await put(catalog, clock, "a", "b")
    job = await begin(catalog, clock, [{**MAP, "memory": "8M", "disk": "1M"}], "s3://books/")
    today = clock.now_ms() // 86_400_000
    one, other = await lease(catalog, clock)
    result = [
        replace(one, usage=replace(one.usage, moved_bytes=5, shuffled_bytes=3, copied_bytes=7)) for one in done([one])
    ]
    await catalog.jobs.report("n1", result)
    await catalog.jobs.report("n1", result)
    view = await catalog.jobs.get_job(job)
    assert (view.in_place_bytes, view.moved_bytes, view.shuffled_bytes, view.copied_bytes) == (10, 5, 3, 7)
    clock.advance(86_400)
    await catalog.jobs.report("n1", [failure(ref(other.task))])
    half = (8 << 20) // 2
    expected = [UsageDay(today, 1, 500, half, 10, 5, 3, 7), UsageDay(today + 1, 1, 500, half, 0, 0, 0, 0)]
    assert await catalog.jobs.usage("alice", today, today + 1) == expected, "a repeated report costs nothing"
    assert await catalog.jobs.usage("alice", today + 1, today + 9) == expected[1:]
    assert await catalog.jobs.usage("bob", 0, today + 9) == []
    await catalog.jobs.charge("bob", 1500, 3 << 20)
    await catalog.jobs.charge("bob", 500, 1 << 20)
    assert await catalog.jobs.usage("bob", 0, today + 9) == [UsageDay(today + 1, 0, 2000, 4 << 20, 0, 0, 0, 0)]
    await catalog.jobs.delete_job(job)
    await tended(catalog, job)
    assert await catalog.jobs.usage("alice", 0, today + 9) == expected, "it outlives the job"
    await catalog.jobs.prune_usage(today + 1)
    assert await catalog.jobs.usage("alice", 0, today + 9) == expected[1:]
    await catalog.jobs.forget_usage("alice")
    assert await catalog.jobs.usage("alice", 0, today + 9) == []


def used(grants: Sequence[Granted]) -> list[StoppedAttempt]:
    return [StoppedAttempt(result.attempt, result.usage) for result in done(grants)]


async def test_what_a_cancelled_job_had_used_is_its_cost_once_its_nodes_tell(
    catalog: Catalog, clock: StandingClock
) -> None:
    """Each attempt counts once, by the node that had it, and only if it was stopped with its job."""
    await put(catalog, clock, "a", "b", "c", "d")
    job = await begin(catalog, clock, [{**MAP, "memory": "8M", "disk": "1M"}], "s3://books/")
    today = clock.now_ms() // 86_400_000
    first, second, third, fourth = await lease(catalog, clock)
    await catalog.jobs.release("n1", [ref(third.task)], delivered=True)
    (again,) = await lease(catalog, clock, "n2")
    await catalog.jobs.charge_stopped("n1", used([first, third]))
    assert await catalog.jobs.usage("alice", today, today) == [], "they run, or lost their leases"
    await catalog.jobs.cancel_job(job, "Enough.")
    await catalog.jobs.report("n1", [failure(ref(fourth.task), retryable=True)])
    await tended(catalog, job)
    assert (await catalog.jobs.get_job(job)).state == "cancelled"
    half = (8 << 20) // 2
    one = UsageDay(today, 1, 500, half, 0, 0, 0, 0)
    assert await catalog.jobs.usage("alice", today, today) == [one], "the fourth ended by itself"
    before = (await catalog.jobs.get_job(job)).in_place_bytes

    await catalog.jobs.charge_stopped("n2", used([first, second]))
    await catalog.jobs.charge_stopped("n1", used([third, fourth]))
    assert await catalog.jobs.usage("alice", today, today) == [one]
    for _ in range(2):
        await catalog.jobs.charge_stopped("n1", used([first, second]))
        await catalog.jobs.charge_stopped("n2", used([again]))
        view = await catalog.jobs.get_job(job)
        assert (view.task_seconds, view.byte_seconds) == (2.0, 4 * half)
        read = view.in_place_bytes - before
        assert await catalog.jobs.usage("alice", today, today) == [UsageDay(today, 4, 2000, 4 * half, read, 0, 0, 0)]
    odd = [StoppedAttempt(ref(first.task), replace(done([first])[0].usage, task_seconds=float("nan")))]
    with pytest.raises(BadRequest, match="odd usage"):
        await catalog.jobs.charge_stopped("n1", odd)


async def test_of_two_attempts_that_were_stopped_the_one_that_ran_longer_is_charged(
    catalog: Catalog, clock: StandingClock
) -> None:
    await put(catalog, clock, "a")
    job = await begin(catalog, clock, [{**MAP, "memory": "8M", "disk": "1M"}], "s3://books/")
    today = clock.now_ms() // 86_400_000
    (first,) = await lease(catalog, clock)
    second = await catalog.jobs.lease_second("n2", "e", ref(first.task), new_id(clock.now_ms()))
    assert second is not None
    await catalog.jobs.cancel_job(job, "Enough.")
    await tended(catalog, job)
    await catalog.jobs.charge_stopped("n2", used([second]))
    assert await catalog.jobs.usage("alice", today, today) == []
    await catalog.jobs.charge_stopped("n1", used([first]))
    (charged,) = await catalog.jobs.usage("alice", today, today)
    assert (charged.tasks, charged.task_ms) == (1, 500)
    (task,) = (await catalog.jobs.tasks(job, 0, 9)).tasks
    assert [(one.attempt, one.node_id, one.why) for one in earlier_attempts(task)] == [(2, "n2", "JobCancelled")]


@pytest.mark.parametrize("cancelled", [True, False], ids=["cancelled", "done"])
async def test_a_job_that_ended_long_ago_is_deleted_at_once(
    catalog: Catalog, clock: StandingClock, *, cancelled: bool
) -> None:
    await put(catalog, clock, "a")
    job = await begin(catalog, clock, [MAP], "s3://books/")
    if cancelled:
        await catalog.jobs.cancel_job(job, "Enough.")
        await tended(catalog, job)
        clock.advance(STOPPED_TOLD_S)
    else:
        await catalog.jobs.report("n1", done(await lease(catalog, clock)))
    await catalog.jobs.delete_job(job)
    await tended(catalog, job)
    assert await catalog.jobs.jobs_to_tend(9) == []
    clock.advance(STOPPED_TOLD_S)
    assert await catalog.jobs.jobs_to_tend(9) == []


async def test_a_job_that_is_deleted_while_it_runs_stays_until_its_nodes_have_told(
    catalog: Catalog, clock: StandingClock
) -> None:
    await put(catalog, clock, "a")
    job = await begin(catalog, clock, [{**MAP, "memory": "8M", "disk": "1M"}], "s3://books/")
    today = clock.now_ms() // 86_400_000
    grants = await lease(catalog, clock)
    await catalog.jobs.delete_job(job)
    await tended(catalog, job)
    with pytest.raises(NoSuchJob):
        await catalog.jobs.get_job(job)
    await catalog.jobs.charge_stopped("n1", used(grants))
    (charged,) = await catalog.jobs.usage("alice", today, today)
    assert (charged.tasks, charged.task_ms) == (1, 500)
    assert await catalog.jobs.jobs_to_tend(9) == [], "it keeps no other job waiting"
    clock.advance(STOPPED_TOLD_S)
    assert await catalog.jobs.jobs_to_tend(9) == [job]
    await tended(catalog, job)
    assert await catalog.jobs.jobs_to_tend(9) == []
    await catalog.jobs.charge_stopped("n1", used(grants))
    assert await catalog.jobs.usage("alice", today, today) == [charged]
