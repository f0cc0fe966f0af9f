"""Requests that once took the gateway down, blinded it or made it say 500, and such as it must go on to refuse."""

import asyncio
import contextlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import msgspec
import pytest

from jobs.model.inputs import parse_input
from manta.core import limits
from manta.core.errors import MalformedXML
from manta.core.limits import (
    ACCESS_LOG_FIELD_MAX_CHARS,
    EXPLAINS_ACCOUNT_MAX,
    GLOB_MAX_CHARS,
    KEY_MAX_BYTES,
    XML_ELEMENTS_MAX,
)
from manta.gateway.http import server as http_server
from manta.gateway.http import xml
from manta.gateway.http.request import host_bucket
from manta.gateway.long_requests import Explanations
from manta.gateway.ops.jobs import read_inputs
from tests.support.gateway import (
    RunningGateway,
    Wire,
    gateway,
    line,
    presigned_request,
    running_gateway,
    signed_request,
    wire,
)
from tests.support.job_calls import Client, job_gateway
from tests.support.waiting import eventually

__all__ = ["gateway", "line"]

HEALTH = b"GET /_manta/health HTTP/1.1\r\nHost: x\r\n\r\n"
JOB = b'{"phases": [{"type": "map", "exec": "cat"}]}'


@pytest.mark.invariant("S3")
async def test_a_connection_that_never_asks_is_cut_off(
    gateway: RunningGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_server, "HEADERS_DEADLINE_S", 0.1)
    monkeypatch.setattr(http_server, "SWEEP_INTERVAL_S", 0.02)
    async with running_gateway() as swift, wire(swift) as silent, wire(swift) as served:
        assert (await served.ask(HEALTH)).status == 200
        assert await silent.reader.read() == b""
        assert (await served.ask(HEALTH)).status == 200, "only the keep-alive time bounds a pause between requests"


@pytest.mark.parametrize("encoding", ["rot13", "hex", "base64", "mbcs", "unicode_escape", "utf-7", "idna", "nonsense"])
def test_xml_in_a_codec_of_pythons_is_malformed(encoding: str) -> None:
    with pytest.raises(MalformedXML):
        xml.parse(f'<?xml version="1.0" encoding="{encoding}"?><Delete/>'.encode(), "Delete")


@pytest.mark.parametrize("encoding", ["UTF-8", "utf-16", "ISO-8859-1", "us-ascii"])
def test_xml_in_an_encoding_that_every_parser_has_is_read(encoding: str) -> None:
    body = f'<?xml version="1.0" encoding="{encoding}"?><Delete><Key>k</Key></Delete>'.encode(encoding)
    assert xml.parse(body, "Delete").findtext("Key") == "k"


@pytest.mark.invariant("S3")
def test_xml_of_too_many_elements_is_refused() -> None:
    assert len(xml.parse(b"<Delete>" + b"<a/>" * (XML_ELEMENTS_MAX - 1) + b"</Delete>", "Delete")) > 0
    with pytest.raises(MalformedXML):
        xml.parse(b"<Delete>" + b"<a/>" * XML_ELEMENTS_MAX + b"</Delete>", "Delete")


@pytest.mark.parametrize("number", ["000001" + "9" * 4500, "9" * 4500, "0", "-1", "1.0", "\N{ARABIC-INDIC DIGIT ONE}"])
async def test_odd_page_sizes_are_refused(gateway: RunningGateway, line: Wire, number: str) -> None:
    reply = await line.ask(signed_request(gateway, "GET", f"/?max-buckets={quote(number)}"))
    assert (reply.status, reply.code) == (400, "InvalidArgument")


async def test_an_idempotency_key_that_is_no_text_is_refused(gateway: RunningGateway, line: Wire) -> None:
    request = signed_request(gateway, "POST", "/_manta/v1/jobs", JOB)
    reply = await line.ask(request.replace(b"\r\n\r\n", b"\r\nIdempotency-Key: a\xff\r\n\r\n", 1))
    assert (reply.status, msgspec.json.decode(reply.body)["error"]["code"]) == (400, "InvalidArgument")


