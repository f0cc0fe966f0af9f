"""The gateway's parts by themselves: routing, bodies, the bounded log, replies, first start."""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import StreamReader
from aiohttp.base_protocol import BaseProtocol

from manta.auth.body import ExactBody, UnsignedBody
from manta.catalog.memory import MemoryCatalog
from manta.catalog.records import Node, NodeState
from manta.core.clock import SystemClock
from manta.core.errors import (
    ContentSHA256Mismatch,
    EntityTooLarge,
    IncompleteBody,
    MethodNotAllowed,
    NotFound,
    NotImplementedHere,
    SlowDown,
)
from manta.gateway.bootstrap import ensure_root, register_nodes
from manta.gateway.credentials import KeyRing
from manta.gateway.http import body as body_module
from manta.gateway.http.access_log import AccessLog, Entry, RotatingFile
from manta.gateway.http.body import Body
from manta.gateway.http.replies import error_reply
from manta.gateway.http.responses import ChunkedResponse, FileResponse, Response, StreamedResponse
from manta.gateway.metrics import Metrics
from manta.gateway.router import Level
from manta.gateway.routes import build_router
from tests.support.gateway import MemoryReader
from tests.support.replies import MemoryConnection


@pytest.mark.parametrize(
    ("method", "level", "query", "name"),
    [
        ("GET", Level.SERVICE, {}, "ListBuckets"),
        ("GET", Level.BUCKET, {}, "ListObjects"),
        ("GET", Level.BUCKET, {"list-type": "2", "prefix": "a"}, "ListObjectsV2"),
        ("POST", Level.BUCKET, {"delete": ""}, "DeleteObjects"),
        ("PUT", Level.OBJECT, {"x-id": "PutObject"}, "PutObject"),
        ("GET", Level.OBJECT, {"X-Amz-Signature": "s", "response-expires": "x"}, "GetObject"),
    ],
)
def test_routing(method: str, level: Level, query: dict[str, str], name: str) -> None:
    assert build_router().find(method, level, query, {}).name == name


@pytest.mark.parametrize(
    ("method", "level", "query", "headers"),
    [
        ("GET", Level.BUCKET, {"acl": ""}, {}),
        ("PUT", Level.OBJECT, {"tagging": ""}, {}),
        ("GET", Level.OBJECT, {"acl": "", "tagging": ""}, {}),
        ("GET", Level.OBJECT, {"unheard-of": "1"}, {}),
        ("POST", Level.OBJECT, {"select": "", "select-type": "2"}, {}),
        ("PUT", Level.BUCKET, {"versioning": ""}, {}),
        ("GET", Level.OBJECT, {}, {"x-amz-copy-source": "/a/b"}),
        ("OPTIONS", Level.OBJECT, {}, {}),
    ],
)
def test_what_no_route_implements_is_refused(
    method: str, level: Level, query: dict[str, str], headers: dict[str, str]
) -> None:
    with pytest.raises(NotImplementedHere):
        build_router().find(method, level, query, headers)


def test_api_paths_have_variable_parts() -> None:
    router = build_router()
    route, params = router.find_api("DELETE", "v1/accounts/ada/keys/K")
    assert (route.name, params) == ("RemoveKey", {"account": "ada", "access_key": "K"})
    with pytest.raises(MethodNotAllowed):
        router.find_api("PATCH", "v1/accounts")
    for path in ("v1/accounts/", "v1/accounts//keys", "v1", "", "v2/accounts"):
        with pytest.raises(NotFound):
            router.find_api("GET", path)


class OpenProtocol(BaseProtocol):
    connected = True


def stream(*pieces: bytes, ended: bool = True) -> StreamReader:
    loop = asyncio.get_running_loop()
    reader = StreamReader(OpenProtocol(loop), 2**20, loop=loop)
    for piece in pieces:
        reader.feed_data(piece)
    if ended:
        reader.feed_eof()
    return reader


SHA256_HELLO = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"


async def test_a_body_is_read_whole_and_verified() -> None:
    assert await Body(stream(b"hel", b"lo"), ExactBody(SHA256_HELLO), 5, hashes=True).read(5) == b"hello"
    with pytest.raises(ContentSHA256Mismatch):
        await Body(stream(b"jello"), ExactBody(SHA256_HELLO), 5).read(5)
    large = bytes(200_000)
    with pytest.raises(ContentSHA256Mismatch):
        await Body(stream(large), ExactBody(SHA256_HELLO), len(large), hashes=True).read(len(large))


@pytest.mark.invariant("S3")
async def test_a_body_is_bounded_by_its_limit_and_its_length() -> None:
    with pytest.raises(EntityTooLarge):
        await Body(stream(b"hello"), UnsignedBody(), 5).read(4)
    with pytest.raises(EntityTooLarge):
        await Body(stream(b"hel", b"lo"), UnsignedBody(), None).read(4)
    for length in (4, 6):
        with pytest.raises(IncompleteBody):
            await Body(stream(b"hello"), UnsignedBody(), length).read(10)


@pytest.mark.invariant("S3")
async def test_a_client_that_falls_silent_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body_module, "BODY_IDLE_TIMEOUT_S", 0.02)
    with pytest.raises(IncompleteBody, match="No byte"):
        await Body(stream(b"hel", ended=False), UnsignedBody(), 5).read(5)


async def test_a_broken_connection_is_an_incomplete_body() -> None:
    reader = stream(b"hel", ended=False)
    reader.set_exception(ConnectionResetError("gone"))
    with pytest.raises(IncompleteBody):
        await Body(reader, UnsignedBody(), 5).read(5)


