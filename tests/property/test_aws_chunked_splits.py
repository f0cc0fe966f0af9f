"""The aws-chunked decoder under any split of the bytes, any changed byte, and garbage."""

from collections.abc import Iterator

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from manta.auth import sigv4
from manta.auth.aws_chunked import ChunkedBody, ChunkSigner
from manta.auth.body import Data, End, Trailers
from manta.auth.payload import PayloadKind
from manta.core.errors import MantaError
from tests.support.auth import REGION, SECRET_KEY, chunked_wire

SIGNER = sigv4.signer(SECRET_KEY, sigv4.Scope("20261122", REGION, "s3"), "20261122T120000Z")
SEED = "7" * 64
KINDS = st.sampled_from([kind for kind in PayloadKind if kind.chunked])
SIGNED_KINDS = st.sampled_from([PayloadKind.SIGNED_CHUNKS, PayloadKind.SIGNED_CHUNKS_TRAILER])
PIECES = st.lists(st.binary(min_size=1, max_size=300), max_size=5)
TRAILERS = st.dictionaries(
    st.sampled_from(["x-amz-checksum-crc32", "x-amz-checksum-sha256", "x-amz-checksum-crc64nvme"]),
    st.from_regex(r"[A-Za-z0-9+/]{1,12}={0,2}", fullmatch=True),
    max_size=3,
)


def upload(pieces: list[bytes], trailers: dict[str, str], kind: PayloadKind) -> tuple[bytes, ChunkedBody]:
    unsigned = kind is PayloadKind.UNSIGNED_CHUNKS_TRAILER
    if kind is PayloadKind.SIGNED_CHUNKS:
        trailers = {}
    wire = chunked_wire(pieces, None if unsigned else SIGNER, SEED, trailers, kind)
    declared = None if kind is PayloadKind.SIGNED_CHUNKS else tuple(trailers)
    chain = None if unsigned else ChunkSigner(SIGNER, SEED)
    return wire, ChunkedBody(sum(map(len, pieces)), chain, declared)


def cut(wire: bytes, sizes: list[int]) -> Iterator[bytes]:
    """`wire` in pieces of the given sizes, over and over; sizes are at least 1."""
    at = turn = 0
    while at < len(wire):
        yield wire[at : at + sizes[turn % len(sizes)]]
        at += sizes[turn % len(sizes)]
        turn += 1


def decode(decoder: ChunkedBody, pieces: Iterator[bytes | memoryview]) -> tuple[bytes, list[Trailers]]:
    events = [event for piece in pieces for event in decoder.feed(piece)] + decoder.finish()
    assert events[-1] == End()
    assert all(isinstance(event, Data) for event in events[:-2])
    data = b"".join(event.data for event in events if isinstance(event, Data))
    return data, [event for event in events if isinstance(event, Trailers)]


@given(PIECES, TRAILERS, KINDS, st.lists(st.integers(1, 400), min_size=1, max_size=8), st.booleans())
def test_any_split_gives_the_same(
    pieces: list[bytes], trailers: dict[str, str], kind: PayloadKind, sizes: list[int], views: bool
) -> None:
    wire, decoder = upload(pieces, trailers, kind)
    parts = (memoryview(part) if views else part for part in cut(wire, sizes))
    data, found = decode(decoder, parts)
    assert data == b"".join(pieces)
    expected = {} if kind is PayloadKind.SIGNED_CHUNKS else trailers
    assert [dict(event.fields) for event in found] == ([expected] if expected else [])


@given(PIECES, TRAILERS, KINDS)
def test_byte_by_byte(pieces: list[bytes], trailers: dict[str, str], kind: PayloadKind) -> None:
    wire, decoder = upload(pieces, trailers, kind)
    assert decode(decoder, cut(wire, [1]))[0] == b"".join(pieces)


def same_meaning(wire: bytes, changed: bytes) -> bool:
    """Capitals in a size or in a trailer's name, and blanks around its value, change nothing."""
    return wire.replace(b":", b": ").lower().split() == changed.replace(b":", b": ").lower().split()


@pytest.mark.invariant("S1")
@given(PIECES, TRAILERS, SIGNED_KINDS, st.data())
def test_any_changed_byte_is_refused(
    pieces: list[bytes], trailers: dict[str, str], kind: PayloadKind, data: st.DataObject
) -> None:
    wire, decoder = upload(pieces, trailers, kind)
    at = data.draw(st.integers(0, len(wire) - 1))
    other = data.draw(st.integers(0, 255))
    assume(other != wire[at])
    changed = wire[:at] + bytes([other]) + wire[at + 1 :]
    try:
        got, found = decode(decoder, iter([changed]))
    except MantaError:
        return
    assert got == b"".join(pieces)
    assert same_meaning(wire, changed)
    assert [dict(event.fields) for event in found] in ([], [trailers])


@pytest.mark.invariant("S1")
@given(PIECES, TRAILERS, KINDS, st.data())
def test_no_shorter_body_ends(
    pieces: list[bytes], trailers: dict[str, str], kind: PayloadKind, data: st.DataObject
) -> None:
    wire, decoder = upload(pieces, trailers, kind)
    end = data.draw(st.integers(0, len(wire) - 1))
    with pytest.raises(MantaError):
        decode(decoder, iter([wire[:end]]))


@pytest.mark.invariant("S1")
@given(PIECES, TRAILERS, KINDS, st.binary(min_size=1, max_size=20))
def test_no_longer_body_ends(pieces: list[bytes], trailers: dict[str, str], kind: PayloadKind, more: bytes) -> None:
    wire, decoder = upload(pieces, trailers, kind)
    with pytest.raises(MantaError):
        decode(decoder, iter([wire, more]))


WORDS = [b"\r\n", b"0", b"5", b";chunk-signature=", b"0" * 64, b"hello", b"x-amz-checksum-crc32:", b"\n", b":"]
SOUP = st.lists(st.sampled_from(WORDS) | st.binary(max_size=8), max_size=20).map(b"".join)


@pytest.mark.invariant("S1")
@given(SOUP, KINDS)
def test_garbage_raises_only_our_errors(soup: bytes, kind: PayloadKind) -> None:
    _, decoder = upload([b"hello"], {"x-amz-checksum-crc32": "AAAAAA=="}, kind)
    try:
        data, _ = decode(decoder, iter([soup]))
    except MantaError:
        return
    assert kind is PayloadKind.UNSIGNED_CHUNKS_TRAILER
    assert len(data) == 5