@pytest.mark.invariant("S3")
async def test_many_lines_of_inputs_leave_the_loop_to_others() -> None:
    lines = 20_000
    turns = 0
    reading = asyncio.ensure_future(read_inputs(b"s3://abc/k\n\n" * lines))
    while not reading.done():
        turns += 1
        await asyncio.sleep(0)
    chunks = await reading
    assert sum(count for _, count in chunks) == lines
    assert turns > 10


@pytest.mark.invariant("S3")
@pytest.mark.parametrize("written", ["s3://bkt/" + "*a" * 500_000, {"bucket": "bkt", "glob": "*a" * 500_000}])
def test_a_glob_longer_than_any_key_is_an_invalid_input(written: object) -> None:
    """Compiling it would take memory with the square of its length."""
    spec = parse_input(written)
    assert spec.malformed is not None
    assert len(spec.malformed) <= KEY_MAX_BYTES
    assert parse_input("s3://bkt/" + "*" * GLOB_MAX_CHARS).glob == "*" * GLOB_MAX_CHARS


@pytest.mark.invariant("S3")
@pytest.mark.parametrize("written", ["x" * 1_000_000, "s3://bkt/" + "k" * 1_000_000, {"bucket": "b" * 1_000_000}])
def test_what_is_kept_of_an_input_that_names_nothing_is_bounded(written: object) -> None:
    spec = parse_input(written)
    assert spec.malformed is not None
    assert len(spec.malformed) <= KEY_MAX_BYTES


@pytest.mark.invariant("S1")
@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("x-amz-acl=public-read", 501),
        ("x-amz-server-side-encryption=aws:kms", 501),
        ("X-Amz-Storage-Class=GLACIER", 501),
        ("x-amz-tagging=a%3Db", 501),
        ("x-amz-expected-bucket-owner=somebody", 403),
        ("x-amz-checksum-sha256=" + "A" * 43 + "%3D", 400),
        ("x-amz-copy-source=bkt%2Fabsent", 404),
        ("x-amz-meta-a=b%0D%0AEvil:%201", 400),
        ("x-amz-meta-a:%20b=c", 400),
        ("x-amz-acl=private", 200),
        ("x-amz-checksum-crc32=AAAAAA%3D%3D&x-amz-sdk-checksum-algorithm=CRC32", 200),
    ],
)
async def test_a_header_in_a_presigned_query_is_honoured_or_refused(
    gateway: RunningGateway, line: Wire, query: str, status: int
) -> None:
    """As AWS's JavaScript SDK presigns. (The CRC-32 of nothing is its placeholder for a body that it does not know.)"""
    reply = await line.ask(presigned_request(gateway, "PUT", f"/bkt/k?{query}", b"body"))
    assert reply.status == status, reply.body


async def test_metadata_in_a_presigned_query_is_stored(gateway: RunningGateway, line: Wire) -> None:
    assert (await line.ask(presigned_request(gateway, "PUT", "/bkt/k?x-amz-meta-who=me", b"v"))).status == 200
    reply = await line.ask(signed_request(gateway, "GET", "/bkt/k"))
    assert reply.headers["x-amz-meta-who"] == "me"


@pytest.mark.invariant("S1")
@pytest.mark.parametrize(
    "added",
    [
        "&response-content-type=text/html",
        "&versionId=null",
        "&partNumber=1",
        "&uploadId=x",
        "&x-amz-acl=private",
        "&X-Amz-Expires=604800",
        "&x-amz-content-sha256=UNSIGNED-PAYLOAD",
        "&a",
    ],
)
async def test_nothing_can_be_added_to_a_presigned_query(gateway: RunningGateway, line: Wire, added: str) -> None:
    await line.ask(signed_request(gateway, "PUT", "/bkt/k", b"v"))
    request = presigned_request(gateway, "GET", "/bkt/k")
    assert (await line.ask(request)).body == b"v"
    head, _, rest = request.partition(b" HTTP/1.1")
    assert (await line.ask(head + added.encode() + b" HTTP/1.1" + rest)).status in (400, 403)
    assert (await line.ask(request.replace(b"GET", b"HEAD", 1))).status == 403


