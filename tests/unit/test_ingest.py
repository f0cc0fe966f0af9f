"""A body on its way in: every claim is checked before anything is kept, small and large bodies alike."""

import hashlib
import zlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manta.core import checksums
from manta.core.checksums import Algorithm, Buffer
from manta.core.errors import (
    BadDigest,
    BadRequest,
    EntityTooLarge,
    IncompleteBody,
    InvalidArgument,
    InvalidDigest,
    MalformedTrailer,
)
from manta.core.limits import HASH_BATCH_BYTES, HASH_INLINE_BYTES
from manta.gateway.datapath.ingest import Claims, Received, read_claims, receive

SMALL = 100


@dataclass
class FakeBody:
    pieces: list[bytes]
    length: int | None = None
    trailers: Mapping[str, str] = field(default_factory=dict)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self.pieces:
            yield piece


@dataclass
class Kept:
    """Where bodies go: what was kept, and how."""

    whole: list[bytes] = field(default_factory=list)
    streamed: bytearray = field(default_factory=bytearray)
    ended: str = ""

    async def put_small(self, data: Buffer) -> str:
        self.whole.append(bytes(data))
        return "small"

    async def open(self, size: int | None) -> "Kept":
        return self

    async def write(self, data: Buffer) -> None:
        self.streamed += data

    async def commit(self) -> str:
        self.ended = "committed"
        return "large"

    async def abort(self) -> None:
        self.ended = "aborted"


async def take(kept: Kept, body: FakeBody, claims: Claims | None = None, **options: Any) -> Received[str]:
    options = {"small_bytes": SMALL} | options
    return await receive(body, claims or Claims(), kept.put_small, kept.open, **options)


@given(st.lists(st.binary(max_size=60), max_size=6), st.booleans())
async def test_what_is_kept_is_what_came(pieces: list[bytes], declared: bool) -> None:
    data, kept = b"".join(pieces), Kept()
    received = await take(kept, FakeBody(pieces, len(data) if declared else None))
    assert (received.size, received.etag) == (len(data), hashlib.md5(data).hexdigest())
    digest = checksums.new(Algorithm.CRC64NVME)
    digest.update(data)
    assert received.checksum.digest == digest.digest()
    if not data:
        assert (received.kept, kept.whole, kept.ended) == (None, [], "")
    elif len(data) <= SMALL:
        assert (received.kept, kept.whole, kept.ended) == ("small", [data], "")
    else:
        assert (received.kept, bytes(kept.streamed), kept.ended) == ("large", data, "committed")


@pytest.mark.parametrize("size", [HASH_INLINE_BYTES, HASH_INLINE_BYTES + 1, 3 * HASH_BATCH_BYTES + 7])
async def test_hashes_of_large_bodies_are_right(size: int) -> None:
    data = bytes(size)
    pieces = [data[at : at + 70_000] for at in range(0, size, 70_000)]
    for small in (0, size):
        received = await take(Kept(), FakeBody(pieces, size), Claims(algorithm=Algorithm.SHA256), small_bytes=small)
        assert received.md5 == hashlib.md5(data).digest()
        assert received.checksum.digest == hashlib.sha256(data).digest()


@pytest.mark.parametrize("data", [b"x" * 5, b"x" * 500])
@pytest.mark.parametrize(
    ("claims", "trailers", "error"),
    [
        (Claims(md5=b"0" * 16), {}, BadDigest),
        (Claims(checksum=b"0" * 4, algorithm=Algorithm.CRC32), {}, BadDigest),
        (Claims(trailer=True, algorithm=Algorithm.CRC32), {}, MalformedTrailer),
        (Claims(trailer=True, algorithm=Algorithm.CRC32), {"x-amz-checksum-crc32": "AAAAAA=="}, BadDigest),
        (Claims(trailer=True, algorithm=Algorithm.CRC32), {"x-amz-checksum-crc32": "?"}, InvalidDigest),
    ],
)
async def test_false_claims_keep_nothing(
    data: bytes, claims: Claims, trailers: dict[str, str], error: type[Exception]
) -> None:
    kept = Kept()
    with pytest.raises(error):
        await take(kept, FakeBody([data], len(data), trailers), claims)
    assert not kept.whole
    assert kept.ended in ("", "aborted")


@pytest.mark.parametrize("data", [b"x" * 5, b"x" * 500])
async def test_true_claims_are_accepted(data: bytes) -> None:
    crc = zlib.crc32(data).to_bytes(4, "big")
    header = Claims(md5=hashlib.md5(data).digest(), checksum=crc, algorithm=Algorithm.CRC32)
    trailer = Claims(trailer=True, algorithm=Algorithm.CRC32)
    trailers = {"x-amz-checksum-crc32": checksums.encode(crc)}
    for claims in (header, trailer):
        assert (await take(Kept(), FakeBody([data], len(data), trailers), claims)).checksum.digest == crc


@pytest.mark.parametrize("length", [3, 300])
async def test_shorter_body_than_declared_keeps_nothing(length: int) -> None:
    kept = Kept()
    with pytest.raises(IncompleteBody):
        await take(kept, FakeBody([b"x"], length))
    assert not kept.whole
    assert kept.ended in ("", "aborted")


async def test_body_beyond_the_limit_is_refused_however_it_is_declared() -> None:
    for length in (None, 301):
        kept = Kept()
        with pytest.raises(EntityTooLarge):
            await take(kept, FakeBody([b"x" * 150, b"x" * 151], length), limit=300)
        assert kept.ended in ("", "aborted")


async def test_broken_body_aborts_the_sink() -> None:
    class Broken(FakeBody):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            yield b"x" * 200
            raise IncompleteBody

    kept = Kept()
    with pytest.raises(IncompleteBody):
        await take(kept, Broken([], 400))
    assert kept.ended == "aborted"


def test_claims_are_read_from_headers() -> None:
    crc = {"x-amz-checksum-crc32": "AAAAAA=="}
    assert read_claims({}) == Claims()
    assert read_claims(crc) == Claims(checksum=bytes(4), algorithm=Algorithm.CRC32)
    trailer = {"x-amz-trailer": "x-amz-checksum-sha1", "x-amz-sdk-checksum-algorithm": "SHA1"}
    assert read_claims(trailer) == Claims(trailer=True, algorithm=Algorithm.SHA1)
    assert read_claims({"x-amz-sdk-checksum-algorithm": "CRC32C"}) == Claims(algorithm=Algorithm.CRC32C)
    assert read_claims({}, default=Algorithm.SHA256).algorithm is Algorithm.SHA256
    assert read_claims({"content-md5": "A" * 22 + "=="}).md5 == bytes(16)


@pytest.mark.parametrize(
    ("headers", "error"),
    [
        ({"content-md5": "zz"}, InvalidDigest),
        ({"x-amz-checksum-crc32": "AAAA"}, InvalidDigest),
        ({"x-amz-checksum-crc32": "AAAAAA==", "x-amz-checksum-crc32c": "AAAAAA=="}, BadRequest),
        ({"x-amz-checksum-crc32": "AAAAAA==", "x-amz-trailer": "x-amz-checksum-crc32"}, BadRequest),
        ({"x-amz-trailer": "x-evil"}, BadRequest),
        ({"x-amz-trailer": "x-amz-checksum-rot13"}, InvalidArgument),
        ({"x-amz-sdk-checksum-algorithm": "rot13"}, InvalidArgument),
    ],
)
def test_malformed_claims_are_refused(headers: dict[str, str], error: type[Exception]) -> None:
    with pytest.raises(error):
        read_claims(headers)
