"""A gateway's life: accounts, health, metrics, TLS, and an end that breaks nobody's request."""

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from manta.core.config import TlsFiles
from manta.gateway.http import server as http_server
from tests.support.certificates import self_signed
from tests.support.gateway import (
    MemoryBlobs,
    RunningGateway,
    Wire,
    gateway,
    line,
    running_gateway,
    signed_request,
    threaded_gateway,
    wire,
)

__all__ = ["gateway", "line"]

HEALTH = b"GET /_manta/health HTTP/1.1\r\nHost: x\r\n\r\n"


async def call(
    gateway: RunningGateway, line: Wire, method: str, path: str, document: Any = None, **signing: Any
) -> tuple[int, Any]:
    body = b"" if document is None else json.dumps(document).encode()
    reply = await line.ask(signed_request(gateway, method, f"/_manta/v1/{path}", body, **signing))
    return reply.status, json.loads(reply.body) if reply.body else None


async def test_accounts_are_made_listed_and_removed(gateway: RunningGateway, line: Wire) -> None:
    status, made = await call(gateway, line, "POST", "accounts", {"name": "ada", "id": "a" * 64, "email": "a@b"})
    assert (status, made["id"], made["keys"]) == (201, "a" * 64, [made["access_key"]])
    status, key = await call(
        gateway, line, "POST", "accounts/ada/keys", {"access_key": "ADA2", "secret_key": "secret-of-ada"}
    )
    assert (status, key["access_key"]) == (201, "ADA2")
    _, listed = await call(gateway, line, "GET", "accounts")
    assert {one["name"] for one in listed["accounts"]} == {"root", "ada"}
    assert "secret" not in json.dumps(listed)
    assert (await call(gateway, line, "DELETE", f"accounts/ada/keys/{made['access_key']}"))[0] == 204
    _, shown = await call(gateway, line, "GET", "accounts/" + "a" * 64)
    assert shown["keys"] == ["ADA2"]
    assert (await call(gateway, line, "POST", "accounts", {"name": "ada"}))[0] == 409
    assert (await call(gateway, line, "POST", "accounts", {"name": "x", "nme": 1}))[0] == 400
    assert (await call(gateway, line, "POST", "accounts", {"name": "x", "access_key": "only"}))[0] == 400
    as_ada: dict[str, Any] = {"access_key": "ADA2", "secret_key": "secret-of-ada"}
    assert (await line.ask(signed_request(gateway, "GET", "/", **as_ada))).status == 200
    assert (await call(gateway, line, "DELETE", "accounts/ada"))[0] == 204
    assert (await line.ask(signed_request(gateway, "GET", "/", **as_ada))).code == "InvalidAccessKeyId"
    status, error = await call(gateway, line, "GET", "accounts/ada")
    assert (status, error["error"]["code"]) == (404, "NoSuchAccount")


async def test_the_root_account_keeps_a_key(gateway: RunningGateway, line: Wire) -> None:
    assert (await call(gateway, line, "DELETE", "accounts/root"))[0] == 403
    assert (await call(gateway, line, "DELETE", "accounts/root/keys/ROOTKEY"))[0] == 403


@pytest.mark.invariant("S1")
async def test_only_root_manages_accounts_and_tenants_see_their_own(gateway: RunningGateway, line: Wire) -> None:
    ada = {"name": "ada", "access_key": "ADAKEY", "secret_key": "secret-of-ada"}
    assert (await call(gateway, line, "POST", "accounts", ada))[0] == 201
    as_ada: dict[str, Any] = {"secret_key": "secret-of-ada", "access_key": "ADAKEY"}
    assert (await call(gateway, line, "GET", "accounts", **as_ada))[0] == 403
    unsigned = await line.ask(b"GET /_manta/v1/accounts HTTP/1.1\r\nHost: x\r\n\r\n")
    assert unsigned.status == 403
    for method, target in [
        ("GET", "/bkt"),
        ("PUT", "/bkt/k"),
        ("GET", "/bkt/k"),
        ("DELETE", "/bkt"),
        ("HEAD", "/bkt/k"),
    ]:
        assert (await line.ask(signed_request(gateway, method, target, **as_ada))).status == 403
    assert (await line.ask(signed_request(gateway, "PUT", "/bkt", **as_ada))).code == "BucketAlreadyExists"
    assert (await line.ask(signed_request(gateway, "PUT", "/hers", **as_ada))).status == 200
    assert b"<Name>hers</Name>" in (await line.ask(signed_request(gateway, "GET", "/", **as_ada))).body
    assert b"<Name>hers</Name>" not in (await line.ask(signed_request(gateway, "GET", "/"))).body


