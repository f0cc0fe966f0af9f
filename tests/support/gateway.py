"""A real gateway on a free port, in the test's own loop or in a thread, over a catalog and blobs in memory."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import boto3
import msgspec
import pytest
from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials

from manta.catalog.memory import MemoryCatalog
from manta.catalog.records import Blob
from manta.core.checksums import Buffer
from manta.core.clock import SystemClock
from manta.core.config import GatewayConfig
from manta.core.names import new_id
from manta.gateway.bootstrap import ensure_root
from manta.gateway.context import Context
from manta.gateway.main import serving
from tests.support.threads import in_thread

ACCESS_KEY = "ROOTKEY"
SECRET_KEY = "root-secret-key"
REGION = "us-east-1"


class MemoryReader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    async def read(self) -> bytes:
        piece = self._data[self._at : self._at + 65536]
        self._at += len(piece)
        return piece

    async def close(self) -> None:
        return


@dataclass
class MemoryBlobs:
    """`context.Blobs` in memory. With `files`, large reads come as file descriptors, as from this machine's nodes."""

    clock: SystemClock = field(default_factory=SystemClock)
    data: dict[str, bytes] = field(default_factory=dict)
    files: bool = False

    async def put_small(self, data: Buffer) -> Blob:
        blob_id = new_id(int(self.clock.wall_s() * 1000))
        self.data[blob_id] = bytes(data)
        return Blob(blob_id, len(data), ("n1",))

    async def open_put(self, size: int | None) -> "MemorySink":
        return MemorySink(self)

    async def open_get(self, blob: Blob, start: int, length: int) -> MemoryReader:
        return MemoryReader(self.data[blob.blob_id][start : start + length])

    async def read_small(self, blob: Blob, start: int, length: int) -> bytes:
        return self.data[blob.blob_id][start : start + length]

    async def open_file(self, blob: Blob, start: int, length: int) -> int | None:
        if not self.files:
            return None
        descriptor = os.memfd_create("blob")
        with os.fdopen(os.dup(descriptor), "wb") as file:
            file.write(self.data[blob.blob_id])
        return descriptor

    def discard(self, blob: Blob | None) -> None:
        if blob is not None:
            self.data.pop(blob.blob_id, None)


class MemorySink:
    def __init__(self, blobs: MemoryBlobs) -> None:
        self._blobs = blobs
        self._data = bytearray()

    async def write(self, data: Buffer) -> None:
        self._data += data

    async def commit(self) -> Blob:
        return await self._blobs.put_small(self._data)

    async def abort(self) -> None:
        self._data.clear()


@dataclass
class RunningGateway:
    """`context` may be touched from the gateway's own loop only."""

    context: Context
    host: str
    port: int
    loop: asyncio.AbstractEventLoop | None = None

    @property
    def url(self) -> str:
        scheme = "https" if self.context.config.tls else "http"
        return f"{scheme}://{self.host}:{self.port}"

    def boto3(self, access_key: str = ACCESS_KEY, secret_key: str = SECRET_KEY, **options: Any) -> Any:
        settings = {
            "s3": {"addressing_style": "path"},
            "retries": {"max_attempts": 1},
            "signature_version": "s3v4",
        } | options.pop("config", {})
        return boto3.client(
            "s3",
            endpoint_url=self.url,
            aws_access_key_id=access_key,
            aws_secret_access_key=secret_key,
            region_name=REGION,
            config=Config(**settings),
            **options,
        )


@asynccontextmanager
async def running_gateway(blobs: MemoryBlobs | None = None, **options: Any) -> AsyncIterator[RunningGateway]:
    """In this loop: for raw sockets and asyncio clients."""
    clock = SystemClock()
    catalog = MemoryCatalog(clock)
    await ensure_root(catalog, ACCESS_KEY, SECRET_KEY)
    config = msgspec.structs.replace(GatewayConfig(catalog="memory:", port=0, region=REGION), **options)
    context = Context(config, catalog, blobs or MemoryBlobs(), clock)
    async with serving(context) as server:
        yield RunningGateway(context, config.host, server.port, asyncio.get_running_loop())


