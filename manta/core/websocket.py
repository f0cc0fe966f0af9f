"""WebSocket frames (RFC 6455), for both sides: bytes in, messages out. Pure, and bounded.

No extensions, no subprotocols. Ping, pong and close are handed out as messages of their own; whoever owns the
connection answers them.
"""

import base64
import hashlib
import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from manta.core.errors import BadRequest

VERSION: Final = "13"
_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_CONTROL_MAX_BYTES: Final = 125
_FIN, _RESERVED, _MASKED = 0x80, 0x70, 0x80
_SHORT_MAX, _TWO_BYTES, _EIGHT_BYTES = 125, 126, 127
_KEY_BYTES: Final = 16


class Kind(IntEnum):
    """What a frame is, by the numbers of RFC 6455 §5.2."""

    CONTINUATION = 0
    TEXT = 1
    BINARY = 2
    CLOSE = 8
    PING = 9
    PONG = 10

    @property
    def controls(self) -> bool:
        return self >= Kind.CLOSE


class CloseCode(IntEnum):
    """§7.4.1."""

    NORMAL = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002


@dataclass(frozen=True, slots=True)
class Message:
    """A whole message, its fragments put together."""

    kind: Kind
    data: bytes = b""


class Decoder:
    """`masked`: whether the other side is the client, which has to mask (§5.1). Keeps one message at most."""

    def __init__(self, *, masked: bool, message_max_bytes: int) -> None:
        self._masked = masked
        self._max = message_max_bytes
        self._buffer = bytearray()
        self._kind: Kind | None = None
        self._parts = bytearray()

    def feed(self, data: bytes) -> list[Message]:
        """The messages that `data` completes. BadRequest for what breaks the protocol or is too long."""
        self._buffer += data
        messages = []
        while (found := self._next_frame()) is not None:
            message = self._assemble(*found)
            if message is not None:
                messages.append(message)
        return messages

    def _next_frame(self) -> tuple[Kind, bool, bytes] | None:
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        kind, final = self._kind_of(buffer[0]), bool(buffer[0] & _FIN)
        if bool(buffer[1] & _MASKED) is not self._masked:
            raise BadRequest("A WebSocket frame is masked when the client sends it, and only then.")
        length, start = buffer[1] & 0x7F, 2
        if kind.controls and (length > _CONTROL_MAX_BYTES or not final):
            raise BadRequest("A WebSocket control frame is whole and has at most 125 bytes.")
        if length > _SHORT_MAX:
            form, size = (">H", 2) if length == _TWO_BYTES else (">Q", 8)
            start += size
            if len(buffer) < start:
                return None
            (length,) = struct.unpack_from(form, buffer, 2)
        if length + (0 if kind.controls else len(self._parts)) > self._max:
            raise BadRequest(f"A WebSocket message has at most {self._max} bytes here.")
        mask = bytes(buffer[start : start + 4]) if self._masked else b""
        start += 4 if self._masked else 0
        if len(buffer) < start + length:
            return None
        data = bytes(buffer[start : start + length])
        del buffer[: start + length]
        return kind, final, mask_bytes(data, mask) if mask else data

    def _kind_of(self, first: int) -> Kind:
        if first & _RESERVED or (first & 0x0F) not in Kind._value2member_map_:
            raise BadRequest("A WebSocket frame is of an unknown kind.")
        return Kind(first & 0x0F)

    def _assemble(self, kind: Kind, final: bool, data: bytes) -> Message | None:
        if kind.controls:
            return Message(kind, data)
        if (kind is Kind.CONTINUATION) is (self._kind is None):
            raise BadRequest("A WebSocket message is broken off, or goes on without a beginning.")
        if self._kind is None:
            if final:
                return Message(kind, data)
            self._kind = kind
        self._parts += data
        if not final:
            return None
        whole = Message(self._kind, bytes(self._parts))
        self._kind = None
        self._parts.clear()
        return whole


class Edges:
    """Finds where frames of the server's side end, without a look at what is in them: for who passes them on."""

    def __init__(self) -> None:
        self._head = b""
        self._left = 0

    @property
    def between(self) -> bool:
        """Whether all that was fed are whole frames."""
        return not self._head and not self._left

    def feed(self, data: bytes) -> int:
        """How much of `data` goes as far as the last frame that ends in it; 0 where none does."""
        at, edge = 0, 0
        while at < len(data):
            if not self._left:
                self._head += data[at : at + 1]
                at += 1
                length = _length_of(self._head)
                if length is None:
                    continue
                self._head, self._left = b"", length
            taken = min(self._left, len(data) - at)
            at, self._left = at + taken, self._left - taken
            if not self._left:
                edge = at
        return edge


def _length_of(head: bytes) -> int | None:
    """Of the data behind it; None while the head is not whole."""
    if len(head) < 2:
        return None
    short = head[1] & 0x7F
    whole = {_TWO_BYTES: 4, _EIGHT_BYTES: 10}.get(short, 2)
    if len(head) < whole:
        return None
    return short if whole == 2 else int.from_bytes(head[2:whole], "big")


def encode(kind: Kind, data: bytes = b"", mask: bytes = b"") -> bytes:
    """One whole message as one frame; `mask`, four random bytes, is the client's duty."""
    flag = _MASKED if mask else 0
    if len(data) <= _SHORT_MAX:
        head = struct.pack(">BB", _FIN | kind, flag | len(data))
    elif len(data) < 1 << 16:
        head = struct.pack(">BBH", _FIN | kind, flag | _TWO_BYTES, len(data))
    else:
        head = struct.pack(">BBQ", _FIN | kind, flag | _EIGHT_BYTES, len(data))
    return head + mask + (mask_bytes(data, mask) if mask else data)


def encode_close(code: CloseCode, mask: bytes = b"") -> bytes:
    return encode(Kind.CLOSE, struct.pack(">H", code), mask)


def mask_bytes(data: bytes, mask: bytes) -> bytes:
    """§5.3: masking, and taking the mask off again."""
    pad = (mask * (len(data) // 4 + 1))[: len(data)]
    return (int.from_bytes(data, "big") ^ int.from_bytes(pad, "big")).to_bytes(len(data), "big")


def accept_of(key: str) -> str:
    """Sec-WebSocket-Accept for a Sec-WebSocket-Key (§4.2.2)."""
    return base64.b64encode(hashlib.sha1(key.encode("latin-1") + _GUID, usedforsecurity=False).digest()).decode()


def is_key(text: str) -> bool:
    """Whether it is a Sec-WebSocket-Key: 16 bytes in base64."""
    try:
        return len(base64.b64decode(text.encode("ascii"), validate=True)) == _KEY_BYTES
    except ValueError:
        return False
