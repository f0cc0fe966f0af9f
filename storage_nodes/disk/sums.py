"""A blob's checksums: CRC-32C of each 1 MiB block and of the whole, and how they are written down. Pure.

Written, little endian: magic, id (16 raw bytes), size u64, CRC of the whole u32, one u32 per block, then the CRC-32C
of all before it. One block fits an extended attribute; more go to a sidecar file.
"""

import struct
from collections.abc import Iterable
from dataclasses import dataclass

from awscrt import checksums as crt

from manta.core.checksums import Buffer, crc32c
from manta.core.limits import BLOCK_BYTES

XATTR = "user.manta"
_MAGIC = b"MSM1"
_HEAD = struct.Struct("<4s16sQI")
_CRC = struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class Sums:
    """`blocks` has one CRC per block; the last block may be short. `whole` follows from them."""

    blob_id: str
    size: int
    whole: int
    blocks: tuple[int, ...]

    def encode(self) -> bytes:
        body = _HEAD.pack(_MAGIC, bytes.fromhex(self.blob_id), self.size, self.whole)
        body += struct.pack(f"<{len(self.blocks)}I", *self.blocks)
        return body + _CRC.pack(crc32c(body))


def decode(data: bytes, blob_id: str) -> Sums | None:
    """The sums of that blob; None if `data` is damaged, cut short, or another blob's."""
    if len(data) < _HEAD.size + _CRC.size or (len(data) - _HEAD.size) % 4:
        return None
    body = data[: -_CRC.size]
    if _CRC.unpack(data[-_CRC.size :])[0] != crc32c(body):
        return None
    magic, raw_id, size, whole = _HEAD.unpack_from(body)
    count = (len(body) - _HEAD.size) // 4
    if magic != _MAGIC or raw_id.hex() != blob_id or count != block_count(size):
        return None
    return Sums(blob_id, size, whole, struct.unpack_from(f"<{count}I", body, _HEAD.size))


def block_count(size: int) -> int:
    return -(-size // BLOCK_BYTES)


def block_size(size: int, index: int) -> int:
    """Bytes in block `index` of a blob of `size` bytes."""
    return min(BLOCK_BYTES, size - index * BLOCK_BYTES)


def combine(blocks: Iterable[int], size: int) -> int:
    """CRC-32C of the whole, from the CRCs of its blocks."""
    whole = 0
    for index, crc in enumerate(blocks):
        whole = int(crt.combine_crc32c(whole, crc, block_size(size, index)))
    return whole


def from_blocks(blob_id: str, size: int, blocks: Iterable[int]) -> Sums:
    kept = tuple(blocks)
    return Sums(blob_id, size, combine(kept, size), kept)


def of_small(blob_id: str, data: Buffer) -> Sums:
    """The sums of a blob of at most one block."""
    crc = crc32c(data)
    return Sums(blob_id, len(data), crc, (crc,) if len(data) else ())


class Summer:
    """Sums up a stream, block by block."""

    def __init__(self) -> None:
        self.size = 0
        self._blocks: list[int] = []
        self._current = 0
        self._filled = 0

    def update(self, data: Buffer) -> None:
        self.size += len(data)
        view = memoryview(data)
        while len(view):
            part = view[: BLOCK_BYTES - self._filled]
            self._current = crc32c(part, self._current)
            self._filled += len(part)
            view = view[len(part) :]
            if self._filled == BLOCK_BYTES:
                self._blocks.append(self._current)
                self._current = self._filled = 0

    def blocks(self) -> tuple[int, ...]:
        return (*self._blocks, self._current) if self._filled else tuple(self._blocks)

    def sums(self, blob_id: str) -> Sums:
        return from_blocks(blob_id, self.size, self.blocks())
