"""Gibibytes go in and out while each of the store's processes stays small: they stream, they do not collect."""

import hashlib
import http.client
import io
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from boto3.s3.transfer import TransferConfig
from botocore.awsrequest import AWSRequest

from manta.core.limits import GIB, MIB
from tests.support.compat import Endpoint, running_endpoint
from tests.support.gateway import Signer
from tests.support.resident import resident_peaks

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

BIG_BYTES = 5 * GIB
SINGLE_BYTES = 2 * GIB
RESIDENT_MAX_BYTES = GIB
BLOCK = random.Random(2).randbytes(MIB)


class Generated(io.RawIOBase):
    """A stream of `size` bytes made on the way, no two MiB alike; `digest` is the SHA-256 of what was read."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._at = 0
        self.digest = hashlib.sha256()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        number, start = divmod(self._at, MIB)
        block = number.to_bytes(8, "big") + BLOCK[8:]
        data = block[start : start + min(len(buffer), self._size - self._at)]
        buffer[: len(data)] = data
        self.digest.update(data)
        self._at += len(data)
        return len(data)


@pytest.fixture(params=[[], ["--tcp-nodes"]], ids=["same machine", "over TCP"])
def endpoint(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Endpoint]:
    """A store whose files are removed with it: pytest keeps folders, and these are large."""
    try:
        with running_endpoint(tmp_path / "store", "http", "--copies", "1", *request.param) as endpoint:
            endpoint.client.create_bucket(Bucket="big")
            yield endpoint
    finally:
        shutil.rmtree(tmp_path / "store")


def digest_of(body: Any) -> tuple[int, str]:
    """Size and SHA-256 of what a reader yields."""
    digest, size = hashlib.sha256(), 0
    while piece := body.read(MIB):
        digest.update(piece)
        size += len(piece)
    return size, digest.hexdigest()


def test_five_gibibytes_in_parts(endpoint: Endpoint) -> None:
    source = Generated(BIG_BYTES)
    config = TransferConfig(multipart_chunksize=8 * MIB, max_concurrency=4)
    with resident_peaks(endpoint.store.children()) as peaks:
        endpoint.client.upload_fileobj(io.BufferedReader(source, 8 * MIB), "big", "k", Config=config)
        got = digest_of(endpoint.client.get_object(Bucket="big", Key="k")["Body"])
    assert got == (BIG_BYTES, source.digest.hexdigest())
    _check(peaks)


def test_two_gibibytes_in_one_request(endpoint: Endpoint) -> None:
    source = Generated(SINGLE_BYTES)
    with resident_peaks(endpoint.store.children()) as peaks:
        _put(endpoint, "/big/single", source, SINGLE_BYTES)
        got = digest_of(endpoint.client.get_object(Bucket="big", Key="single")["Body"])
    assert got == (SINGLE_BYTES, source.digest.hexdigest())
    _check(peaks)


def _put(endpoint: Endpoint, path: str, body: Generated, size: int) -> None:
    """A signed PUT as a bare HTTP client sends it: the length beforehand, then the bytes."""
    request = AWSRequest("PUT", endpoint.url + path)
    Signer("UNSIGNED-PAYLOAD", endpoint.store.secret_key, endpoint.store.access_key).add_auth(request)
    connection = http.client.HTTPConnection(urlsplit(endpoint.url).netloc, timeout=300)
    connection.request("PUT", path, io.BufferedReader(body, MIB), dict(request.headers) | {"Content-Length": str(size)})
    reply = connection.getresponse()
    said = reply.read()
    connection.close()
    assert reply.status == 200, said


def _check(peaks: dict[str, int]) -> None:
    """Gateway and nodes, none above the bound; the figures are printed for whoever asks (pytest -s)."""
    print({name: f"{peak / MIB:.0f} MiB" for name, peak in peaks.items()})
    assert len(peaks) == 3
    assert {name: peak for name, peak in peaks.items() if peak > RESIDENT_MAX_BYTES} == {}
