"""A job's events over HTTP: what is told, in which order, and where a client that comes back goes on."""

import asyncio
from typing import Any

import msgspec
import pytest

from jobs.model.wire import Standing
from manta.core import limits
from manta.gateway.long_requests import Streams
from tests.support.gateway import RunningGateway, Wire, signed_request, wire
from tests.support.job_calls import Client, NodeSide, attempt, gateway
from tests.support.jobs import MAP, failure, success

__all__ = ["gateway"]

Event = tuple[str, int, dict[str, Any]]


class Stream:
    """One open stream, read event by event."""

    def __init__(self, connection: Wire) -> None:
        self.reader = connection.reader

    async def next(self) -> Event | None:
        """The next event; None at the end of the stream."""
        block = b""
        while not block.endswith(b"\n\n") or block.startswith(b":"):
            size = int(await self.reader.readline(), 16)
            if not size:
                return None
            block = (b"" if block.startswith(b":") else block) + await self.reader.readexactly(size)
            await self.reader.readexactly(2)
        fields = dict(line.split(": ", 1) for line in block.decode().rstrip("\n").split("\n"))
        return fields["event"], int(fields["id"]), msgspec.json.decode(fields["data"])

    async def rest(self) -> list[Event]:
        found: list[Event] = []
        while (event := await self.next()) is not None:
            found.append(event)
        return found


async def open_stream(gateway: RunningGateway, connection: Wire, job: str, last: str = "") -> Stream:
    headers = {"Last-Event-ID": last} if last else None
    await connection.send(signed_request(gateway, "GET", f"/_manta/v1/jobs/{job}/events", b"", headers))
    head = await connection.reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), head
    assert b"Content-Type: text/event-stream" in head
    return Stream(connection)


async def test_events_tell_of_progress_and_failures_and_end_with_the_job(gateway: RunningGateway) -> None:
    client, node = Client(gateway), NodeSide(gateway)
    job = await client.job(MAP, inputs=("s3://books/*.txt", "s3://books/none"))
    leased = await node.lease(standing=Standing(lanes=2))
    async with wire(gateway) as connection:
        stream = await open_stream(gateway, connection, job["id"])
        first, second = await stream.next(), await stream.next()
        assert first is not None
        assert second is not None
        assert (first[0], first[1], first[2]["code"]) == ("failure", 1, "ResourceNotFound")
        assert (second[0], second[2]["phases"][0]["tasks"]["running"]) == ("job", 2)
        assert second[2]["phases"][0]["complete"]
        bad, good = (attempt(task) for task in leased.tasks)
        await node.report(failure(bad))
        third = await stream.next()
        assert third is not None
        assert (third[0], third[1], third[2]["code"]) == ("failure", 2, "UserTaskError")
        await node.report(success(good))
        rest = await stream.rest()
    name, number, ended = rest[-1]
    assert (name, number, ended["state"], ended["errors"]) == ("end", 2, "done", 2)
    assert {event[0] for event in rest[:-1]} <= {"job"}


async def test_a_client_that_comes_back_hears_of_each_failure_once(gateway: RunningGateway) -> None:
    client = Client(gateway)
    job = await client.job(MAP, inputs=("s3://books/x", "s3://books/y", "s3://books/z"))
    while (await client.get(f"/jobs/{job['id']}?wait=10"))["ended"] is None:
        pass
    async with wire(gateway) as connection:
        events = await (await open_stream(gateway, connection, job["id"], last="2")).rest()
    assert [(name, number) for name, number, _ in events] == [("failure", 3), ("end", 3)]
    refused = await client.ask("GET", f"/jobs/{job['id']}/events", headers={"Last-Event-ID": "x"})
    assert refused.status == 400


@pytest.mark.invariant("S3")
async def test_streams_are_counted_and_bounded(gateway: RunningGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "EVENT_STREAMS_MAX", 1)
    client = Client(gateway)
    job = await client.job(MAP, end=False)
    async with wire(gateway) as connection:
        await (await open_stream(gateway, connection, job["id"])).next()
        assert (await client.ask("GET", f"/jobs/{job['id']}/events")).status == 503
        await client.ask("POST", f"/jobs/{job['id']}/cancel")
        while b"event: end" not in await connection.reader.readline():
            pass
    while gateway.context.extra(Streams).open:
        await asyncio.sleep(0)
    assert (await client.ask("GET", f"/jobs/{job['id']}/events")).status == 200


@pytest.mark.invariant("S3")
async def test_one_account_does_not_take_all_streams(gateway: RunningGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "EVENT_STREAMS_ACCOUNT_MAX", 1)
    root = Client(gateway)
    made = {"name": "dave", "id": "dave", "access_key": "DAVEKEY", "secret_key": "dave-secret"}
    assert (await root.ask("POST", "/accounts", made)).status == 201
    dave = Client(gateway, "DAVEKEY", "dave-secret")
    job, daves = await root.job(MAP, end=False), await dave.job(MAP, end=False)
    async with wire(gateway) as connection:
        await (await open_stream(gateway, connection, job["id"])).next()
        assert (await root.ask("GET", f"/jobs/{job['id']}/stderr?follow=1")).status == 503
        assert (await dave.ask("POST", f"/jobs/{daves['id']}/cancel")).status == 200
        while (await dave.get(f"/jobs/{daves['id']}?wait=10"))["ended"] is None:
            pass
        assert (await dave.ask("GET", f"/jobs/{daves['id']}/events")).status == 200


async def test_a_stream_ends_when_the_gateway_is_to_end(gateway: RunningGateway) -> None:
    job = await Client(gateway).job(MAP, end=False)
    async with wire(gateway) as connection:
        stream = await open_stream(gateway, connection, job["id"])
        assert await stream.next() is not None
        gateway.context.draining.set()
        assert all(event[0] == "job" for event in await stream.rest())


async def test_a_stream_ends_when_the_job_is_removed(gateway: RunningGateway) -> None:
    client = Client(gateway)
    job = await client.job(MAP, end=False)
    async with wire(gateway) as connection:
        stream = await open_stream(gateway, connection, job["id"])
        await stream.next()
        assert (await client.ask("DELETE", f"/jobs/{job['id']}")).status == 204
        assert all(event[0] in ("job", "end") for event in await stream.rest())
