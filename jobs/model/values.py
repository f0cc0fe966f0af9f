"""Values on their way from task to task and to the client: frames of JSON where that is exact, of pickle elsewhere.

A frame is its kind (one byte), the size of its payload (8 bytes, little-endian) and the payload: files of frames can be
concatenated. Runs in tasks too, under `python -I -S`: the standard library only, imported as little as can be.
"""

from __future__ import annotations

import json
import struct

TYPE_CHECKING = False  # typing itself takes longer to import than all the rest
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

JSON = b"J"
PICKLE = b"P"
_HEAD = struct.Struct("<cQ")
_DEPTH_MAX = 32
_INTEGER_MAX = 1 << 63
_PIECE_BYTES = 1 << 20


def encode(value: object, pickled: Callable[[object], bytes]) -> bytes:
    """The frame of a value."""
    if is_exact_in_json(value):
        kind, payload = JSON, json.dumps(value, separators=(",", ":")).encode()
    else:
        kind, payload = PICKLE, pickled(value)
    return _HEAD.pack(kind, len(payload)) + payload


def decode(kind: bytes, payload: bytes, unpickled: Callable[[bytes], object]) -> object:
    """The value of a frame."""
    return json.loads(payload) if kind == JSON else unpickled(payload)


def frames(read: Callable[[int], bytes]) -> Iterator[tuple[bytes, bytes]]:
    """Kind and payload of each frame; `read(n)` gives at most n bytes, none at the end. ValueError for what is none."""
    while head := _exactly(read, _HEAD.size, may_end=True):
        kind, size = _HEAD.unpack(head)
        if kind not in (JSON, PICKLE):
            raise ValueError("this is not what a Python function's task wrote")
        yield kind, _exactly(read, size, may_end=False)


def is_exact_in_json(value: object, depth: int = 0) -> bool:
    """Whether JSON gives back this very value: no subclass, no tuple, no key but text, no number beyond the usual."""
    if type(value) is dict or type(value) is list:
        return depth < _DEPTH_MAX and _has_exact_items(value, depth + 1)
    if type(value) is int:
        return -_INTEGER_MAX <= value < _INTEGER_MAX
    if type(value) is float:
        return value - value == 0.0
    return value is None or type(value) is bool or type(value) is str


def _has_exact_items(value: dict[object, object] | list[object], depth: int) -> bool:
    if isinstance(value, list):
        return all(is_exact_in_json(item, depth) for item in value)
    return all(type(key) is str and is_exact_in_json(item, depth) for key, item in value.items())


def _exactly(read: Callable[[int], bytes], size: int, *, may_end: bool) -> bytes:
    pieces: list[bytes] = []
    missing = size
    while missing:
        piece = read(min(missing, _PIECE_BYTES))
        if not piece:
            if may_end and missing == size:
                return b""
            raise ValueError("the values end within one of them")
        pieces.append(piece)
        missing -= len(piece)
    return b"".join(pieces)
