"""Frames between a task's programs and the agent, over a Unix socket that only that zone sees. Pure.

A frame is one byte of kind, four bytes of length (big-endian), then that many bytes, at most FRAME_MAX_BYTES. A program
sends one CALL, whose payload is fields separated by NUL: the verb, then its arguments (a key cannot hold NUL). Verbs:

    output  options…             DATA frames, none empty, and END follow: one output, kept when the attempt commits
    refer   name…                CALLs may follow one another, then END: existing objects as outputs, by reference
    get     name                 answered by DATA frames, then DONE
    list    name, after          answered by DATA frames, then DONE: `next after NUL key NUL size NUL …`

The agent answers DONE, or FAILED with `code NUL message`, and closes. Options of `output` are `name=value`: `reducer`,
`name`, `header` (`k: v`, repeated) and `side` (not an output of the task: mput, mtee). native/ and tasks/ have the same
numbers. Nothing that comes from a task is unpickled or executed.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

from manta.core.errors import InvalidArgument
from manta.core.names import check_bucket, check_key

SOCKET_PATH: Final = "/run/manta.sock"
FRAME_HEAD_BYTES: Final = 5
FRAME_MAX_BYTES: Final = 64 * 1024
FIELDS_MAX: Final = 4096
REDUCER_MAX: Final = (1 << 31) - 1


class Kind(IntEnum):
    CALL = 1
    DATA = 2
    END = 3
    DONE = 4
    FAILED = 5


@dataclass(frozen=True, slots=True)
class OutputCall:
    """`target` is (bucket, key) of a named output; `side` ones are stored without being outputs of the task."""

    target: tuple[str, str] | None = None
    reducer: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    side: bool = False


def encode_frame(kind: Kind, payload: bytes = b"") -> bytes:
    if len(payload) > FRAME_MAX_BYTES:
        raise ValueError("A frame is too long.")
    return bytes((kind,)) + len(payload).to_bytes(4, "big") + payload


def decode_head(head: bytes) -> tuple[Kind, int]:
    """Kind and length of the frame that follows. InvalidArgument for anything that is none."""
    length = int.from_bytes(head[1:FRAME_HEAD_BYTES], "big")
    if len(head) != FRAME_HEAD_BYTES or length > FRAME_MAX_BYTES:
        raise InvalidArgument("Not a frame of the programs' protocol.")
    try:
        return Kind(head[0]), length
    except ValueError:
        raise InvalidArgument("Not a frame of the programs' protocol.") from None


def split_fields(payload: bytes) -> list[str]:
    """The fields of a CALL. InvalidArgument unless they are UTF-8 and not too many."""
    fields = payload.split(b"\0", FIELDS_MAX)
    if len(fields) > FIELDS_MAX:
        raise InvalidArgument(f"A call has at most {FIELDS_MAX} fields.")
    try:
        return [one.decode("utf-8") for one in fields]
    except UnicodeDecodeError:
        raise InvalidArgument("A name is not valid UTF-8.") from None


def join_fields(fields: Iterable[str]) -> bytes:
    return b"\0".join(one.encode("utf-8", "replace") for one in fields)


def parse_name(text: str) -> tuple[str, str]:
    """`bucket/key`, `/bucket/key` or `s3://bucket/key`. InvalidBucketName, InvalidURI, KeyTooLong."""
    bucket, key = parse_place(text)
    return bucket, check_key(key)


def parse_place(text: str) -> tuple[str, str]:
    """The same, where the key may be empty or a prefix."""
    rest = text.removeprefix("s3://") if text.startswith("s3://") else text.removeprefix("/")
    bucket, _, key = rest.partition("/")
    return check_bucket(bucket), check_key(key) if key else ""


def parse_output(options: Iterable[str]) -> OutputCall:
    """What the fields of an `output` call ask for. InvalidArgument and the errors of `parse_name`."""
    target: tuple[str, str] | None = None
    reducer: int | None = None
    headers: dict[str, str] = {}
    side = False
    for option in options:
        name, _, value = option.partition("=")
        match name:
            case "name":
                target = parse_name(value)
            case "reducer":
                reducer = _reducer(value)
            case "header":
                header, colon, text = value.partition(":")
                if not colon:
                    raise InvalidArgument(f"A header is written 'name: value', not {value[:80]!r}.")
                headers[header.strip().lower()] = text.strip()
            case "side":
                side = True
            case _:
                raise InvalidArgument(f"Outputs have no option {name[:80]!r}.")
    if side and target is None:
        raise InvalidArgument("What is stored beside the outputs needs a key.")
    if headers and target is None:
        raise InvalidArgument("Headers are for named outputs: give a key.")
    return OutputCall(target, reducer, headers, side)


def _reducer(value: str) -> int:
    if not (value.isascii() and value.isdigit()) or len(value) > 10 or int(value) > REDUCER_MAX:
        raise InvalidArgument(f"A reducer is a whole number from 0, not {value[:80]!r}.")
    return int(value)
