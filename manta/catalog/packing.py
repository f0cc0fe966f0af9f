"""How records are kept in columns: ids as 16 bytes, nodes as 2-byte numbers, attributes as msgpack.

Packed structs are arrays; a field is only ever added at the end, with a default, so that neighbouring versions read
each other's rows.
"""

import array
import sys
from collections.abc import Sequence

import msgspec

from manta.catalog.records import Attributes, Blob, Checksum, ChecksumType, ObjectPart, ObjectVersion
from manta.core.checksums import Algorithm
from manta.core.names import check_id

_ALGORITHMS = (Algorithm.CRC32, Algorithm.CRC32C, Algorithm.CRC64NVME, Algorithm.SHA1, Algorithm.SHA256)
_BITS = {algorithm: 1 << position for position, algorithm in enumerate(_ALGORITHMS)}
_SETS = tuple(tuple(a for a in _ALGORITHMS if _BITS[a] & number) for number in range(1 << len(_ALGORITHMS)))


def pack_id(identity: str) -> bytes:
    """InvalidArgument when it is no id."""
    return bytes.fromhex(check_id(identity))


def unpack_id(packed: bytes) -> str:
    return packed.hex()


def pack_algorithms(checksums: Sequence[Checksum]) -> int:
    number = 0
    for checksum in checksums:
        number |= _BITS[checksum.algorithm]
    return number


def unpack_algorithms(number: int) -> tuple[Algorithm, ...]:
    """Always in the order crc32, crc32c, crc64nvme, sha1, sha256."""
    return _SETS[number]


def pack_numbers(numbers: Sequence[int]) -> bytes:
    """Node numbers, in order."""
    packed = array.array("H", numbers)
    if sys.byteorder == "big":
        packed.byteswap()
    return packed.tobytes()


def unpack_numbers(packed: bytes) -> tuple[int, ...]:
    numbers = array.array("H", packed)
    if sys.byteorder == "big":
        numbers.byteswap()
    return tuple(numbers)


class _Checksum(msgspec.Struct, array_like=True, frozen=True):
    algorithm: Algorithm
    digest: bytes
    type: ChecksumType
    parts: int = 0


class _Part(msgspec.Struct, array_like=True, frozen=True):
    number: int
    size: int
    checksum: _Checksum | None = None


class _Attributes(msgspec.Struct, array_like=True, frozen=True):
    headers: dict[str, str] = {}
    metadata: dict[str, str] = {}
    checksums: list[_Checksum] = []
    parts: list[_Part] = []


class _Version(msgspec.Struct, array_like=True, frozen=True):
    version_id: str
    size: int
    etag: str
    modified_ms: int
    blob_id: str | None
    nodes: list[str]
    attributes: _Attributes


_encode = msgspec.msgpack.Encoder().encode
_decode_attributes = msgspec.msgpack.Decoder(_Attributes).decode
_decode_checksums = msgspec.msgpack.Decoder(list[_Checksum]).decode
_decode_version = msgspec.msgpack.Decoder(_Version).decode


def pack_attributes(attributes: Attributes) -> bytes:
    return _encode(_from_attributes(attributes))


def unpack_attributes(packed: bytes) -> Attributes:
    return _to_attributes(_decode_attributes(packed))


def pack_checksums(checksums: Sequence[Checksum]) -> bytes:
    return _encode([_from_checksum(checksum) for checksum in checksums])


def unpack_checksums(packed: bytes) -> tuple[Checksum, ...]:
    return tuple(_to_checksum(checksum) for checksum in _decode_checksums(packed))


def pack_version(version: ObjectVersion) -> bytes:
    """A whole version but its key, as a completed upload remembers it."""
    blob = version.blob
    return _encode(
        _Version(
            version.version_id,
            version.size,
            version.etag,
            version.modified_ms,
            None if blob is None else blob.blob_id,
            [] if blob is None else list(blob.nodes),
            _from_attributes(version.attributes),
        )
    )


def unpack_version(key: str, packed: bytes) -> ObjectVersion:
    row = _decode_version(packed)
    blob = None if row.blob_id is None else Blob(row.blob_id, row.size, tuple(row.nodes))
    attributes = _to_attributes(row.attributes)
    return ObjectVersion(key, row.version_id, row.size, row.etag, row.modified_ms, blob, attributes)


def _from_checksum(checksum: Checksum) -> _Checksum:
    return _Checksum(checksum.algorithm, checksum.digest, checksum.type, checksum.parts)


def _to_checksum(row: _Checksum) -> Checksum:
    return Checksum(row.algorithm, row.digest, row.type, row.parts)


def _from_attributes(attributes: Attributes) -> _Attributes:
    return _Attributes(
        dict(attributes.headers),
        dict(attributes.metadata),
        [_from_checksum(checksum) for checksum in attributes.checksums],
        [_from_part(part) for part in attributes.parts],
    )


def _from_part(part: ObjectPart) -> _Part:
    return _Part(part.number, part.size, None if part.checksum is None else _from_checksum(part.checksum))


def _to_attributes(row: _Attributes) -> Attributes:
    return Attributes(
        row.headers,
        row.metadata,
        tuple(_to_checksum(checksum) for checksum in row.checksums),
        tuple(_to_part(part) for part in row.parts),
    )


def _to_part(row: _Part) -> ObjectPart:
    return ObjectPart(row.number, row.size, None if row.checksum is None else _to_checksum(row.checksum))