@pytest.mark.invariant("S1")
@pytest.mark.parametrize(
    "framing",
    [
        b"Content-Length: +3",
        b"Content-Length: 3,3",
        b"Content-Length: 0x3",
        b"Content-Length: 3_0",
        b"Content-Length: \xd9\xa3",
        b"Content-Length:",
        b"Transfer-Encoding: identity\r\nContent-Length: 3",
        b"Transfer-Encoding: xchunked",
        b"Transfer-Encoding: chunked, chunked",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        b"Transfer-Encoding: \x0bchunked",
        b"Transfer-Encoding : chunked",
    ],
)
async def test_no_second_request_is_smuggled_behind_odd_framing(line: Wire, framing: bytes) -> None:
    await line.send(b"POST /bkt HTTP/1.1\r\nHost: a\r\n" + framing + b"\r\n\r\n0\r\n\r\n" + HEALTH)
    assert (await line.reply()).status == 400
    with pytest.raises(EOFError):
        await line.reply()


@pytest.mark.invariant("S1")
@pytest.mark.parametrize("expect", [b"", b"Expect: 100-continue\r\n", b"Expect: something\r\n"])
async def test_a_refused_body_is_never_taken_for_a_request(line: Wire, expect: bytes) -> None:
    body = b"GET /_manta/version HTTP/1.1\r\nHost: x\r\n\r\n"
    head = b"PUT /bkt/k HTTP/1.1\r\nHost: a\r\n" + expect + b"Content-Length: %d\r\n\r\n" % len(body)
    await line.send(head + body + HEALTH)
    assert (await line.reply()).status == 403
    try:
        following = await line.reply()
    except EOFError:
        return
    assert (following.status, following.body) == (200, b'{"status":"ok"}')


