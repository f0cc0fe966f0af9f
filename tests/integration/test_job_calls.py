"""Jobs over HTTP, from both sides: clients' calls signed as S3's, nodes' calls signed with the node's key."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from jobs.model.questions import (
    InputsReply,
    InputsRequest,
    JobsReply,
    JobsRequest,
    ListingReply,
    ListingRequest,
    ObjectsReply,
    ObjectsRequest,
    Purpose,
    SlotsReply,
    SlotsRequest,
)
from jobs.model.resources import Capacity
from jobs.model.wire import AttemptRef, LeaseReply, LeaseRequest, ReportRequest, Standing, unpack
from jobs.scheduler.scheduler import Scheduler
from manta.catalog.records import AccessKey, Account
from manta.core import limits
from manta.core.errors import ServiceUnavailable
from tests.support.gateway import RunningGateway
from tests.support.job_calls import KEY, Client, NodeSide, attempt, gateway
from tests.support.jobs import MAP, REDUCE, failure, stored, success

__all__ = ["gateway"]


@asynccontextmanager
async def working(node: NodeSide) -> AsyncIterator[None]:
    task = asyncio.create_task(node.run_all())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_job_runs_from_submit_to_answer(gateway: RunningGateway) -> None:
    client = Client(gateway)
    async with working(NodeSide(gateway)):
        job = await client.job(MAP, REDUCE, inputs=("s3://books/*.txt", "s3://books/none"), name="count")
        assert job["state"] == "queued"
        ended = job
        while ended["ended"] is None:
            ended = await client.get(f"/jobs/{job['id']}?wait=20&for=end")
    assert (ended["state"], ended["inputs"], ended["outputs"], ended["errors"]) == ("done", 3, 1, 1)
    assert (ended["input_bytes_in_place"], ended["name"]) == (30, "count")
    assert ended["phases"][0]["tasks"]["committed"] == 2
    outputs = await client.lines(f"/jobs/{job['id']}/outputs")
    assert [line["key"] for line in outputs] == ["reduce-1/00000000"]
    errors = await client.lines(f"/jobs/{job['id']}/errors?limit=1")
    assert [(line["seq"], line["code"], line["input"]) for line in errors] == [(1, "ResourceNotFound", "books/none")]
    assert await client.lines(f"/jobs/{job['id']}/errors?after=1") == []
    assert (await client.ask("GET", f"/jobs/{job['id']}?wait=1&for=ever")).status == 400
    inputs = await client.lines(f"/jobs/{job['id']}/inputs")
    assert [line["key"] for line in inputs] == ["a.txt", "b.txt", "none"]
    assert [line["id"] for line in await client.lines("/jobs?state=done&name=count")] == [job["id"]]
    refused = await client.ask("GET", "/jobs?state=sleeping")
    assert refused.status == 400
    assert b"queued" in refused.body


async def test_a_poll_that_waits_is_answered_when_work_comes(gateway: RunningGateway) -> None:
    node = NodeSide(gateway)
    poll = asyncio.create_task(node.lease(wait_s=20.0))
    job = await Client(gateway).job(MAP, inputs=("s3://books/a.txt",))
    leased = await poll
    assert [(task.job_id, task.attempt) for task in leased.tasks] == [(job["id"], 1)]
    assert [(spec.job_id, spec.exec) for spec in leased.phases] == [(job["id"], "wc")]
    task = leased.tasks[0]
    assert task.input is not None
    assert (task.input.bucket, task.input.key, task.input.size) == ("books", "a.txt", 10)


@pytest.mark.invariant("J4")
async def test_a_poll_whose_node_has_died_is_given_nothing(gateway: RunningGateway) -> None:
    """Its tasks would wait for the end of a lease that nobody holds."""
    node, scheduler = NodeSide(gateway), gateway.context.extra(Scheduler)
    poll = asyncio.create_task(node.lease(wait_s=20.0))
    async with asyncio.timeout(10):
        while not scheduler.waiting_nodes:
            await asyncio.sleep(0.01)
    poll.cancel()
    await asyncio.gather(poll, return_exceptions=True)
    client = Client(gateway)
    await client.job(MAP, inputs=("s3://books/a.txt",))
    async with asyncio.timeout(10):
        while scheduler.waiting_nodes:
            await asyncio.sleep(0.01)
    assert await gateway.context.catalog.jobs.running("n1") == []


@pytest.mark.invariant("J6")
async def test_a_poll_that_waits_is_answered_when_its_attempt_is_cancelled(gateway: RunningGateway) -> None:
    client, node = Client(gateway), NodeSide(gateway)
    job = await client.job(MAP, inputs=("s3://books/a.txt",))
    leased = await node.lease()
    held = tuple(map(attempt, leased.tasks))
    known = ((job["id"], 0),)
    poll = asyncio.create_task(node.lease(wait_s=20.0, held=held, known_phases=known))
    await asyncio.sleep(0)
    reply = await client.ask("POST", f"/jobs/{job['id']}/cancel")
    assert reply.status == 200
    answer = await poll
    assert answer.lost == held
    assert answer.ended_jobs == (job["id"],)
    assert (await client.get(f"/jobs/{job['id']}?wait=5"))["state"] == "cancelled"
    assert (await node.report(success(held[0]))).stale == held


@pytest.mark.invariant("O2")
async def test_a_node_is_told_which_jobs_are_gone(gateway: RunningGateway) -> None:
    """O2: it keeps what their tasks said until then. One that has ended is not gone."""
    client, node = Client(gateway), NodeSide(gateway)
    removed, cancelled, runs = [(await client.job(MAP, inputs=("s3://books/a.txt",)))["id"] for _ in range(3)]
    assert (await client.ask("POST", f"/jobs/{cancelled}/cancel")).status == 200
    named = (runs, removed, "0" * 20, cancelled, "../..")

    async def gone() -> tuple[str, ...]:
        return unpack((await node.call("jobs", JobsRequest("n1", named))).body, JobsReply).gone

    assert await gone() == ("0" * 20, "../..")
    assert (await client.ask("DELETE", f"/jobs/{removed}")).status == 204
    assert await gone() == (removed, "0" * 20, "../..")
    assert (await node.call("jobs", JobsRequest("n1", ("0" * 20,) * (limits.JOBS_ASKED_MAX + 1)))).status == 400
    assert (await node.call("jobs", JobsRequest("n2", named))).status == 403


async def test_what_a_node_does_not_name_is_offered_again(gateway: RunningGateway) -> None:
    node = NodeSide(gateway)
    await Client(gateway).job(MAP, inputs=("s3://books/a.txt",))
    first = await node.lease()
    again = await node.lease()
    assert [task.attempt for task in (*first.tasks, *again.tasks)] == [1, 2]


async def test_a_reducer_pages_its_inputs_and_gets_new_slots(gateway: RunningGateway) -> None:
    client, node = Client(gateway), NodeSide(gateway)
    await client.job(REDUCE, inputs=("s3://books/",))
    leased = await node.lease()
    one = attempt(leased.tasks[0])
    assert leased.tasks[0].input is None
    seen: list[str] = []
    after: int | None = 0
    while after is not None:
        reply = await node.call("inputs", InputsRequest("n1", one, after, 2))
        page = unpack(reply.body, InputsReply)
        seen.extend(item.key for item in page.inputs)
        after = page.next_after
    assert seen == ["a.txt", "b.txt", "sub/c.txt"]
    slots = unpack((await node.call("slots", SlotsRequest("n1", one, 1))).body, SlotsReply)
    assert slots.slots[0].blob_id != leased.tasks[0].slot.blob_id


async def test_inputs_are_added_as_lines_and_ended(gateway: RunningGateway) -> None:
    client = Client(gateway)
    job = await client.job(MAP, end=False)
    path = f"/jobs/{job['id']}"
    body = b's3://books/a.txt\n"s3://books/b.txt"\n{"bucket": "books", "key": "sub/c.txt"}\n\n'
    reply = await client.ask("POST", f"{path}/inputs", body)
    assert (reply.status, msgspec.json.decode(reply.body)) == (202, {"added": 3})
    assert (await client.ask("POST", f"{path}/inputs", b'{"bucket": 7}\n')).status == 400
    assert (await client.ask("POST", f"{path}/end")).status == 200
    assert (await client.ask("POST", f"{path}/inputs", b"s3://books/a.txt")).status == 409
    async with working(NodeSide(gateway)):
        while (await client.get(f"{path}?wait=10"))["ended"] is None:
            pass
    once = {"Idempotency-Key": "again"}
    clone, same, other = [
        msgspec.json.decode((await client.ask("POST", f"{path}/clone", headers=headers)).body)
        for headers in (once, once, None)
    ]
    assert clone["id"] == same["id"], "a repeated request makes no other clone"
    assert other["id"] not in (clone["id"], path.rpartition("/")[2])
    of_clone = msgspec.json.decode((await client.ask("POST", f"/jobs/{clone['id']}/clone", headers=once)).body)
    assert of_clone["id"] not in (clone["id"], other["id"]), "one of another job has a key of its own"
    async with working(NodeSide(gateway)):
        while (ended := await client.get(f"/jobs/{clone['id']}?wait=10"))["ended"] is None:
            pass
    assert (ended["id"] != job["id"], ended["inputs"], ended["outputs"]) == (True, 3, 3)


async def test_a_job_is_removed_with_its_outputs(gateway: RunningGateway) -> None:
    client = Client(gateway)
    async with working(NodeSide(gateway)):
        job = await client.job(MAP, inputs=("s3://books/a.txt",))
        while (await client.get(f"/jobs/{job['id']}?wait=10"))["ended"] is None:
            pass
    assert (await client.ask("DELETE", f"/jobs/{job['id']}")).status == 204
    assert (await client.ask("GET", f"/jobs/{job['id']}")).status == 404


async def test_an_input_that_names_what_is_not_there_has_no_size(gateway: RunningGateway) -> None:
    client = Client(gateway)
    job = await client.job(MAP, inputs=("s3://nobucket/prefix/", "s3://books/none", "nonsense"))
    while (await client.get(f"/jobs/{job['id']}?wait=10"))["ended"] is None:
        pass
    assert [line["size"] for line in await client.lines(f"/jobs/{job['id']}/tasks")] == [0, 0, 0]


async def test_the_same_idempotency_key_makes_one_job(gateway: RunningGateway) -> None:
    client = Client(gateway)
    headers = {"Idempotency-Key": "once"}
    made = [await client.ask("POST", "/jobs", {"phases": [MAP]}, headers) for _ in range(2)]
    assert [reply.status for reply in made] == [201, 201]
    assert made[0].body == made[1].body
    job_id = msgspec.json.decode(made[0].body)["id"]
    assert made[0].headers["location"] == f"/_manta/v1/jobs/{job_id}"
    other = await client.ask("POST", "/jobs", {"phases": [MAP, MAP]}, headers)
    assert (other.status, b"IdempotencyKeyReused" in other.body) == (422, True)
    for line, status in ((b"s3://bks/a", 202), (b"s3://bks/a", 202), (b"s3://bks/b", 422)):
        assert (await client.ask("POST", f"/jobs/{job_id}/inputs", line, headers)).status == status
    assert (await client.ask("POST", f"/jobs/{job_id}/end")).status == 200
    assert (await client.get(f"/jobs/{job_id}?wait=10"))["inputs"] == 1


@pytest.mark.parametrize(
    ("document", "status", "told"),
    [
        ({"phases": [{"type": "map", "exex": "wc"}]}, 400, "did you mean `exec`?"),
        ({"phases": []}, 400, "`phases`"),
        ({"phases": [MAP], "output": "s3://absent/x"}, 404, "absent"),
        ({"phases": [MAP], "inputs": [{"bucket": "bks", "where": {"tags": {}}}]}, 501, "`tags`"),
    ],
)
async def test_a_bad_document_is_refused_in_one_sentence(
    gateway: RunningGateway, document: dict[str, Any], status: int, told: str
) -> None:
    reply = await Client(gateway).ask("POST", "/jobs", document)
    assert reply.status == status
    error = msgspec.json.decode(reply.body)["error"]
    assert told in error["message"]


@pytest.mark.invariant("S1")
async def test_another_accounts_job_does_not_exist(gateway: RunningGateway) -> None:
    catalog = gateway.context.catalog
    await catalog.create_account(Account("bob", "bob", "Bob", "", 1))
    await catalog.add_key(AccessKey("BOBKEY", "bob-secret", "bob"))
    job = await Client(gateway).job(MAP, end=False)
    bob = Client(gateway, "BOBKEY", "bob-secret")
    for method, call in (
        ("GET", ""),
        ("DELETE", ""),
        ("POST", "/cancel"),
        ("POST", "/end"),
        ("GET", "/outputs"),
        ("POST", "/clone"),
        ("POST", "/retry"),
    ):
        assert (await bob.ask(method, f"/jobs/{job['id']}{call}")).status == 404
    assert await bob.lines("/jobs") == []
    assert (await bob.ask("GET", "/nodes")).status == 403
    own = await bob.job(MAP, inputs=("s3://books/a.txt",))
    ended = own
    while ended["ended"] is None:
        ended = await bob.get(f"/jobs/{own['id']}?wait=10")
    assert [line["code"] for line in await bob.lines(f"/jobs/{own['id']}/errors")] == ["AccessDenied"]


@pytest.mark.invariant("S1")
@pytest.mark.parametrize("node", [{"key": b"x" * 32}, {"node_id": "n2"}, {"node_id": ""}])
async def test_only_a_registered_node_may_call(gateway: RunningGateway, node: dict[str, Any]) -> None:
    reply = await NodeSide(gateway, **node).call("lease", LeaseRequest("n1", "e", 1, 0.0))
    assert reply.status == 403


@pytest.mark.invariant("S1")
async def test_a_node_speaks_for_itself_only(gateway: RunningGateway) -> None:
    reply = await NodeSide(gateway).call("lease", LeaseRequest("n2", "e", 1, 0.0))
    assert reply.status == 403


async def test_a_job_is_explained_and_not_run(gateway: RunningGateway) -> None:
    client = Client(gateway)
    inputs = ["s3://books/*.txt", "s3://books/sub/", "s3://books/none", "s3://absent/x", "nonsense"]
    document = {"phases": [MAP, {**REDUCE, "count": 2}, MAP], "inputs": inputs}
    reply = await client.ask("POST", "/jobs/explain", document)
    plan = msgspec.json.decode(reply.body)
    assert (reply.status, plan["inputs"], plan["input_bytes"], plan["complete"]) == (200, 3, 30, True)
    assert plan["unreadable"] == {"ResourceNotFound": 2, "InvalidInput": 1}
    assert [phase["tasks"] for phase in plan["phases"]] == [3, 2, 2]
    assert plan["nodes"] == [{"node": "n1", "inputs": 3, "bytes": 30, "tasks": 3}]
    assert await client.lines("/jobs") == []
    assert (await client.ask("POST", "/jobs/explain", {"phases": []})).status == 400


async def test_a_job_with_failures_is_retried(gateway: RunningGateway) -> None:
    client, node = Client(gateway), NodeSide(gateway)
    job = await client.job(MAP, inputs=("s3://books/*.txt",))
    leased = await node.lease()
    await node.report(*(failure(attempt(task)) for task in leased.tasks))
    assert (await client.get(f"/jobs/{job['id']}?wait=10"))["errors"] == 2
    again = await client.ask("POST", f"/jobs/{job['id']}/retry")
    assert (again.status, msgspec.json.decode(again.body)["state"]) == (200, "queued")
    refused = await client.ask("POST", f"/jobs/{job['id']}/retry")
    assert (refused.status, msgspec.json.decode(refused.body)["error"]["code"]) == (409, "JobNotRetried")
    async with working(node):
        while (ended := await client.get(f"/jobs/{job['id']}?wait=10"))["ended"] is None:
            pass
    assert (ended["state"], ended["inputs"], ended["outputs"], ended["errors"]) == ("done", 2, 2, 0)


async def test_nodes_are_listed_without_their_keys(gateway: RunningGateway) -> None:
    reply = await Client(gateway).ask("GET", "/nodes")
    (node,) = msgspec.json.decode(reply.body)["nodes"]
    assert (node["id"], node["alive"], node["status"]) == ("n1", False, None)
    assert KEY.hex().encode() not in reply.body


async def test_draining_answers_every_poll(gateway: RunningGateway) -> None:
    job = await Client(gateway).job(MAP, end=False)
    poll = asyncio.create_task(NodeSide(gateway).lease(wait_s=20.0))
    wait = asyncio.create_task(Client(gateway).get(f"/jobs/{job['id']}?wait=20"))
    await asyncio.sleep(0)
    gateway.context.draining.set()
    assert (await poll).tasks == ()
    assert (await wait)["state"] == "queued"


async def test_a_poll_that_outlived_its_agent_takes_nothing_from_the_new_one(gateway: RunningGateway) -> None:
    node = NodeSide(gateway)
    await node.call("lease", LeaseRequest("n1", "old", 1, 0.0))
    hanging = asyncio.create_task(node.call("lease", LeaseRequest("n1", "old", 1, 20.0)))
    while not gateway.context.extra(Scheduler).waiting_nodes:
        await asyncio.sleep(0)
    assert (await node.lease(wait_s=0.0)).tasks == ()
    await Client(gateway).job(MAP, inputs=("s3://books/a.txt",))
    leased = await node.lease()
    assert [task.attempt for task in leased.tasks] == [1]
    assert unpack((await hanging).body, LeaseReply).tasks == ()
    held = tuple(map(attempt, leased.tasks))
    assert (await node.lease(wait_s=0.0, held=held)).lost == ()
    assert (await node.report(success(held[0]))).stale == ()


async def test_stderr_is_asked_of_the_node_that_ran_the_task(gateway: RunningGateway) -> None:
    client, node = Client(gateway), NodeSide(gateway)
    job = await client.job(MAP, inputs=("s3://books/none", "s3://books/a.txt"))
    leased = await node.lease()
    path = f"/jobs/{job['id']}/tasks"
    gone = await client.ask("GET", f"{path}/{leased.tasks[0].task_id}/stderr")
    assert (gone.status, msgspec.json.decode(gone.body)["error"]["code"]) == (503, "NodeUnavailable")
    assert (await client.ask("GET", f"{path}/1/stderr")).status == 404
    assert (await client.ask("GET", f"{path}/99/stderr")).status == 404
    assert (await client.ask("GET", f"{path}/x/stderr")).status == 400


@pytest.mark.invariant("S3")
async def test_what_a_node_sends_is_bounded(gateway: RunningGateway) -> None:
    node = NodeSide(gateway)
    results = tuple(success(AttemptRef("j", number, 1)) for number in range(limits.REPORT_BATCH_MAX + 1))
    assert (await node.call("report", ReportRequest("n1", "e", results))).status == 400
    held = tuple(AttemptRef("j", number, 1) for number in range(limits.HELD_MAX + 1))
    assert (await node.call("lease", LeaseRequest("n1", "e", 1, 0.0, held))).status == 400
    standing = Standing(heard=held)
    assert (await node.call("lease", LeaseRequest("n1", "e", 1, 0.0, standing=standing))).status == 400
    assert (await node.call("report", ReportRequest("n1", "e", (), standing=standing))).status == 200, "left aside"


async def test_tasks_are_listed_with_where_and_when_they_ran(gateway: RunningGateway) -> None:
    client, node = Client(gateway), NodeSide(gateway)
    job = await client.job(MAP, inputs=("s3://books/*.txt",))
    leased = await node.lease()
    running = await client.lines(f"/jobs/{job['id']}/tasks?state=running")
    assert [(line["seq"], line["node"], line["started"], line["ended"]) for line in running] == [
        (1, "n1", None, None), (2, "n1", None, None)
    ]  # fmt: skip
    assert all(line["leased"] >= job["created"] for line in running), "times of one form, which sort as text"
    await node.report(failure(attempt(leased.tasks[0])), success(attempt(leased.tasks[1])))
    lines = await client.lines(f"/jobs/{job['id']}/tasks")
    assert [(line["task"], line["state"], line["started"], line["ended"]) for line in lines] == [
        (1, "failed", "1970-01-01T00:00:00.001Z", "1970-01-01T00:00:00.002Z"),
        (2, "committed", "1970-01-01T00:00:00.001Z", "1970-01-01T00:00:00.002Z"),
    ]
    assert [line["input"] for line in lines] == ["books/a.txt", "books/b.txt"]
    second = await client.lines(f"/jobs/{job['id']}/tasks?after=1&limit=1")
    assert [line["seq"] for line in second] == [2]
    refused = await client.ask("GET", f"/jobs/{job['id']}/tasks?state=sleeping")
    assert refused.status == 400
    assert b"committed" in refused.body


async def test_an_account_sees_what_it_used_and_root_what_anybody_did(gateway: RunningGateway) -> None:
    root, node = Client(gateway), NodeSide(gateway)
    await gateway.context.catalog.create_account(Account("alice", "Alice", "Alice", "", 1))
    await gateway.context.catalog.add_key(AccessKey("ALICEKEY", "alice-secret", "alice"))
    alice = Client(gateway, "ALICEKEY", "alice-secret")
    await root.job(MAP, inputs=("s3://books/*.txt",))
    leased = await node.lease()
    await node.report(*(success(attempt(task)) for task in leased.tasks))
    used = await root.get("/usage")
    assert used["account"] == "root"
    assert used["total"] == {
        "attempts": 2, "task_seconds": 1.0, "byte_seconds": 256 << 20, "input_bytes_in_place": 20,
        "input_bytes_moved": 0, "shuffle_bytes_moved": 0, "output_bytes_copied": 0,
    }  # fmt: skip
    assert [day["attempts"] for day in used["days"]] == [2]
    assert used["days"][0]["day"] == root_day(gateway)
    assert (await root.get("/usage?to=2020-01-01"))["days"] == []
    nothing = await alice.get("/usage")
    assert (nothing["account"], nothing["total"]["attempts"], nothing["days"]) == ("alice", 0, [])
    assert await root.get("/accounts/Alice/usage") == nothing == await alice.get("/accounts/alice/usage")
    assert (await alice.ask("GET", "/accounts/root/usage")).status == 404
    assert (await root.ask("GET", "/accounts/nobody/usage")).status == 404
    assert (await root.ask("GET", "/usage?from=yesterday")).status == 400
    assert (await root.ask("GET", "/usage?from=2026-11-24&to=2026-11-23")).status == 400


def root_day(gateway: RunningGateway) -> str:
    return datetime.fromtimestamp(gateway.context.now_ms() / 1000, UTC).date().isoformat()


async def test_a_task_too_large_for_a_node_is_left_to_one_that_has_enough(gateway: RunningGateway) -> None:
    """Where nobody has, whoever asks gets it, and will say so."""
    client = Client(gateway)
    await client.ask("POST", "/nodes", {"id": "n2", "url": "unix:/nowhere", "key": KEY.hex()})
    for key, nodes in (("both.txt", ("n1", "n2")), ("here.txt", ("n1",))):
        await gateway.context.catalog.put_object("books", stored(gateway.context.now_ms(), key, nodes))
    small, large = Capacity(1 << 30, 2.0), Capacity(8 << 30, 8.0)
    n1, n2 = NodeSide(gateway), NodeSide(gateway, "n2")
    for node, capacity in ((n1, small), (n2, large)):
        assert (await node.lease(wait_s=0.0, capacity=capacity)).tasks == ()
    await client.job({**MAP, "memory": "4G"}, inputs=("s3://books/both.txt",))
    (task,) = (await n2.lease(capacity=large)).tasks
    assert task.input is not None
    await client.job({**MAP, "cpus": 4}, inputs=("s3://books/both.txt",))
    assert (await n1.lease(wait_s=1.0, capacity=small)).tasks == ()
    assert len((await n2.lease(capacity=large, held=(attempt(task),))).tasks) == 1
    for needs, key in (({"memory": "16G"}, "both.txt"), ({"memory": "4G"}, "here.txt")):
        await client.job({**MAP, **needs}, inputs=(f"s3://books/{key}",))
        (task,) = (await n1.lease(capacity=small)).tasks
        await n1.report(success(attempt(task)))


@pytest.mark.invariant("J4")
async def test_a_catalog_that_is_away_is_no_answer_about_what_a_task_names(
    gateway: RunningGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Told as one, it ended the task, or all of its phase, as if the object could not be had."""
    await Client(gateway).job(MAP, inputs=("s3://books/a.txt",))
    node = NodeSide(gateway)
    (task,) = (await node.lease()).tasks
    asked = ObjectsRequest("n1", attempt(task), Purpose.READ, (("books", "b.txt"), ("books", "none")))
    listed = ListingRequest("n1", attempt(task), "books", "")
    with monkeypatch.context() as away:
        for name in ("locate", "get_bucket"):
            away.setattr(gateway.context.catalog, name, _unavailable)
        assert (await node.call("objects", asked)).status == 503
        assert (await node.call("listing", listed)).status == 503
    found = unpack((await node.call("objects", asked)).body, ObjectsReply).objects
    assert [one.code for one in found] == ["", "NoSuchKey"]
    assert len(unpack((await node.call("listing", listed)).body, ListingReply).keys) == 3


async def _unavailable(*_: object) -> None:
    raise ServiceUnavailable


async def test_explain_looks_at_so_many_objects_and_lets_others_have_their_turn(
    gateway: RunningGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a large bucket nothing may match: reads that wait for nothing held up every other request."""
    monkeypatch.setattr("manta.catalog.job_scripts.explain.RESOLVE_PAGE", 1)
    monkeypatch.setattr(limits, "EXPLAIN_LOOKS_MAX", 2 * limits.RESOLVE_PAGE)
    turns, found_at = 0, []
    find_inputs = gateway.context.catalog.jobs.find_inputs

    async def tick() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def find(*args: Any) -> Any:
        found_at.append(turns)
        return await find_inputs(*args)

    monkeypatch.setattr(gateway.context.catalog.jobs, "find_inputs", find)
    ticker = asyncio.create_task(tick())
    reply = await Client(gateway).ask("POST", "/jobs/explain", {"phases": [MAP], "inputs": ["s3://books/*.none"]})
    ticker.cancel()
    await asyncio.gather(ticker, return_exceptions=True)
    told = msgspec.json.decode(reply.body)
    assert (told["inputs"], told["complete"]) == (0, False)
    assert len(set(found_at)) == len(found_at) == 2
