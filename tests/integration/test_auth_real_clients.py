"""Real clients against the verifier and the body decoders behind a bare HTTP server, with and without TLS."""

import asyncio
import base64
import hashlib
import shutil
import ssl
import subprocess
import threading
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

import boto3
import pytest
from aiohttp import web
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.httpsession import URLLib3Session

from manta.auth.body import Data, Trailers
from manta.auth.payload import PayloadKind
from manta.auth.verify import SignedRequest, Verifier
from manta.core.clock import SystemClock
from manta.core.errors import MantaError
from tests.support.auth import ACCESS_KEY, REGION, SECRET_KEY, find_key
from tests.support.certificates import Certificate, self_signed

KEYS = ["plain", "with space", "ümläut/ß", "a+b", "100%41", "a//b", "../up", "(x)!*'", "q?x=y&z", "~tilde", "日本"]
ERROR = "<Error><Code>{}</Code><Message>{}</Message></Error>"


@dataclass
class Seen:
    """What the server made of the requests, in order."""

    kinds: list[PayloadKind] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    trailers: list[dict[str, str]] = field(default_factory=list)


class Server:
    """Runs in a thread of its own until the test ends; answers 200 to whatever verifies."""

    def __init__(self, tls: ssl.SSLContext | None) -> None:
        self.seen = Seen()
        self.port = 0
        self._tls = tls
        self._verifier = Verifier(find_key, SystemClock(), (REGION,))
        self._started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        path, _, query = request.raw_path.partition("?")
        signed = SignedRequest(request.method, path, query, request.headers.items(), request.headers["Host"])
        try:
            identity = await self._verifier.verify(signed)
            decoder = identity.payload.decoder()
            events = decoder.feed(await request.read()) + decoder.finish()
        except MantaError as error:
            return web.Response(status=error.status, text=ERROR.format(error.code, error.message))
        self.seen.kinds.append(identity.payload.kind)
        self.seen.paths.append(unquote(path))
        self.seen.bodies.append(b"".join(event.data for event in events if isinstance(event, Data)))
        self.seen.trailers.append(next((dict(event.fields) for event in events if isinstance(event, Trailers)), {}))
        return web.Response(text="<Ok/>")  # botocore takes a 200 without XML for a failure

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        app = web.Application()
        app.router.add_route("*", "/{tail:.*}", self._handle)
        runner = web.AppRunner(app, auto_decompress=False, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=self._tls)
        await site.start()
        self.port = runner.addresses[0][1]
        self._started.set()
        await self._stop.wait()
        await runner.cleanup()

    def start(self) -> None:
        self._thread.start()
        assert self._started.wait(30)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(30)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return self_signed(tmp_path_factory.mktemp("tls"))


@pytest.fixture(params=["http", "https"])
def store(request: pytest.FixtureRequest, certificate: Certificate) -> Iterator[tuple[Server, Any, str]]:
    """(server, boto3 client, scheme)"""
    tls = None
    if request.param == "https":
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(certificate.chain, certificate.key)
    server = Server(tls)
    server.start()
    client = boto3.client(
        "s3",
        endpoint_url=f"{request.param}://127.0.0.1:{server.port}",
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET_KEY,
        region_name=REGION,
        verify=str(certificate.chain) if tls else None,
        config=Config(
            signature_version="s3v4",
            s3={"addressing_style": "path"},
            retries={"total_max_attempts": 1},
            read_timeout=20,
        ),
    )
    yield server, client, request.param
    client.close()
    server.stop()


def test_boto3_puts_keys_of_every_kind(store: tuple[Server, Any, str]) -> None:
    server, client, scheme = store
    body = b"hello world"
    for key in KEYS:
        client.put_object(Bucket="bucket", Key=key, Body=body, Metadata={"a": "b  c"})
    assert server.seen.paths == [f"/bucket/{key}" for key in KEYS]
    assert server.seen.bodies == [body] * len(KEYS)
    kind = PayloadKind.UNSIGNED_CHUNKS_TRAILER if scheme == "https" else PayloadKind.EXACT
    assert set(server.seen.kinds) == {kind}
    if scheme == "https":
        crc = base64.b64encode(zlib.crc32(body).to_bytes(4, "big")).decode()
        assert server.seen.trailers == [{"x-amz-checksum-crc32": crc}] * len(KEYS)


def test_boto3_lists_and_reads(store: tuple[Server, Any, str]) -> None:
    server, client, _ = store
    for key in KEYS:
        client.head_object(Bucket="bucket", Key=key, PartNumber=1)
        client.delete_object(Bucket="bucket", Key=key, VersionId="a/b c+d")
    assert len(server.seen.paths) == 2 * len(KEYS)


def test_presigned_urls(store: tuple[Server, Any, str], certificate: Certificate) -> None:
    server, client, _ = store
    session = URLLib3Session(verify=str(certificate.chain))
    for key in KEYS:
        url = client.generate_presigned_url("put_object", {"Bucket": "bucket", "Key": key}, ExpiresIn=60)
        answer = session.send(AWSRequest("PUT", url, data=b"x").prepare())
        assert (answer.status_code, answer.text) == (200, "<Ok/>")
        stretched = url.replace("X-Amz-Expires=60", "X-Amz-Expires=600")
        refused = session.send(AWSRequest("PUT", stretched, data=b"x").prepare())
        assert (refused.status_code, "SignatureDoesNotMatch" in refused.text) == (403, True)
    session.close()
    assert server.seen.bodies == [b"x"] * len(KEYS)
    assert set(server.seen.kinds) == {PayloadKind.UNSIGNED}


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed on this machine")
def test_curl(store: tuple[Server, Any, str], certificate: Certificate) -> None:
    server, _, scheme = store
    base = f"{scheme}://127.0.0.1:{server.port}/bucket"
    digest = hashlib.sha256(b"hello").hexdigest()
    for target in (
        "/plain",
        "/with%20space",
        "?list-type=2&prefix=a%2Fb&max-keys=10",
        "/key?uploads",
        "/key?versionId=1",
    ):
        command = ["curl", "-sS", "--fail-with-body", "--cacert", str(certificate.chain), "--path-as-is", "-X", "PUT"]
        command += ["--user", f"{ACCESS_KEY}:{SECRET_KEY}", "--aws-sigv4", f"aws:amz:{REGION}:s3"]
        command += ["-H", f"x-amz-content-sha256: {digest}", "--data-binary", "hello", base + target]
        answer = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert answer.stdout == "<Ok/>", answer
    assert server.seen.bodies == [b"hello"] * 5
