"""Calls of nodes that lie: a node runs strangers' code, and is believed in little."""

import asyncio
import time
from typing import Any

import msgspec
import pytest

from jobs.model.questions import InputsRequest, SlotsRequest
from jobs.model.wire import (
    AttemptRef,
    Failure,
    LeaseRequest,
    ReportReply,
    ReportRequest,
    TaskResult,
    Usage,
    pack,
    unpack,
)
from manta.catalog.records import Node
from manta.core import limits
from manta.core.errors import InvalidArgument, MantaError, NodeUnavailable
from manta.core.names import new_id
from manta.core.peers import NodeAddress
from manta.gateway.datapath import cluster
from storage_nodes.client.connection import connect, parse_url
from storage_nodes.client.node_client import NodeClient
from tests.support.gateway import RunningGateway
from tests.support.job_calls import Client, NodeSide, attempt, gateway, make_cluster
from tests.support.jobs import MAP, output, success

__all__ = ["gateway"]

change = msgspec.structs.replace


@pytest.fixture
def node(gateway: RunningGateway) -> NodeSide:
    return NodeSide(gateway)


async def leased(gateway: RunningGateway, node: NodeSide) -> Any:
    """The lease of a job's only task."""
    await Client(gateway).job(MAP, inputs=("s3://books/a.txt",))
    (lease,) = (await node.lease()).tasks
    return lease


def fresh() -> str:
    return new_id(int(time.time() * 1000))


@pytest.mark.invariant("S3")
async def test_a_poll_that_waits_for_no_number_is_refused(node: NodeSide) -> None:
    """NaN sorts nowhere: a timer with it would be lost among the event loop's others."""
    assert (await node.call("lease", LeaseRequest("n1", "e", 1, float("nan")))).status == 400
    assert (await node.call("lease", LeaseRequest("n1", "e", 1, float("-inf")))).status == 200


@pytest.mark.parametrize(
    "usage",
    [
        Usage(1, 2, float("nan")),
        Usage(1, 2, float("inf")),
        Usage(1, 2, -1.0),
        Usage(1, 2, 1.0, in_place_bytes=2**63 - 1),
        Usage(1, 2, 1.0, moved_bytes=-1),
        Usage(1, 2, 1.0, shuffled_bytes=2**64 - 1),
        Usage(1, 2, 1.0, copied_bytes=-1),
        Usage(-(2**63), 2, 1.0),
        Usage(1, 2**63 - 1, 1.0),
    ],
)
async def test_usage_that_cannot_be_added_up_is_refused(gateway: RunningGateway, node: NodeSide, usage: Usage) -> None:
    lease = await leased(gateway, node)
    good = success(attempt(lease), [output(lease.slot.blob_id, ("n1",))])
    assert (await node.call("report", ReportRequest("n1", "e", (change(good, usage=usage),)))).status == 400
    assert not (await node.report(good)).stale, "the attempt is still there to be reported well"