async def test_the_client_is_invited_once_and_only_when_its_body_is_wanted() -> None:
    invited: list[str] = []
    unread = Body(stream(b"hello"), UnsignedBody(), 5, lambda: invited.append("unread"))
    assert unread.length == 5
    await Body(stream(b"hel", b"lo"), UnsignedBody(), 5, lambda: invited.append("read")).read(5)
    assert invited == ["read"]


@pytest.mark.invariant("O2")
def test_the_log_keeps_within_its_bound(tmp_path: Path) -> None:
    log = RotatingFile(tmp_path / "access.log", max_bytes=4000, files=4)
    for number in range(100):
        log.write(b"%099d\n" % number)
    log.close()
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == ["access.log", "access.log.1", "access.log.2", "access.log.3"]
    assert sum(file.stat().st_size for file in files) <= 4000
    kept = b"".join(file.read_bytes() for file in reversed(files)).split()
    assert [int(line) for line in kept] == list(range(100 - len(kept), 100))


def entry(identity: str) -> Entry:
    return Entry(1.0, identity, "p", "a", "GET", "/", "", "Op", 200, "", 0, 0, 1.0, "agent")


async def test_the_log_is_written_at_its_end_and_bounded_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("manta.gateway.http.access_log.ACCESS_LOG_BUFFER_MAX", 3)
    log = AccessLog(tmp_path / "logs" / "access.log")
    log.start()
    for number in range(5):
        log.add(entry(str(number)))
    await log.close()
    lines = (tmp_path / "logs" / "access.log").read_text().splitlines()
    assert ([json.loads(line)["id"] for line in lines], log.dropped) == (["0", "1", "2"], 2)


def test_errors_are_xml_or_json() -> None:
    reply = error_reply(SlowDown("a <b>", Detail="x&y"), "/bkt/k", "ID", json=False)
    assert (reply.status, reply.headers["Retry-After"]) == (503, "1")
    assert b"<Message>a &lt;b&gt;</Message><Detail>x&amp;y</Detail><Resource>/bkt/k</Resource>" in reply.body
    reply = error_reply(SlowDown(Detail="x"), "/", "ID", json=True)
    assert json.loads(reply.body)["error"] == {
        "code": "SlowDown",
        "message": SlowDown.default,
        "request_id": "ID",
        "Detail": "x",
    }


async def chunks() -> AsyncIterator[bytes]:
    yield b"ab"
    yield b""
    yield b"c"


async def test_kinds_of_replies_write_themselves() -> None:
    connection = MemoryConnection()
    response: Response = ChunkedResponse(200, {}, chunks())
    await response.write_body(connection)
    await response.close()
    assert (response.length, connection.data) == (None, b"2\r\nab\r\n1\r\nc\r\n0\r\n\r\n")
    connection = MemoryConnection()
    response = StreamedResponse(200, {}, MemoryReader(b"abc"), 3)
    await response.write_body(connection)
    assert connection.data == b"abc"


@pytest.mark.invariant("D3")
async def test_a_blob_that_ends_early_breaks_the_reply() -> None:
    with pytest.raises(ConnectionAbortedError):
        await StreamedResponse(200, {}, MemoryReader(b"abc"), 4).write_body(MemoryConnection())


async def test_a_file_reply_closes_its_file(tmp_path: Path) -> None:
    path = tmp_path / "blob"
    path.write_bytes(b"x")
    with path.open("rb") as file:
        descriptor = os.dup(file.fileno())
    response = FileResponse(200, {}, descriptor, 0, 1)
    await response.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_metrics_are_summed_by_operation_and_status() -> None:
    metrics = Metrics()
    metrics.count("GetObject", 200, 0.5, 0, 10)
    metrics.count("GetObject", 200, 0.25, 0, 10)
    metrics.count("GetObject", 404, 0.25, 0, 1)
    text = metrics.text({"manta_connections": 3.0})
    assert 'manta_requests_total{operation="GetObject",status="200"} 2' in text
    assert 'manta_request_seconds_total{operation="GetObject",status="200"} 0.75' in text
    assert 'manta_sent_bytes_total{operation="GetObject",status="404"} 1' in text
    assert "manta_connections 3.0" in text


async def test_a_first_start_may_be_repeated() -> None:
    catalog = MemoryCatalog(SystemClock())
    for secret in ("first-secret", "first-secret", "second-secret"):
        await ensure_root(catalog, "ROOT", secret)
    (key,) = await catalog.list_keys("root")
    assert key.secret_key == "second-secret"
    node = Node("n1", "unix:/x", b"k", "m", None, NodeState.ACTIVE, 1)
    await register_nodes(catalog, [node])
    await register_nodes(catalog, [node])
    assert await catalog.list_nodes() == [node]


@pytest.mark.invariant("S1")
async def test_a_key_is_remembered_for_a_moment_only() -> None:
    class Clock(SystemClock):
        now_s = 0.0

        def monotonic_s(self) -> float:
            return self.now_s

    clock = Clock()
    catalog = MemoryCatalog(clock)
    await ensure_root(catalog, "ROOT", "secret")
    keys = KeyRing(catalog, clock)
    assert await keys.find("NOBODY") is None
    assert await keys.find("ROOT") is not None
    await catalog.remove_key("ROOT")
    assert await keys.find("ROOT") is not None
    clock.now_s = 1.0
    assert await keys.find("ROOT") is None
    await ensure_root(catalog, "ROOT", "secret")
    assert await keys.find("ROOT") is not None
    await catalog.remove_key("ROOT")
    keys.forget()
    assert await keys.find("ROOT") is None
