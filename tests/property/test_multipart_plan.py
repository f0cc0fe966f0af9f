"""Completing an upload: the plan's bytes are the parts' bytes in order, in place exactly when that is so already."""

import hashlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manta.catalog.records import (
    Attributes,
    Blob,
    Checksum,
    ChecksumType,
    CompletedPart,
    Part,
    Upload,
)
from manta.core import checksums
from manta.core.checksums import Algorithm
from manta.core.errors import BadDigest, EntityTooSmall, InvalidPart, InvalidPartOrder, MalformedXML
from manta.core.limits import MIB, PART_MIN_BYTES
from manta.gateway.datapath.multipart_plan import (
    check_object_checksum,
    choose_parts,
    multipart_etag,
    object_checksum,
    plan,
)

UPLOAD = Upload("b", "k", "0" * 32, "1" * 32, ("n1",), None, Attributes(), 0, "o")
SLOT = 8


@st.composite
def stored_parts(draw: st.DrawFn) -> list[tuple[Part, bytes]]:
    """Parts of a few bytes over slots of SLOT bytes, with the bytes that each holds."""
    numbers = sorted(draw(st.sets(st.integers(1, 6), min_size=1)))
    found = []
    for number in numbers:
        data = draw(st.binary(min_size=0, max_size=SLOT) | st.binary(min_size=SLOT, max_size=SLOT))
        in_slot = bool(data) and draw(st.booleans() | st.just(True))
        blob = None if in_slot or not data else Blob(f"{number:032x}", len(data), ("n1",))
        found.append((Part(number, len(data), hashlib.md5(data).hexdigest(), 0, in_slot, blob), data))
    return found


@given(stored_parts())
def test_plan_gives_the_parts_bytes_in_order(parts: list[tuple[Part, bytes]]) -> None:
    growing = bytearray(6 * SLOT)
    blobs: dict[str, bytes] = {}
    for part, data in parts:
        if part.in_slot:
            growing[(part.number - 1) * SLOT : (part.number - 1) * SLOT + len(data)] = data
        elif part.blob is not None:
            blobs[part.blob.blob_id] = data
    wanted = b"".join(data for _, data in parts)
    made = plan(SLOT, [part for part, _ in parts])
    assert made.size == len(wanted)
    if made.ranges is None:
        assert bytes(growing[: made.size]) == wanted
        return
    pieces = []
    for one in made.ranges:
        source = bytes(growing) if one.part is None or one.part.blob is None else blobs[one.part.blob.blob_id]
        pieces.append(source[one.offset : one.offset + one.size])
    assert b"".join(pieces) == wanted


@given(st.integers(1, 6), st.integers(1, SLOT))
def test_equal_parts_in_their_slots_are_in_place(count: int, last: int) -> None:
    sizes = [SLOT] * (count - 1) + [last]
    parts = [Part(number, size, "", 0, True, None) for number, size in enumerate(sizes, 1)]
    assert plan(SLOT, parts).in_place
    assert not plan(SLOT, [replace(part, number=part.number + 1) for part in parts]).in_place
    assert not plan(None, [replace(part, in_slot=False) for part in parts]).in_place


@pytest.mark.invariant("D1")
def test_d1_no_acknowledged_part_is_cut_off_by_a_completion_that_does_not_name_it() -> None:
    """That completion may still be refused by the catalog; the next one names all parts."""
    parts = [Part(number, SLOT, f"{number:032x}", 0, True, None) for number in (1, 2, 3)]
    assert not plan(SLOT, parts[:2], parts).in_place
    assert plan(SLOT, parts, parts).in_place
    beside = replace(parts[2], in_slot=False, blob=Blob("3" * 32, SLOT, ("n1",)))
    assert plan(SLOT, parts[:2], [*parts[:2], beside]).in_place


def named(*parts: Part) -> list[CompletedPart]:
    return [CompletedPart(part.number, part.etag) for part in parts]


def stored(*sizes: int) -> dict[int, Part]:
    return {number: Part(number, size, f"{number:032x}", 0, True, None) for number, size in enumerate(sizes, 1)}


def test_parts_must_be_the_stored_ones_in_order_and_large_enough() -> None:
    found = stored(PART_MIN_BYTES, PART_MIN_BYTES - 1, 3)
    one, two, three = found.values()
    assert choose_parts(named(one, three), found) == [one, three]
    with pytest.raises(EntityTooSmall):
        choose_parts(named(one, two, three), found)
    for wrong in ([three, one], [one, one]):
        with pytest.raises(InvalidPartOrder):
            choose_parts(named(*wrong), found)
    with pytest.raises(InvalidPart):
        choose_parts([CompletedPart(1, "f" * 32)], found)
    with pytest.raises(InvalidPart):
        choose_parts([CompletedPart(9, one.etag)], found)
    with pytest.raises(InvalidPart):
        choose_parts([CompletedPart(1, one.etag, Checksum(Algorithm.CRC32, b"1234"))], found)
    with pytest.raises(MalformedXML):
        choose_parts([], found)


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=5), st.sampled_from(list(Algorithm)))
def test_object_checksum_is_that_of_the_whole_or_of_the_parts(pieces: list[bytes], algorithm: Algorithm) -> None:
    def digest_of(data: bytes) -> bytes:
        digest = checksums.new(algorithm)
        digest.update(data)
        return digest.digest()

    parts = [
        Part(number, len(data), "", 0, True, None, (Checksum(algorithm, digest_of(data)),))
        for number, data in enumerate(pieces, 1)
    ]
    composite = replace(UPLOAD, checksum_algorithm=algorithm, checksum_type=ChecksumType.COMPOSITE)
    found = object_checksum(composite, parts)
    assert found == Checksum(
        algorithm, digest_of(b"".join(map(digest_of, pieces))), ChecksumType.COMPOSITE, len(pieces)
    )
    check_object_checksum(f"{checksums.encode(found.digest)}-{len(pieces)}", found, algorithm)
    with pytest.raises(BadDigest):
        check_object_checksum(f"{checksums.encode(found.digest)}-{len(pieces) + 1}", found, algorithm)
    whole = object_checksum(UPLOAD, parts)
    assert whole == (Checksum(algorithm, digest_of(b"".join(pieces))) if algorithm.combinable else None)


def test_etag_is_the_md5_of_the_parts_md5s() -> None:
    etags = [hashlib.md5(data).hexdigest() for data in (b"a", b"b")]
    wanted = hashlib.md5(b"".join(map(bytes.fromhex, etags))).hexdigest()
    assert multipart_etag(etags) == f"{wanted}-2"


def test_boto3_sized_parts_are_in_place() -> None:
    found = stored(8 * MIB, 8 * MIB, 5)
    assert plan(8 * MIB, list(found.values())).in_place
