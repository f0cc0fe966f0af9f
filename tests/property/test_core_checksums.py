"""Checksums: published values, any split the same, CRCs combine, and base64 is exact."""

import base64
import hashlib
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manta.core import checksums
from manta.core.checksums import Algorithm
from manta.core.errors import InvalidDigest

ALGORITHMS = st.sampled_from(list(Algorithm))
COMBINABLE = [algorithm for algorithm in Algorithm if algorithm.combinable]
PIECES = st.lists(st.binary(max_size=200), max_size=8)

# of "123456789", by the catalogue of CRCs (reveng.sourceforge.io/crc-catalogue) and FIPS 180
CHECK = {
    Algorithm.CRC32: "cbf43926",
    Algorithm.CRC32C: "e3069283",
    Algorithm.CRC64NVME: "ae8b14860a799888",
    Algorithm.SHA1: "f7c3bc1d808e04732adf679965ccc34ca7ae3441",
    Algorithm.SHA256: "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225",
}


def digest(algorithm: Algorithm, *pieces: bytes) -> bytes:
    new = checksums.new(algorithm)
    for piece in pieces:
        new.update(piece)
    return new.digest()


@pytest.mark.parametrize("algorithm", Algorithm)
def test_published_values(algorithm: Algorithm) -> None:
    assert digest(algorithm, b"123456789").hex() == CHECK[algorithm]
    assert len(digest(algorithm)) == algorithm.digest_size
    assert algorithm.header == f"x-amz-checksum-{algorithm}"


@given(ALGORITHMS, PIECES)
def test_any_split_gives_the_same(algorithm: Algorithm, pieces: list[bytes]) -> None:
    assert digest(algorithm, *pieces) == digest(algorithm, b"".join(pieces))
    assert digest(algorithm, *map(memoryview, pieces)) == digest(algorithm, *pieces)  # type: ignore[arg-type]


@given(st.sampled_from(COMBINABLE), PIECES)
def test_crcs_of_parts_combine(algorithm: Algorithm, pieces: list[bytes]) -> None:
    parts = [(digest(algorithm, piece), len(piece)) for piece in pieces]
    assert checksums.combine(algorithm, parts) == digest(algorithm, *pieces)


def test_only_crcs_combine() -> None:
    assert set(COMBINABLE) == {Algorithm.CRC32, Algorithm.CRC32C, Algorithm.CRC64NVME}


@given(st.binary(max_size=300), st.integers(0, 300))
def test_crc32c_goes_on(data: bytes, at: int) -> None:
    assert checksums.crc32c(data[at:], checksums.crc32c(data[:at])) == checksums.crc32c(data)


@given(st.binary(max_size=300))
def test_against_the_standard_library(data: bytes) -> None:
    assert digest(Algorithm.CRC32, data) == zlib.crc32(data).to_bytes(4, "big")
    assert digest(Algorithm.SHA256, data) == hashlib.sha256(data).digest()
    assert checksums.new_md5().digest() == hashlib.md5(usedforsecurity=False).digest()


@given(st.binary(min_size=1, max_size=40))
def test_base64_round_trip(value: bytes) -> None:
    text = checksums.encode(value)
    assert base64.b64decode(text) == value
    assert checksums.decode(text, len(value)) == value
    with pytest.raises(InvalidDigest):
        checksums.decode(text, len(value) + 1)


@given(st.text(max_size=12))
def test_garbage_is_no_digest(text: str) -> None:
    try:
        value = checksums.decode(text, 4)
    except InvalidDigest:
        return
    assert len(value) == 4


@given(st.binary(min_size=1, max_size=300), st.data())
def test_a_changed_byte_is_seen(data: bytes, draw: st.DataObject) -> None:
    at = draw.draw(st.integers(0, len(data) - 1))
    bit = 1 << draw.draw(st.integers(0, 7))
    changed = data[:at] + bytes([data[at] ^ bit]) + data[at + 1 :]
    for algorithm in Algorithm:
        assert digest(algorithm, data) != digest(algorithm, changed)