async def test_health_needs_no_signature_and_unknown_calls_are_json_errors(line: Wire) -> None:
    assert (await line.ask(HEALTH)).status == 200
    assert (await line.ask(HEALTH.replace(b"health", b"ready"))).status == 200
    reply = await line.ask(HEALTH.replace(b"health", b"nothing"))
    assert (reply.status, json.loads(reply.body)["error"]["request_id"]) == (404, reply.headers["x-amz-request-id"])
    assert (await line.ask(HEALTH.replace(b"GET", b"DELETE"))).status == 405


async def test_metrics_count_requests() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    async with running_gateway(admin_port=port) as gateway, wire(gateway) as line:
        await line.ask(HEALTH)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /metrics HTTP/1.1\r\n\r\n")
        text = (await reader.read()).decode()
        writer.close()
        await writer.wait_closed()
    assert 'manta_requests_total{operation="Health",status="200"} 1' in text
    assert "manta_connections 1.0" in text


def test_tls_with_trailing_checksums(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over https boto3 sends aws-chunked bodies with an unsigned trailer, and no Content-Length."""
    monkeypatch.setattr(http_server, "DRAIN_IDLE_S", 0.2)
    made = self_signed(tmp_path, "localhost")
    files = TlsFiles(str(made.chain), str(made.key))
    with threaded_gateway(MemoryBlobs(files=True), tls=files, host="localhost") as gateway:
        client = gateway.boto3(verify=files.certificate)
        client.create_bucket(Bucket="bkt")
        for size in (0, 10, 300_000, 6_000_000):
            body = os.urandom(size)
            client.put_object(Bucket="bkt", Key="k", Body=body)
            got = client.get_object(Bucket="bkt", Key="k")
            assert got["Body"].read() == body
            assert got["ChecksumCRC32"]
        client.close()


class SlowBlobs(MemoryBlobs):
    """Puts wait until the test says go."""

    def __init__(self) -> None:
        super().__init__()
        self.reached = asyncio.Event()
        self.go = asyncio.Event()

    async def put_small(self, data: Any) -> Any:
        self.reached.set()
        await self.go.wait()
        return await super().put_small(data)


@pytest.mark.invariant("O1")
async def test_draining_finishes_what_has_begun_and_answers_what_still_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "DRAIN_IDLE_S", 0.2)
    blobs = SlowBlobs()
    async with stoppable_gateway(blobs) as (gateway, stop):
        await gateway.context.catalog.create_bucket("bkt", "root", 1)
        async with wire(gateway) as busy, wire(gateway) as kept, wire(gateway) as idle:
            for each in (kept, idle):
                assert (await each.ask(HEALTH)).headers.get("connection") is None
            await busy.send(signed_request(gateway, "PUT", "/bkt/k", b"body"))
            await blobs.reached.wait()
            stop.set()
            await gateway.context.draining.wait()
            late = await kept.ask(signed_request(gateway, "GET", "/bkt"))
            assert (late.status, late.headers["connection"]) == (200, "close")
            assert await idle.reader.read() == b""
            with pytest.raises(ConnectionError):
                await asyncio.open_connection(gateway.host, gateway.port)
            assert not busy.reader.at_eof()
            blobs.go.set()
            done = await busy.reply()
            assert (done.status, done.headers["connection"]) == (200, "close")
            assert await busy.reader.read() == b""


async def test_draining_ends_at_its_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "DRAIN_S", 0.2)
    blobs = SlowBlobs()
    async with stoppable_gateway(blobs) as (gateway, stop):
        await gateway.context.catalog.create_bucket("bkt", "root", 1)
        async with wire(gateway) as stuck:
            await stuck.send(signed_request(gateway, "PUT", "/bkt/k", b"body"))
            await blobs.reached.wait()
            stop.set()
            assert await stuck.reader.read() == b""


@pytest.mark.invariant("O1")
async def test_a_replaced_gateway_drops_no_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two gateways on one listening socket; the first drains while clients keep asking on kept connections."""
    monkeypatch.setattr(http_server, "DRAIN_IDLE_S", 0.2)
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listening:
        port = listening.getsockname()[1]
        answered = 0
        running = True

        async def client(gateway: RunningGateway) -> None:
            nonlocal answered
            connection: Wire | None = None
            while running:
                if connection is None:
                    connection = Wire(*await asyncio.open_connection("127.0.0.1", port))
                reply = await connection.ask(HEALTH)
                assert reply.status == 200
                answered += 1
                if reply.headers.get("connection") == "close":
                    await connection.close()
                    connection = None
            if connection is not None:
                await connection.close()

        async def progress(more: int) -> None:
            goal = answered + more
            while answered < goal and not any(task.done() for task in clients):
                await asyncio.sleep(0)

        async with stoppable_gateway(listen_fd=os.dup(listening.fileno())) as (first, stop_first):
            clients = [asyncio.create_task(client(first)) for _ in range(8)]
            await progress(200)
            async with stoppable_gateway(listen_fd=os.dup(listening.fileno())) as (_second, _stop):
                stop_first.set()
                await first.context.draining.wait()
                await progress(400)
                running = False
                await asyncio.gather(*clients)


@contextlib.asynccontextmanager
async def stoppable_gateway(
    blobs: MemoryBlobs | None = None, **options: Any
) -> AsyncIterator[tuple[RunningGateway, asyncio.Event]]:
    """A gateway that drains in the background once the event is set."""
    stop = asyncio.Event()
    started: asyncio.Future[RunningGateway] = asyncio.get_running_loop().create_future()

    async def run() -> None:
        async with running_gateway(blobs, **options) as gateway:
            started.set_result(gateway)
            await stop.wait()

    task = asyncio.create_task(run())
    try:
        yield await started, stop
    finally:
        stop.set()
        await task


async def test_bytes_that_are_no_text_reach_the_log_as_escapes(tmp_path: Path) -> None:
    async with running_gateway(log_dir=str(tmp_path)) as gateway, wire(gateway) as line, wire(gateway) as other:
        reply = await line.ask(b"GET /bkt/\xff\xc3\xa9?x=\xfe HTTP/1.1\r\nHost: x\r\n\r\n")
        assert reply.status in (400, 403)
        assert (await other.ask(HEALTH.replace(b"x\r\n", b"x\r\nUser-Agent: \xfd\r\n"))).status == 200
    logged = [json.loads(entry) for entry in (tmp_path / "access.log").read_text().splitlines()]
    assert [entry["operation"] for entry in logged] == ["Unknown", "Health"]
    assert logged[1]["agent"] == "\\udcfd"


@pytest.mark.parametrize("target", [b"/bkt/\xff", b"/bkt/k?prefix=\xff", b"/_manta/\xff", b"/_manta/v1/jobs?x=%FF"])
async def test_bytes_that_are_no_text_are_refused(line: Wire, target: bytes) -> None:
    reply = await line.ask(b"GET " + target + b" HTTP/1.1\r\nHost: x\r\n\r\n")
    assert reply.status in (400, 403)
