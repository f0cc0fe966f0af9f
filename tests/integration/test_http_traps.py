"""Every trap of aiohttp, and of HTTP itself, that once let another store take the wrong bytes or hang."""

import asyncio
import contextlib
import gzip
import hashlib
from collections.abc import AsyncIterator

import pytest

from manta.gateway.http import server as http_server
from tests.support.gateway import RunningGateway, Wire, line, running_gateway, signed_request, stored, wire

__all__ = ["line"]


@pytest.fixture
async def gateway(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[RunningGateway]:
    monkeypatch.setattr(http_server, "HEADERS_DEADLINE_S", 0.3)
    monkeypatch.setattr(http_server, "SWEEP_INTERVAL_S", 0.05)
    async with running_gateway() as running:
        await running.context.catalog.create_bucket("bkt", "root", 1)
        yield running


async def test_gzip_body_is_stored_as_sent(gateway: RunningGateway, line: Wire) -> None:
    body = gzip.compress(b"x" * 10_000)
    put = signed_request(gateway, "PUT", "/bkt/z", body, {"Content-Encoding": "gzip"})
    reply = await line.ask(put)
    assert (reply.status, reply.headers.get("etag"), reply.body) == (200, f'"{hashlib.md5(body).hexdigest()}"', b"")
    assert stored(gateway) == [body]
    reply = await line.ask(signed_request(gateway, "GET", "/bkt/z"))
    assert (reply.headers["content-encoding"], reply.body) == ("gzip", body)


@pytest.mark.invariant("S1")
async def test_expect_is_answered_only_after_the_signature_held(gateway: RunningGateway, line: Wire) -> None:
    expecting = {"Expect": "100-continue", "Content-Length": "5"}
    await line.send(signed_request(gateway, "PUT", "/bkt/k", headers=expecting, secret_key="wrong-secret"))
    refused = await line.reply()
    assert (refused.status, refused.code) == (403, "SignatureDoesNotMatch")
    assert refused.headers["connection"] == "close"
    with pytest.raises(EOFError):
        await line.reply()


async def test_expect_is_refused_without_100_when_the_bucket_is_missing(gateway: RunningGateway, line: Wire) -> None:
    expecting = {"Expect": "100-continue", "Content-Length": "5"}
    await line.send(signed_request(gateway, "PUT", "/other/k", headers=expecting))
    assert (await line.reply()).code == "NoSuchBucket"


async def test_expect_gets_100_then_the_final_status(gateway: RunningGateway, line: Wire) -> None:
    expecting = {"Expect": "100-continue", "Content-Length": "5"}
    await line.send(signed_request(gateway, "PUT", "/bkt/k", headers=expecting))
    assert await line.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    await line.send(b"hello")
    assert (await line.reply()).status == 200
    assert stored(gateway) == [b"hello"]
    assert (await line.ask(signed_request(gateway, "GET", "/bkt/k"))).body == b"hello"


@pytest.mark.invariant("S3")
async def test_a_head_that_trickles_is_cut_off(gateway: RunningGateway, line: Wire) -> None:
    await line.send(b"GET / HTTP/1.1\r\nHost: x\r\n")
    cut_off = asyncio.ensure_future(line.reader.read())
    while not cut_off.done():
        try:
            await line.send(b"a")
        except ConnectionError:
            break
        await asyncio.wait([cut_off], timeout=0.02)
    with contextlib.suppress(ConnectionError):
        assert await cut_off == b""


@pytest.mark.invariant("S3")
async def test_connections_are_capped(gateway: RunningGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "CONNECTIONS_MAX", 2)
    async with wire(gateway) as first, wire(gateway) as second:
        health = b"GET /_manta/health HTTP/1.1\r\nHost: x\r\n\r\n"
        assert (await first.ask(health)).status == (await second.ask(health)).status == 200
        async with wire(gateway) as third:
            assert (await third.reply()).status == 503
            with pytest.raises(EOFError):
                await third.reply()
        assert (await first.ask(health)).status == 200


@pytest.mark.invariant("S2")
@pytest.mark.parametrize(
    ("target", "key"),
    [
        ("/bkt/../../etc/passwd", "../../etc/passwd"),
        ("/bkt/%2e%2e/%2e%2e/x", "../../x"),
        ("/bkt/a%2Fb", "a/b"),
        ("/bkt//a//b", "/a//b"),
        ("/bkt/./a", "./a"),
        ("/bkt/%2541", "%41"),
        ("/bkt/a+b%20c", "a+b c"),
        ("/bkt/http://elsewhere/x", "http://elsewhere/x"),
        ("/bkt/%F0%9F%90%9F%0A", "\N{FISH}\n"),
        ("/bkt/back%5Cslash;x=y", "back\\slash;x=y"),
    ],
)
async def test_the_path_is_decoded_once_and_is_nothing_but_a_key(
    gateway: RunningGateway, line: Wire, target: str, key: str
) -> None:
    assert (await line.ask(signed_request(gateway, "PUT", target, b"v"))).status == 200
    page = await gateway.context.catalog.list_objects("bkt")
    assert [item.key for item in page.objects] == [key]
    assert (await line.ask(signed_request(gateway, "GET", target))).body == b"v"


@pytest.mark.invariant("S2")
@pytest.mark.parametrize("target", ["/bkt/a%00b", "/bkt/%FF", "/bkt/%C0%AF", "/bkt/%ED%A0%80", "/bkt/a?prefix=%00"])
async def test_nul_and_bad_utf8_are_refused(gateway: RunningGateway, line: Wire, target: str) -> None:
    reply = await line.ask(signed_request(gateway, "PUT", target, b"v"))
    assert (reply.status, reply.code) == (400, "InvalidURI")
    assert not stored(gateway)


async def test_an_absolute_uri_names_the_same_object(gateway: RunningGateway, line: Wire) -> None:
    assert (await line.ask(signed_request(gateway, "PUT", "/bkt/k", b"v"))).status == 200
    absolute = signed_request(gateway, "GET", "/bkt/k").replace(b"GET /", f"GET {gateway.url}/".encode(), 1)
    assert (await line.ask(absolute)).body == b"v"
    elsewhere = signed_request(gateway, "GET", "/bkt/k").replace(b"GET /", b"GET http://elsewhere/", 1)
    assert (await line.ask(elsewhere)).status == 400


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"PUT /bkt/k HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
        b"PUT /bkt/k HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"PUT /bkt/k HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nx\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n folded\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
        b"nonsense\r\n\r\n",
        b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 20_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(200)) + b"\r\n",
    ],
)
@pytest.mark.invariant("S3")
async def test_malformed_requests_are_refused_and_the_connection_ends(line: Wire, head: bytes) -> None:
    reply = await line.ask(head)
    assert reply.status in (400, 403)
    assert reply.headers["content-type"] == "application/xml"
    assert reply.code


