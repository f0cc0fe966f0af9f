"""Decisions about a multipart upload that is to be completed: which parts, in place or copied, which ETag. Pure.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/mpuoverview.html
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from manta.catalog.records import Checksum, ChecksumType, CompletedPart, ObjectPart, Part, Upload
from manta.core import checksums
from manta.core.checksums import Algorithm
from manta.core.errors import (
    BadDigest,
    BadRequest,
    EntityTooLarge,
    EntityTooSmall,
    InvalidPart,
    InvalidPartOrder,
    MalformedXML,
)
from manta.core.limits import OBJECT_MAX_BYTES, PART_MIN_BYTES, PARTS_MAX


@dataclass(frozen=True, slots=True)
class Range:
    """`size` bytes at `offset` of the upload's growing file (`part` None), or of that part's own blob."""

    offset: int
    size: int
    part: Part | None


@dataclass(frozen=True, slots=True)
class Plan:
    """How the object comes about. `ranges` is None when the growing file, cut at `size`, is the object already."""

    size: int
    ranges: tuple[Range, ...] | None

    @property
    def in_place(self) -> bool:
        return self.ranges is None

    @property
    def needs_growing(self) -> bool:
        return self.ranges is None or any(one.part is None for one in self.ranges)


def plan(slot_bytes: int | None, parts: Sequence[Part], stored: Collection[Part] = ()) -> Plan:
    """In place when every part lies in its slot without a gap: numbered from 1, all but the last filling theirs.

    Not when a slot beyond the last one holds another `stored` part: cutting the file there would lose it, although this
    completion may yet be refused and the next one name it.
    """
    size = sum(part.size for part in parts)
    beyond = any(part.in_slot and part.number > len(parts) for part in stored)
    if slot_bytes is not None and size and not beyond and _without_gap(slot_bytes, parts):
        return Plan(size, None)
    return Plan(size, tuple(_range(slot_bytes or 0, part) for part in parts if part.size))


def _without_gap(slot_bytes: int, parts: Sequence[Part]) -> bool:
    last = len(parts)
    return all(
        part.in_slot and part.number == number and (part.size == slot_bytes or number == last)
        for number, part in enumerate(parts, 1)
    )


def _range(slot_bytes: int, part: Part) -> Range:
    if part.in_slot:
        return Range((part.number - 1) * slot_bytes, part.size, None)
    return Range(0, part.size, part)


def choose_parts(named: Sequence[CompletedPart], stored: Mapping[int, Part]) -> list[Part]:
    """The stored parts that the client named. MalformedXML, InvalidPartOrder, InvalidPart, EntityTooSmall."""
    if not 1 <= len(named) <= PARTS_MAX:
        raise MalformedXML(f"A completed upload has 1 to {PARTS_MAX} parts.")
    if any(after.number <= before.number for before, after in pairwise(named)):
        raise InvalidPartOrder
    parts = [_stored(one, stored) for one in named]
    for part in parts[:-1]:
        if part.size < PART_MIN_BYTES:
            raise EntityTooSmall(
                None,
                ProposedSize=str(part.size),
                MinSizeAllowed=str(PART_MIN_BYTES),
                PartNumber=str(part.number),
                ETag=part.etag,
            )
    if sum(part.size for part in parts) > OBJECT_MAX_BYTES:
        raise EntityTooLarge
    return parts


def _stored(named: CompletedPart, stored: Mapping[int, Part]) -> Part:
    part = stored.get(named.number)
    if part is None or part.etag != named.etag:
        raise unknown_part(named.number)
    if named.checksum is not None:
        kept = next((one for one in part.checksums if one.algorithm is named.checksum.algorithm), None)
        if kept is None or kept.digest != named.checksum.digest:
            raise InvalidPart(f"The checksum of part {named.number} does not match.", PartNumber=str(named.number))
    return part


def unknown_part(number: int) -> InvalidPart:
    return InvalidPart(f"Part {number} was not uploaded, or its entity tag does not match.", PartNumber=str(number))


def multipart_etag(etags: Sequence[str]) -> str:
    """The MD5 of the parts' MD5s, and how many there are."""
    md5 = checksums.new_md5()
    for etag in etags:
        md5.update(bytes.fromhex(etag))
    return f"{md5.digest().hex()}-{len(etags)}"


def check_type(algorithm: Algorithm | None, wanted: ChecksumType | None) -> ChecksumType | None:
    """The checksum type of a new upload. BadRequest for a pair that S3 does not offer.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity-upload.html
    """
    if algorithm is None:
        if wanted is not None:
            raise BadRequest("x-amz-checksum-type needs x-amz-checksum-algorithm.")
        return None
    if algorithm is Algorithm.CRC64NVME:
        if wanted is ChecksumType.COMPOSITE:
            raise BadRequest("The COMPOSITE checksum type cannot be used with the CRC64NVME checksum algorithm.")
        return ChecksumType.FULL_OBJECT
    if wanted is ChecksumType.FULL_OBJECT and not algorithm.combinable:
        name = algorithm.value.upper()
        raise BadRequest(f"The FULL_OBJECT checksum type cannot be used with the {name} checksum algorithm.")
    return wanted or ChecksumType.COMPOSITE


def object_checksum(upload: Upload, parts: Sequence[Part]) -> Checksum | None:
    """The whole object's checksum from its parts'; None when they do not all have one that combines."""
    algorithm = upload.checksum_algorithm
    if algorithm is None:
        kinds = {one.algorithm for part in parts for one in part.checksums}
        if len(kinds) != 1 or not next(iter(kinds)).combinable:
            return None
        algorithm = kinds.pop()
    digests = [_digest(part, algorithm) for part in parts]
    if not all(digests):
        return None
    if upload.checksum_type is ChecksumType.COMPOSITE:
        digest = checksums.new(algorithm)
        digest.update(b"".join(digests))
        return Checksum(algorithm, digest.digest(), ChecksumType.COMPOSITE, len(parts))
    pieces = [(digest, part.size) for digest, part in zip(digests, parts, strict=True)]
    return Checksum(algorithm, checksums.combine(algorithm, pieces))


def _digest(part: Part, algorithm: Algorithm) -> bytes:
    return next((one.digest for one in part.checksums if one.algorithm is algorithm), b"")


def check_object_checksum(claimed: str, found: Checksum | None, algorithm: Algorithm) -> None:
    """BadDigest unless the client's value for the whole object (`<base64>` or `<base64>-<parts>`) is the one found."""
    text, _, count = claimed.partition("-")
    digest = checksums.decode(text, algorithm.digest_size)
    good = found is not None and found.algorithm is algorithm and found.digest == digest
    if good and found is not None and count and count != str(found.parts):
        good = False
    if not good:
        raise BadDigest(f"The {algorithm.value.upper()} you specified did not match the calculated checksum.")


def object_parts(upload: Upload, parts: Sequence[Part]) -> tuple[ObjectPart, ...]:
    """What is kept of the parts, for reads by part number; their checksums where the upload has an algorithm."""
    return tuple(
        ObjectPart(part.number, part.size, part.checksums[0] if upload.checksum_algorithm and part.checksums else None)
        for part in parts
    )