@contextmanager
def threaded_gateway(blobs: MemoryBlobs | None = None, **options: Any) -> Iterator[RunningGateway]:
    """In a thread with a loop of its own: for clients that block, such as boto3."""
    with in_thread(lambda: running_gateway(blobs, **options)) as gateway:
        yield gateway


class Signer(S3SigV4Auth):  # type: ignore[misc]
    """botocore's, with a payload hash of the test's choice."""

    def __init__(self, payload: str, secret_key: str = SECRET_KEY, access_key: str = ACCESS_KEY) -> None:
        super().__init__(Credentials(access_key, secret_key), "s3", REGION)
        self._payload = payload

    def payload(self, request: AWSRequest) -> str:
        return self._payload


def signed_request(
    gateway: RunningGateway,
    method: str,
    target: str,
    body: bytes = b"",
    headers: dict[str, str] | None = None,
    *,
    secret_key: str = SECRET_KEY,
    access_key: str = ACCESS_KEY,
    payload: str = "UNSIGNED-PAYLOAD",
) -> bytes:
    """Head and body of a request as they go over the wire, signed by botocore; `target` is sent as it is."""
    request = AWSRequest(method, f"{gateway.url}{target}")
    for name, value in (headers or {}).items():
        request.headers[name] = value
    Signer(payload, secret_key, access_key).add_auth(request)
    fields = {"Host": f"{gateway.host}:{gateway.port}", **dict(request.headers.items())}
    if (body or method in ("PUT", "POST")) and not {"Content-Length", "Transfer-Encoding"} & fields.keys():
        fields["Content-Length"] = str(len(body))
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"{method} {target} HTTP/1.1\r\n{lines}\r\n".encode() + body


def presigned_request(gateway: RunningGateway, method: str, target: str, body: bytes = b"") -> bytes:
    """Head and body of a request whose query botocore presigned for a minute."""
    request = AWSRequest(method, f"{gateway.url}{target}")
    S3SigV4QueryAuth(Credentials(ACCESS_KEY, SECRET_KEY), "s3", REGION, expires=60).add_auth(request)
    signed = request.url.removeprefix(gateway.url)
    length = f"Content-Length: {len(body)}\r\n" if body else ""
    return f"{method} {signed} HTTP/1.1\r\nHost: {gateway.host}:{gateway.port}\r\n{length}\r\n".encode() + body


@dataclass
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def code(self) -> str:
        """The Code of an S3 error."""
        return self.body.partition(b"<Code>")[2].partition(b"</Code>")[0].decode()


class Wire:
    """A raw connection to a gateway."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def reply(self, *, head_only: bool = False) -> Reply:
        """The next reply; EOFError when the connection ended."""
        try:
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        except asyncio.IncompleteReadError as error:
            raise EOFError(error.partial) from None
        first, *lines = head.rstrip("\r\n").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        length = 0 if head_only else int(headers.get("content-length", "0"))
        return Reply(int(first.split()[1]), headers, await self.reader.readexactly(length))

    async def ask(self, data: bytes) -> Reply:
        await self.send(data)
        return await self.reply(head_only=data.startswith(b"HEAD"))

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()


@asynccontextmanager
async def wire(gateway: RunningGateway) -> AsyncIterator[Wire]:
    reader, writer = await asyncio.open_connection(gateway.host, gateway.port)
    connection = Wire(reader, writer)
    try:
        yield connection
    finally:
        await connection.close()


@pytest.fixture
async def gateway() -> AsyncIterator[RunningGateway]:
    """With a bucket `bkt`."""
    async with running_gateway() as running:
        await running.context.catalog.create_bucket("bkt", "root", 1)
        yield running


@pytest.fixture
async def line(gateway: RunningGateway) -> AsyncIterator[Wire]:
    async with wire(gateway) as connection:
        yield connection


def stored(gateway: RunningGateway) -> list[bytes]:
    """The bytes of every blob."""
    assert isinstance(gateway.context.blobs, MemoryBlobs)
    return list(gateway.context.blobs.data.values())