async def test_two_of_a_header_that_matters_are_refused(gateway: RunningGateway, line: Wire) -> None:
    request = signed_request(gateway, "GET", "/bkt/k").replace(b"\r\n\r\n", b"\r\nRange: a\r\nRange: b\r\n\r\n")
    assert (await line.ask(request)).status == 400


async def test_a_query_parameter_given_twice_is_refused(gateway: RunningGateway, line: Wire) -> None:
    reply = await line.ask(signed_request(gateway, "GET", "/bkt?prefix=a&prefix=b"))
    assert (reply.status, reply.code) == (400, "AuthorizationQueryParametersError")


@pytest.mark.parametrize("method", ["CONNECT", "OPTIONS", "TRACE", "PATCH", "BREW"])
async def test_other_methods_are_refused(gateway: RunningGateway, line: Wire, method: str) -> None:
    reply = await line.ask(signed_request(gateway, method, "/bkt/k"))
    assert reply.status in (400, 405, 501)


async def test_a_body_that_ends_early_is_not_stored(gateway: RunningGateway, line: Wire) -> None:
    await line.send(signed_request(gateway, "PUT", "/bkt/k", b"half", {"Content-Length": "8"}))
    line.writer.write_eof()
    await line.reader.read()
    page = await gateway.context.catalog.list_objects("bkt")
    assert not page.objects


async def test_a_put_without_a_length_is_refused(gateway: RunningGateway, line: Wire) -> None:
    request = signed_request(gateway, "PUT", "/bkt/k", b"1\r\nx\r\n0\r\n\r\n", {"Transfer-Encoding": "chunked"})
    assert (await line.ask(request)).code == "MissingContentLength"


async def test_pipelined_requests_are_answered_in_order(gateway: RunningGateway, line: Wire) -> None:
    requests = [signed_request(gateway, "PUT", f"/bkt/{name}", name.encode()) for name in "abc"]
    requests += [signed_request(gateway, "GET", f"/bkt/{name}") for name in "abc"]
    await line.send(b"".join(requests))
    replies = [await line.reply() for _ in requests]
    assert [reply.status for reply in replies] == [200] * 6
    assert [reply.body for reply in replies[3:]] == [b"a", b"b", b"c"]


async def test_http_1_0_ends_the_connection(gateway: RunningGateway, line: Wire) -> None:
    reply = await line.ask(b"GET /_manta/health HTTP/1.0\r\n\r\n")
    assert (reply.status, reply.headers["connection"]) == (200, "close")
    assert await line.reader.read() == b""


async def test_a_request_to_upgrade_is_answered_and_ends_the_connection(line: Wire) -> None:
    upgrade = b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    assert (await line.ask(b"GET /_manta/health HTTP/1.1\r\nHost: x\r\n" + upgrade)).status == 200
    assert await line.reader.read() == b""


async def test_a_refused_body_is_read_away_and_the_connection_kept(gateway: RunningGateway, line: Wire) -> None:
    body = bytes(1_000_000)
    refused = await line.ask(signed_request(gateway, "PUT", "/other/k", body))
    assert (refused.status, refused.code) == (404, "NoSuchBucket")
    assert (await line.ask(signed_request(gateway, "PUT", "/bkt/k", body))).status == 200
