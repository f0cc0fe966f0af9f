"""What a growing blob's checksum file says: one entry per 1 MiB block, written when the block's part is durable. Pure.

Entry, little endian: CRC-32C of the block's bytes, how many bytes it has, and a CRC over both and the block's number.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from manta.core.checksums import crc32c
from manta.core.errors import InvalidArgument
from manta.core.limits import BLOCK_BYTES, OBJECT_MAX_BYTES
from storage_nodes.disk import sums

_ENTRY = struct.Struct("<III")
_GUARDED = struct.Struct("<QII")
ENTRY_BYTES = _ENTRY.size


@dataclass(frozen=True, slots=True)
class Slot:
    """Where a part goes: `offset` is a whole number of blocks."""

    offset: int
    size: int

    def __post_init__(self) -> None:
        if self.offset % BLOCK_BYTES or self.offset < 0:
            raise InvalidArgument(f"A slot begins at a multiple of {BLOCK_BYTES} bytes, not at {self.offset}.")
        if self.size <= 0 or self.offset + self.size > OBJECT_MAX_BYTES:
            raise InvalidArgument(f"A slot of {self.size} bytes does not fit an object.")

    @property
    def first_block(self) -> int:
        return self.offset // BLOCK_BYTES


@dataclass(frozen=True, slots=True)
class Block:
    crc: int
    size: int


def encode(slot: Slot, crcs: Sequence[int]) -> tuple[int, bytes]:
    """(position in the checksum file, bytes to write there) for a slot whose blocks have these CRCs."""
    entries = b"".join(
        _encode_entry(slot.first_block + number, Block(crc, sums.block_size(slot.size, number)))
        for number, crc in enumerate(crcs)
    )
    return slot.first_block * ENTRY_BYTES, entries


def decode(data: bytes) -> list[Block | None]:
    """The blocks known so far; None where nothing, or something torn, was written."""
    return [_decode_entry(number, data) for number in range(len(data) // ENTRY_BYTES)]


def _encode_entry(number: int, block: Block) -> bytes:
    return _ENTRY.pack(block.crc, block.size, crc32c(_GUARDED.pack(number, block.crc, block.size)))


def _decode_entry(number: int, data: bytes) -> Block | None:
    crc, size, guard = _ENTRY.unpack_from(data, number * ENTRY_BYTES)
    if not 0 < size <= BLOCK_BYTES or guard != crc32c(_GUARDED.pack(number, crc, size)):
        return None
    return Block(crc, size)
