"""TLS connections are bounded from their first packet on, and so is the time of their handshake."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from manta.core.config import TlsFiles
from manta.gateway.http import server as http_server
from manta.gateway.http import tls_listener
from tests.support.certificates import self_signed
from tests.support.gateway import RunningGateway, Wire, running_gateway

HEALTH = b"GET /_manta/health HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[RunningGateway]:
    certificate = self_signed(tmp_path)
    async with running_gateway(tls=TlsFiles(str(certificate.chain), str(certificate.key))) as running:
        yield running


async def connect(gateway: RunningGateway, *, tls: bool) -> Wire:
    trusting = ssl.create_default_context()
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    return Wire(*await asyncio.open_connection(gateway.host, gateway.port, ssl=trusting if tls else None))


@pytest.mark.invariant("S3")
async def test_s3_connections_that_never_shake_hands_count_too(
    gateway: RunningGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_server, "CONNECTIONS_MAX", 2)
    served, silent = await connect(gateway, tls=True), await connect(gateway, tls=False)
    assert (await served.ask(HEALTH)).status == 200
    third = await connect(gateway, tls=False)
    assert await third.reader.read() == b""
    assert (await served.ask(HEALTH)).status == 200
    await silent.close()
    while True:  # the place of the silent one is free once the gateway has seen it go
        try:
            another = await connect(gateway, tls=True)
            break
        except OSError:
            await asyncio.sleep(0.01)
    assert (await another.ask(HEALTH)).status == 200
    for line in (served, third, another):
        await line.close()


@pytest.mark.invariant("S3")
async def test_s3_a_handshake_has_a_deadline(gateway: RunningGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls_listener, "TLS_HANDSHAKE_S", 0.2)
    silent, babbling = await connect(gateway, tls=False), await connect(gateway, tls=False)
    await babbling.send(b"\x16\x03\x01")
    assert await silent.reader.read() == await babbling.reader.read() == b""
    another = await connect(gateway, tls=True)
    assert (await another.ask(HEALTH)).status == 200
    for line in (silent, babbling, another):
        await line.close()


async def test_what_is_no_tls_is_answered_by_nothing(gateway: RunningGateway) -> None:
    plain = await connect(gateway, tls=False)
    await plain.send(HEALTH)
    assert b"HTTP/1.1 200" not in await plain.reader.read()
    await plain.close()