@pytest.mark.invariant("S3")
async def test_outputs_of_one_task_are_bounded(gateway: RunningGateway, node: NodeSide) -> None:
    lease = await leased(gateway, node)
    many = [output(None, (), 0)] * (limits.TASK_OUTPUTS_MAX + 1)
    assert (await node.call("report", ReportRequest("n1", "e", (success(attempt(lease), many),)))).status == 400
    members = tuple(success(attempt(lease), many[: limits.TASK_OUTPUTS_MAX // 2 + 1]) for _ in range(2))
    reply = await node.call("report", ReportRequest("n1", "e", (change(success(attempt(lease)), members=members),)))
    assert (reply.status, f"at most {limits.REPORT_OUTPUTS_MAX} outputs" in reply.body.decode()) == (400, True)
    huge = change(output(lease.slot.blob_id, ("n1",)), size=limits.OBJECT_MAX_BYTES + 1)
    assert (await node.call("report", ReportRequest("n1", "e", (success(attempt(lease), [huge]),)))).status == 400


@pytest.mark.invariant("S3")
async def test_what_is_kept_of_a_failures_words_is_bounded(gateway: RunningGateway, node: NodeSide) -> None:
    lease = await leased(gateway, node)
    failure = Failure("C" * 1_000_000, "m" * 1_000_000)
    await node.report(TaskResult(attempt(lease), Usage(1, 2, 0.5), failure=failure, stderr=b"s" * 1_000_000))
    (error,) = await Client(gateway).lines(f"/jobs/{lease.job_id}/errors")
    assert len(error["code"]) == len(error["message"]) == limits.FAILURE_MESSAGE_MAX_CHARS
    assert len(error["stderr"]) == limits.STDERR_IN_ERROR_BYTES


@pytest.mark.invariant("S1")
async def test_a_blob_of_another_object_is_no_output(gateway: RunningGateway, node: NodeSide) -> None:
    """A node that claims a stranger's blob as its task's output gives its owner nothing to read."""
    lease = await leased(gateway, node)
    assert lease.input.blob_id is not None
    stolen = success(attempt(lease), [output(lease.input.blob_id, ("n1",))])
    assert (await node.call("report", ReportRequest("n1", "e", (stolen,)))).status == 409
    assert await Client(gateway).lines(f"/jobs/{lease.job_id}/outputs") == []


@pytest.mark.invariant("J2")
async def test_an_attempt_that_was_never_granted_has_no_rights(gateway: RunningGateway, node: NodeSide) -> None:
    lease = await leased(gateway, node)
    for forged in (
        change(attempt(lease), attempt=lease.attempt + 1),
        change(attempt(lease), task_id=2**64 - 1),
        AttemptRef("0" * 20, 1, 1),
        AttemptRef("\0", 2**64 - 1, 2**64 - 1),
    ):
        assert (await node.call("inputs", InputsRequest("n1", forged, 2**64 - 1, 2**64 - 1))).status == 409
        assert (await node.call("slots", SlotsRequest("n1", forged, 2**62))).status == 409
        reply = await node.call("report", ReportRequest("n1", "e", (success(forged, [output(fresh(), ("n1",))]),)))
        assert unpack(reply.body, ReportReply).stale == (forged,)
    assert await Client(gateway).lines(f"/jobs/{lease.job_id}/outputs") == []


@pytest.mark.parametrize(
    "body", [b"", b"\xc1", b"\x91" * 1_000_000, b"\x81\xa1a" * 100_000, b"\xdd\xff\xff\xff\xff", b"\x81\x91\x01\x02"]
)
async def test_a_message_that_is_none_is_refused(node: NodeSide, body: bytes) -> None:
    for name in ("lease", "report", "inputs", "slots"):
        assert (await node.call(name, body)).status == 400


@pytest.mark.parametrize(
    "url",
    [
        "http://[::1",
        "http://host:99999999",
        "http://host",
        "https://host:1",
        "http://host\r\nEvil: a:1",
        "unix:/" + "x" * 200,
        "unix:/a\0b",
        "unix:relative",
        "file:///etc/passwd",
    ],
)
async def test_an_address_that_is_none_is_refused_and_unavailable(gateway: RunningGateway, url: str) -> None:
    reply = await Client(gateway).ask("POST", "/nodes", {"id": "n2", "url": url, "key": "ab" * 16})
    assert reply.status == 400
    with pytest.raises(InvalidArgument):
        parse_url(url)
    with pytest.raises(NodeUnavailable):
        await connect(url, 1.0)


@pytest.mark.parametrize(
    "said",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: " + b"9" * 5000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 999999999999\r\n\r\n",
        b"HTTP/1.1 \xb2 OK\r\n\r\n",
        b"HTTP/1.1\r\n\r\n",
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"x" * 100_000,
        b"HTTP/1.1 200 OK\r\ncontent-length: 200000\r\n\r\n" + b"\x91" * 200_000,
        b"HTTP/1.1 200 OK\r\ncontent-length: 300008\r\n\r\n" + b"\x81\xa5agent" + b"\x81\xa1a" * 100_000 + b"\xc0",
        b"HTTP/1.1 500 No\r\ncontent-length: 1\r\n\r\n\xc1",
    ],
)
async def test_a_node_that_answers_nonsense_is_an_error_of_the_store(said: bytes) -> None:
    """Anything else would end the task that watches the node, and it would stay as it was last seen."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(said)
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        client = NodeClient(NodeAddress("n1", f"http://127.0.0.1:{port}", b"k" * 32))
        try:
            with pytest.raises(MantaError):
                await client.status()
        finally:
            await client.close()


async def test_the_list_of_nodes_goes_on_being_read_after_a_failure_nobody_foresaw(
    gateway: RunningGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "NODE_REFRESH_S", 0.01)
    again = asyncio.Event()
    listed = gateway.context.catalog.list_nodes
    calls = 0

    async def list_nodes() -> list[Node]:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise RuntimeError("a row that cannot be read")
        if calls > 2:
            again.set()
        return await listed()

    monkeypatch.setattr(gateway.context.catalog, "list_nodes", list_nodes)
    made = make_cluster(gateway)
    await made.start()
    try:
        async with asyncio.timeout(20):
            await again.wait()
    finally:
        await made.close()


@pytest.mark.invariant("S1")
async def test_s1_an_overheard_report_reports_nothing_else(gateway: RunningGateway, node: NodeSide) -> None:
    lease = await leased(gateway, node)
    empty = pack(ReportRequest("n1", "e", ()))
    forged = pack(ReportRequest("n1", "e", (success(attempt(lease), [output(lease.slot.blob_id, ("n1",))]),)))
    reply = await node.call("report", forged, signed_for=empty)
    assert (reply.status, b"does not cover its body" in reply.body) == (403, True)
    assert (await node.call("report", empty)).status == 200
    assert (await node.call("report", forged)).status == 200
