"""Checksums of objects and blobs: incremental digests, S3's names for them, and CRC combination.

CRCs and SHAs are S3's five (https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html);
CRC-32C also guards each 1 MiB block of a blob. Digests are bytes in network order, base64 on the wire.
"""

import base64
import binascii
import hashlib
import zlib
from collections.abc import Callable
from enum import StrEnum
from typing import Protocol

from awscrt import checksums as crt

from manta.core.errors import InvalidDigest

Buffer = bytes | bytearray | memoryview


class Algorithm(StrEnum):
    """S3's checksum algorithms, by the name of `x-amz-checksum-<name>`."""

    CRC32 = "crc32"
    CRC32C = "crc32c"
    CRC64NVME = "crc64nvme"
    SHA1 = "sha1"
    SHA256 = "sha256"

    @property
    def header(self) -> str:
        return f"x-amz-checksum-{self.value}"

    @property
    def digest_size(self) -> int:
        return _SIZES[self]

    @property
    def combinable(self) -> bool:
        """Whether the whole object's value follows from its parts' values and sizes (a CRC)."""
        return self in _CRCS


class Digest(Protocol):
    """The part of hashlib's interface that everything here offers."""

    def update(self, data: Buffer, /) -> None: ...

    def digest(self) -> bytes: ...


class _Crc:
    def __init__(self, step: Callable[[Buffer, int], int], size: int) -> None:
        self._step = step
        self._size = size
        self._value = 0

    def update(self, data: Buffer, /) -> None:
        self._value = self._step(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(self._size, "big")


def _crc64nvme(data: Buffer, previous: int) -> int:
    return int(crt.crc64nvme(data, previous))


def crc32c(data: Buffer, previous: int = 0) -> int:
    """CRC-32C of `data`, continuing from `previous`."""
    return int(crt.crc32c(data, previous))


_SIZES = {
    Algorithm.CRC32: 4,
    Algorithm.CRC32C: 4,
    Algorithm.CRC64NVME: 8,
    Algorithm.SHA1: 20,
    Algorithm.SHA256: 32,
}
_CRCS: dict[Algorithm, Callable[[Buffer, int], int]] = {
    Algorithm.CRC32: zlib.crc32,
    Algorithm.CRC32C: crc32c,
    Algorithm.CRC64NVME: _crc64nvme,
}
_COMBINE: dict[Algorithm, Callable[[int, int, int], int]] = {
    Algorithm.CRC32: crt.combine_crc32,
    Algorithm.CRC32C: crt.combine_crc32c,
    Algorithm.CRC64NVME: crt.combine_crc64nvme,
}


def new(algorithm: Algorithm) -> Digest:
    """An empty digest of that algorithm."""
    if algorithm in _CRCS:
        return _Crc(_CRCS[algorithm], algorithm.digest_size)
    return hashlib.new(algorithm.value, usedforsecurity=False)


def new_md5() -> Digest:
    """MD5, for ETags and Content-MD5 only."""
    return hashlib.md5(usedforsecurity=False)


def combine(algorithm: Algorithm, pieces: list[tuple[bytes, int]]) -> bytes:
    """The CRC of a concatenation, from each piece's (digest, size in bytes) in order; `algorithm` is combinable."""
    step = _COMBINE[algorithm]
    total = 0
    for digest, size in pieces:
        total = int(step(total, int.from_bytes(digest, "big"), size))
    return total.to_bytes(algorithm.digest_size, "big")


def encode(digest: bytes) -> str:
    """Base64, as S3's headers carry digests."""
    return base64.b64encode(digest).decode("ascii")


def decode(text: str, size: int) -> bytes:
    """The digest of a header's base64 text; `InvalidDigest` unless it is exactly `size` bytes."""
    try:
        digest = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidDigest(f"The checksum value {text!r} is not base64.") from None
    if len(digest) != size:
        raise InvalidDigest(f"The checksum value {text!r} has {len(digest)} bytes; {size} are needed.")
    return digest
