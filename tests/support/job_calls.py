"""Jobs over HTTP, from both sides: clients' calls signed as S3's, nodes' calls signed with the node's key."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from jobs.model.wire import AttemptRef, LeaseReply, LeaseRequest, ReportReply, ReportRequest, pack, unpack
from manta.gateway.datapath.cluster import Cluster
from manta.gateway.datapath.compose import connect
from manta.gateway.jobs import scheduling
from storage_nodes import token
from tests.support.gateway import ACCESS_KEY, SECRET_KEY, Reply, RunningGateway, running_gateway, signed_request, wire
from tests.support.jobs import output, stored, success

KEY = b"k" * 32


class Client:
    """One account's calls."""

    def __init__(self, gateway: RunningGateway, access_key: str = ACCESS_KEY, secret_key: str = SECRET_KEY) -> None:
        self.gateway = gateway
        self.keys = {"access_key": access_key, "secret_key": secret_key}

    async def ask(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Reply:
        data = body if isinstance(body, bytes) else b"" if body is None else msgspec.json.encode(body)
        async with wire(self.gateway) as connection:
            target = f"/_manta/v1{path}"
            return await connection.ask(signed_request(self.gateway, method, target, data, headers, **self.keys))

    async def job(self, *phases: dict[str, Any], inputs: tuple[object, ...] = (), **more: Any) -> dict[str, Any]:
        reply = await self.ask("POST", "/jobs", {"phases": phases, "inputs": inputs, **more})
        assert reply.status == 201, reply.body
        found: dict[str, Any] = msgspec.json.decode(reply.body)
        return found

    async def get(self, path: str) -> dict[str, Any]:
        reply = await self.ask("GET", path)
        assert reply.status == 200, reply.body
        found: dict[str, Any] = msgspec.json.decode(reply.body)
        return found

    async def lines(self, path: str) -> list[dict[str, Any]]:
        reply = await self.ask("GET", path)
        assert reply.status == 200, reply.body
        return [msgspec.json.decode(line) for line in reply.body.splitlines()]


class NodeSide:
    """A node that answers for itself."""

    def __init__(self, gateway: RunningGateway, node_id: str = "n1", key: bytes = KEY) -> None:
        self.gateway = gateway
        self.node_id = node_id
        self.key = key

    async def call(self, name: str, message: msgspec.Struct | bytes, *, signed_for: bytes | None = None) -> Reply:
        """`signed_for`: the body that the token covers, where it is another one."""
        path = f"/_manta/node/v1/{name}"
        body = message if isinstance(message, bytes) else pack(message)
        signed = token.sign(self.key, "POST", path, time.time() + 60, body if signed_for is None else signed_for)
        head = (
            f"POST {path} HTTP/1.1\r\nHost: x\r\n{token.HEADER}: {signed}\r\nx-manta-node: {self.node_id}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        async with wire(self.gateway) as connection:
            return await connection.ask(head.encode() + body)

    async def lease(self, lanes: int = 4, wait_s: float = 5.0, **more: Any) -> LeaseReply:
        reply = await self.call("lease", LeaseRequest(self.node_id, "e", lanes, wait_s, **more))
        assert reply.status == 200, reply.body
        return unpack(reply.body, LeaseReply)

    async def report(self, *results: Any) -> ReportReply:
        reply = await self.call("report", ReportRequest(self.node_id, "e", results))
        assert reply.status == 200, reply.body
        return unpack(reply.body, ReportReply)

    async def run_all(self) -> None:
        """Lease and report what there is, as fast as it comes."""
        while True:
            leased = await self.lease()
            if leased.tasks:
                await self.report(*(success(attempt(t), [output(t.slot.blob_id, ("n1",))]) for t in leased.tasks))


def attempt(lease: Any) -> Any:
    return AttemptRef(lease.job_id, lease.task_id, lease.attempt)


@asynccontextmanager
async def job_gateway() -> AsyncIterator[RunningGateway]:
    """A gateway with a scheduler, the node n1 and a bucket of books that lie on it."""
    async with running_gateway() as gateway, scheduling(gateway.context, make_cluster(gateway)):
        context = gateway.context
        await context.catalog.create_bucket("books", "root", 1)
        for key in ("a.txt", "b.txt", "sub/c.txt"):
            await context.catalog.put_object("books", stored(context.now_ms(), key, ("n1",)))
        reply = await Client(gateway).ask("POST", "/nodes", {"id": "n1", "url": "unix:/nowhere", "key": KEY.hex()})
        assert reply.status == 201, reply.body
        yield gateway


def make_cluster(gateway: RunningGateway) -> Cluster:
    return Cluster(gateway.context.catalog, gateway.context.clock, connect)


@pytest.fixture
async def gateway() -> AsyncIterator[RunningGateway]:
    async with job_gateway() as gateway:
        yield gateway
