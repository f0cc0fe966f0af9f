"""The bytes of a journal segment: a header, then records, each guarded by a CRC-32C. Pure.

A segment file is used over and over, so whatever follows the last record may be an older use's records: each record
bears the sequence number of its segment's present use, and the first one that does not fit ends the reading. Any
truncation or damage therefore yields a prefix of what was appended.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

from manta.core.checksums import Buffer, crc32c
from manta.core.limits import SMALL_BLOB_BYTES

HEADER_BYTES = 32
_HEADER = struct.Struct("<8sHxxxxxxQI4x")
_MAGIC = b"MJOURNAL"
_VERSION = 1
_RECORD = struct.Struct("<IBxxxIQ16s")


class Kind(IntEnum):
    PUT = 1
    DELETE = 2


@dataclass(frozen=True, slots=True)
class Record:
    """A small blob that was put, or one that was deleted (then `data` is empty)."""

    kind: Kind
    blob_id: str
    data: Buffer = b""

    @property
    def encoded_bytes(self) -> int:
        return _RECORD.size + len(self.data)


def header(sequence: int) -> bytes:
    """The header of a segment's use number `sequence`; use 0 means: holds nothing."""
    body = _HEADER.pack(_MAGIC, _VERSION, sequence, 0)[:24]
    return _HEADER.pack(_MAGIC, _VERSION, sequence, crc32c(body))


def read_header(data: Buffer) -> int:
    """The sequence number of the segment's use; 0 if it holds nothing that can be read."""
    if len(data) < HEADER_BYTES:
        return 0
    head = bytes(data[:HEADER_BYTES])
    magic, version, sequence, crc = _HEADER.unpack(head)
    good = magic == _MAGIC and version == _VERSION and crc == crc32c(head[:24])
    return int(sequence) if good else 0


def encode(record: Record, sequence: int) -> tuple[bytes, Buffer]:
    """Head and data of a record, to be written one after the other."""
    head = _RECORD.pack(0, record.kind, len(record.data), sequence, bytes.fromhex(record.blob_id))[4:]
    crc = crc32c(record.data, crc32c(head))
    return struct.pack("<I", crc) + head, record.data


def read_records(segment: Buffer) -> Iterator[Record]:
    """The records of the segment's present use, up to the first that is torn, damaged or of an older use."""
    sequence = read_header(segment)
    view = memoryview(segment)
    offset = HEADER_BYTES
    while sequence and offset + _RECORD.size <= len(view):
        crc, kind, length, used, raw_id = _RECORD.unpack_from(view, offset)
        end = offset + _RECORD.size + length
        if used != sequence or length > SMALL_BLOB_BYTES or end > len(view) or kind not in Kind._value2member_map_:
            return
        if crc32c(view[offset + 4 : end]) != crc:
            return
        yield Record(Kind(kind), raw_id.hex(), view[offset + _RECORD.size : end])
        offset = end
