"""WebSocket frames: whatever is cut where, the same messages; and aiohttp, which is another's work, agrees."""

import asyncio
import itertools
import struct
from typing import Any

import pytest
from aiohttp._websocket.reader import WebSocketDataQueue, WebSocketReader
from aiohttp.base_protocol import BaseProtocol
from hypothesis import given
from hypothesis import strategies as st

from manta.core.errors import BadRequest
from manta.core.websocket import CloseCode, Decoder, Edges, Kind, Message, accept_of, encode, encode_close, is_key

MAX = 1000
MASK = b"\x01\xf0\x80\x7f"
datas = st.binary(max_size=300)
messages = st.lists(st.tuples(st.sampled_from([Kind.TEXT, Kind.BINARY, Kind.PING, Kind.PONG]), st.binary(max_size=125)))


def decoder(*, masked: bool = True) -> Decoder:
    return Decoder(masked=masked, message_max_bytes=MAX)


@given(messages, st.binary(min_size=4, max_size=4), st.integers(1, 50))
def test_messages_survive_any_cut(sent: list[tuple[Kind, bytes]], mask: bytes, step: int) -> None:
    wire = b"".join(encode(kind, data, mask) for kind, data in sent)
    taken = decoder()
    found = [one for at in range(0, len(wire), step) for one in taken.feed(wire[at : at + step])]
    assert found == [Message(kind, data) for kind, data in sent]


@given(st.binary(max_size=MAX), st.lists(st.integers(0, MAX), max_size=4))
def test_fragments_are_put_together_around_control_frames(data: bytes, cuts: list[int]) -> None:
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    pieces = [data[a:b] for a, b in itertools.pairwise(places)] or [b""]
    wire = b""
    for number, piece in enumerate(pieces):
        frame = bytearray(encode(Kind.BINARY if number == 0 else Kind.CONTINUATION, piece, MASK))
        if number < len(pieces) - 1:
            frame[0] &= 0x7F
        wire += bytes(frame) + encode(Kind.PING, b"%d" % number, MASK)
    found = decoder().feed(wire)
    assert [one.data for one in found if one.kind is Kind.BINARY] == [data]
    assert len(found) == len(pieces) + 1


@given(messages, st.lists(st.integers(0, 70_000), max_size=3), st.integers(1, 50))
def test_ends_of_frames_are_found_whatever_is_cut_where(
    sent: list[tuple[Kind, bytes]], large: list[int], step: int
) -> None:
    frames = [encode(kind, data) for kind, data in sent] + [encode(Kind.BINARY, bytes(size)) for size in large]
    ends = set(itertools.accumulate(map(len, frames), initial=0))
    wire, edges = b"".join(frames), Edges()
    step = step if len(wire) < 20_000 else 1000 * step
    assert edges.between
    for at in range(0, len(wire), step):
        piece = wire[at : at + step]
        passed = {end for end in ends if at < end <= at + len(piece)}
        assert edges.feed(piece) == max(passed, default=at) - at
        assert edges.between is (at + len(piece) in ends)


@pytest.mark.invariant("S3")
@given(st.binary(max_size=200))
def test_s3_anything_at_all_is_messages_or_refused(data: bytes) -> None:
    taken = decoder()
    try:
        found = taken.feed(data)
    except BadRequest:
        return
    assert sum(len(one.data) for one in found) <= len(data)


@pytest.mark.parametrize(
    "wire",
    [
        encode(Kind.BINARY, b"x"),  # a client has to mask
        encode(Kind.BINARY, b"x" * (MAX + 1), MASK),
        b"\x82\xff" + struct.pack(">Q", 1 << 62),  # refused by its head alone
        b"\xc2\x80" + MASK,  # compressed
        b"\x83\x80" + MASK,  # of no kind
        b"\x09\x80" + MASK,  # a ping in pieces
        b"\x89\xfe\x00\x7e" + MASK + bytes(126),  # a long ping
        b"\x80\x80" + MASK,  # goes on, but with what?
        b"\x02\x80" + MASK + b"\x82\x80" + MASK,  # begins again
        b"\x02\xfe\x03\xe8" + MASK + bytes(MAX) + b"\x00\x81" + MASK + b"x",  # too long in all
    ],
)
def test_what_breaks_the_protocol_is_refused(wire: bytes) -> None:
    with pytest.raises(BadRequest):
        decoder().feed(wire)


@given(datas, st.sampled_from([Kind.TEXT, Kind.BINARY]))
def test_aiohttp_reads_what_we_write(data: bytes, kind: Kind) -> None:
    data = data if kind is Kind.BINARY else data.hex().encode()
    seen = asyncio.run(_aiohttp(encode(kind, data, MASK) + encode(kind, data) + encode_close(CloseCode.NORMAL)))
    assert [(one.type, one.data) for one in seen[:2]] == [(kind, data if kind is Kind.BINARY else data.decode())] * 2
    assert (seen[2].type, seen[2].data) == (Kind.CLOSE, CloseCode.NORMAL)


async def _aiohttp(wire: bytes) -> list[Any]:
    loop = asyncio.get_running_loop()
    queue = WebSocketDataQueue(BaseProtocol(loop), 1 << 16, loop=loop)
    WebSocketReader(queue, 1 << 20, compress=False, decode_text=True).feed_data(wire)
    return [await queue.read() for _ in range(3)]


def test_the_handshake_of_the_rfc() -> None:
    """RFC 6455 §1.3."""
    assert accept_of("dGhlIHNhbXBsZSBub25jZQ==") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    assert is_key("dGhlIHNhbXBsZSBub25jZQ==")
    assert not any(map(is_key, ("", "dGhl", "dGhlIHNhbXBsZSBub25jZQ=", "€", "dGhlIHNhbXBsZSBub25jZQ==\n")))