@pytest.mark.invariant("S3")
async def test_a_long_path_leaves_a_bounded_line_in_the_log(tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    async with running_gateway(log_dir=str(tmp_path)) as gateway, wire(gateway) as line:
        request = b"GET /" + b"p" * 7_000 + b"?q=" + b"q" * 7_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n"
        assert (await line.ask(request)).status == 403
    (entry,) = [msgspec.json.decode(one) for one in log.read_bytes().splitlines()]
    assert len(entry["path"]) == len(entry["query"]) == ACCESS_LOG_FIELD_MAX_CHARS


@pytest.mark.parametrize(
    "host", ["bkt.s3.example.org", "bkt.s3.example.org.", "bkt.s3.example.org.:80", "BKT.s3.example.org:7070"]
)
def test_a_fully_qualified_host_names_the_same_bucket(host: str) -> None:
    """Else the first piece of the key would be taken for the bucket."""
    assert host_bucket(host, "s3.example.org") == "bkt"


async def test_an_account_with_jobs_is_kept() -> None:
    async with job_gateway() as gateway:
        root = Client(gateway)
        made = {"name": "dave", "id": "dave", "access_key": "DAVEKEY", "secret_key": "dave-secret"}
        assert (await root.ask("POST", "/accounts", made)).status == 201
        dave = Client(gateway, "DAVEKEY", "dave-secret")
        job = await dave.job({"type": "map", "exec": "cat"}, inputs=())
        assert (await root.ask("DELETE", "/accounts/dave")).status == 409
        assert (await dave.ask("DELETE", f"/jobs/{job['id']}")).status == 204
        while await dave.lines("/jobs"):
            await asyncio.sleep(0.01)
        assert (await root.ask("DELETE", "/accounts/dave")).status == 204


@pytest.mark.invariant("S1")
async def test_a_clone_that_root_makes_has_no_more_rights_than_the_job() -> None:
    """Else a job that names what its owner may not read would wait for somebody of root's to clone it."""
    async with job_gateway() as gateway:
        root = Client(gateway)
        made = {"name": "dave", "id": "dave", "access_key": "DAVEKEY", "secret_key": "dave-secret"}
        assert (await root.ask("POST", "/accounts", made)).status == 201
        dave = Client(gateway, "DAVEKEY", "dave-secret")
        job = await dave.job({"type": "map", "exec": "cat"}, inputs=("s3://books/a.txt",))
        clone = msgspec.json.decode((await root.ask("POST", f"/jobs/{job['id']}/clone")).body)
        assert clone["owner"] == "dave"
        while (await dave.get(f"/jobs/{clone['id']}?wait=10"))["ended"] is None:
            pass
        assert [error["code"] for error in await dave.lines(f"/jobs/{clone['id']}/errors")] == ["AccessDenied"]


@pytest.mark.invariant("S3")
async def test_who_left_a_wait_keeps_no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that closes its connection while it waits for a job would hold the place of another for a minute."""
    seats = 4
    monkeypatch.setattr(http_server, "CONNECTIONS_MAX", seats)
    async with job_gateway() as gateway, contextlib.AsyncExitStack() as leaving:
        job = await Client(gateway).job({"type": "map", "exec": "cat"}, inputs=("s3://books/a.txt",))
        for _ in range(seats):
            waiting = await leaving.enter_async_context(wire(gateway))
            await waiting.send(signed_request(gateway, "GET", f"/_manta/v1/jobs/{job['id']}?wait=60&for=end"))
        async with wire(gateway) as refused:
            assert (await refused.reply()).status == 503
        await leaving.aclose()
        async with asyncio.timeout(30):
            while await _health(gateway) == 503:
                await asyncio.sleep(0.1)
        assert await _health(gateway) == 200


async def _health(gateway: RunningGateway) -> int:
    """503 of a connection that is refused, whether or not its reply came through before its end."""
    async with wire(gateway) as line:
        try:
            return (await line.ask(HEALTH)).status
        except (ConnectionError, EOFError):
            return 503


@pytest.mark.invariant("S3")
async def test_explanations_side_by_side_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forty of them, of 200 KB each, had everybody else wait two seconds for each answer."""
    document = {"phases": [{"type": "map", "exec": "cat"}], "inputs": ["s3://books/"]}
    going = asyncio.Event()
    async with job_gateway() as gateway:
        jobs, client = gateway.context.catalog.jobs, Client(gateway)
        look = jobs.find_inputs

        async def held(*what: Any) -> Any:
            await going.wait()
            return await look(*what)

        monkeypatch.setattr(jobs, "find_inputs", held)
        explanations = gateway.context.shared(Explanations)
        asking = [
            asyncio.create_task(client.ask("POST", "/jobs/explain", document)) for _ in range(EXPLAINS_ACCOUNT_MAX)
        ]
        await eventually(lambda: explanations.open.total() == EXPLAINS_ACCOUNT_MAX)
        refused = asyncio.create_task(client.ask("POST", "/jobs/explain", document))
        try:
            async with asyncio.timeout(20):
                assert (await refused).status == 503
        finally:
            going.set()
            assert [reply.status for reply in await asyncio.gather(*asking)] == [200] * EXPLAINS_ACCOUNT_MAX
        assert (await client.ask("POST", "/jobs/explain", document)).status == 200


async def test_an_explanation_ends_with_its_client(monkeypatch: pytest.MonkeyPatch) -> None:
    document = b'{"phases": [{"type": "map", "exec": "cat"}], "inputs": ["s3://books/"]}'
    monkeypatch.setattr(limits, "EXPLAIN_LOOKS_MAX", float("inf"))
    async with job_gateway() as gateway:

        async def endless(*_: Any) -> Any:
            await asyncio.sleep(0.01)
            return SimpleNamespace(tasks=(), unreadable={}, position=0, after="more")

        with monkeypatch.context() as patch:
            patch.setattr(gateway.context.catalog.jobs, "find_inputs", endless)
            explanations = gateway.context.shared(Explanations)
            async with wire(gateway) as leaving:
                await leaving.send(signed_request(gateway, "POST", "/_manta/v1/jobs/explain", document))
                await eventually(lambda: explanations.open.total() == 1)
            await eventually(lambda: not explanations.open)


@pytest.mark.parametrize("upgrade", ["h2c", "websocket", "tls/1.2"])
async def test_a_put_that_offers_an_upgrade_is_stored_and_the_connection_ends(
    gateway: RunningGateway, line: Wire, upgrade: str
) -> None:
    """Java's HttpClient and curl --http2 offer h2c with their first request; a second one was never answered."""
    put = signed_request(gateway, "PUT", "/bkt/k", b"body", {"Connection": "Upgrade", "Upgrade": upgrade})
    async with asyncio.timeout(20):
        reply = await line.ask(put)
        assert (reply.status, reply.headers["connection"]) == (200, "close")
        assert await line.reader.read() == b""
    async with wire(gateway) as other:
        assert (await other.ask(signed_request(gateway, "GET", "/bkt/k"))).body == b"body"
