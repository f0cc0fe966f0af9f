"""A client on a slow link gets its object whole; one that takes nothing is cut off."""

import asyncio
import random
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from manta.core.config import TlsFiles
from manta.gateway.http import reader_watch
from tests.support.certificates import self_signed
from tests.support.gateway import MemoryBlobs, RunningGateway, Wire, running_gateway, signed_request

DATA = random.Random(8).randbytes(9 << 20)
PATIENCE_S = 0.3
PACE_S, PACE_BYTES = 0.02, 100_000
"""5 MB/s: what lies in the kernels' buffers aside, 4 MiB take longer than PATIENCE_S."""


@pytest.fixture(params=["file", "stream", "tls"])
async def gateway(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[RunningGateway]:
    monkeypatch.setattr(reader_watch, "READER_PROGRESS_S", PATIENCE_S)
    certificate = self_signed(tmp_path) if request.param == "tls" else None
    tls = TlsFiles(str(certificate.chain), str(certificate.key)) if certificate else None
    async with running_gateway(MemoryBlobs(files=request.param != "stream"), tls=tls) as running:
        await running.context.catalog.create_bucket("bkt", "root", 1)
        line = await narrow_line(running)
        assert (await line.ask(signed_request(running, "PUT", "/bkt/k", DATA))).status == 200
        await line.close()
        yield running


async def narrow_line(gateway: RunningGateway) -> Wire:
    """A connection whose kernel buffers little of what was not read yet."""
    wire = socket.socket()
    wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
    wire.setblocking(False)
    await asyncio.get_running_loop().sock_connect(wire, (gateway.host, gateway.port))
    trusting = ssl.create_default_context()
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    reader, writer = await asyncio.open_connection(
        sock=wire,
        limit=PACE_BYTES,
        ssl=trusting if gateway.context.config.tls else None,
        server_hostname="x" if gateway.context.config.tls else None,
    )
    return Wire(reader, writer)


async def test_a_client_on_a_slow_link_gets_the_whole_object(gateway: RunningGateway) -> None:
    line = await narrow_line(gateway)
    await line.send(signed_request(gateway, "GET", "/bkt/k"))
    await line.reader.readuntil(b"\r\n\r\n")
    got = bytearray()
    while len(got) < len(DATA):
        got += await line.reader.readexactly(min(PACE_BYTES, len(DATA) - len(got)))
        await asyncio.sleep(PACE_S)
    assert got == DATA
    await line.close()


@pytest.mark.invariant("S3")
async def test_s3_a_client_that_takes_nothing_is_cut_off(gateway: RunningGateway) -> None:
    line = await narrow_line(gateway)
    await line.send(signed_request(gateway, "GET", "/bkt/k"))
    await line.reader.readuntil(b"\r\n\r\n")
    while 'operation="GetObject"' not in gateway.context.metrics.text({}):
        await asyncio.sleep(0.01)
    got = 0
    with suppress(ConnectionError):
        while data := await line.reader.read(PACE_BYTES):
            got += len(data)
    assert got < len(DATA)
    await line.close()
