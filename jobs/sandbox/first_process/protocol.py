"""The messages between agent and fork server: fixed little-endian headers on a SOCK_SEQPACKET pair. Pure.

Request: header, then input name, command, environment (`NAME=value\\0` each); descriptors ride along in the order
stdout, stderr, object mount, stdin. A request with several inputs comes after messages that bring those, page by page:
header, then for each `+` if a mount of it rides along or `-` if it is empty, its name, and a NUL.
Reply: header alone. forkserver.py and forkserver.c hold the same layout.
"""

import os
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import Final

from manta.core.errors import InvalidArgument
from manta.core.limits import PATH_COMPONENT_MAX_BYTES

REQUEST: Final = struct.Struct("<IIQQQQQQQIIIII")
INPUTS: Final = struct.Struct("<III")
REPLY: Final = struct.Struct("<IIIIQQQQ")
VERSION: Final = 3
MESSAGE_MAX_BYTES: Final = 1 << 17
"""Fits the default socket buffer of an ordinary user, and what the kernel takes as one argument of a program."""
ENVIRONMENT_MAX: Final = 8192
"""Variables of a task: forkserver.c has room for so many."""
INPUTS_PAGE: Final = 64
"""Inputs of one message: the kernel lets no more than 253 descriptors ride along."""
STEPS: Final = (
    "none",
    "cloning the task's namespaces",
    "mounting /proc",
    "mounting the input",
    "mounting scratch",
    "opening the zone's folder",
    "opening its standard streams",
    "setting its limits",
    "dropping its privileges",
    "setting its system call filter",
    "starting its shell",
    "joining its control groups",
    "reading its range of the input",
)


class Kind(IntEnum):
    HELLO = 0
    ENDED = 1
    BROKEN = 2
    TAKEN = 3
    """A page of inputs."""


class Order(IntEnum):
    TASK = 1
    KILL = 2
    INPUTS = 3


class Flag(IntFlag):
    HAS_OBJECT = 1
    HAS_STDIN = 2
    IS_INIT = 4
    SEES_ZONE = 8
    HAS_RANGE = 16
    IS_PLAIN = 32
    """The command may be executed without a shell (see plain_command.py)."""
    HAS_TERMINAL = 64
    HAS_INPUTS = 128


@dataclass(frozen=True, slots=True)
class Limits:
    """What the fork server sets before the shell starts; sizes in bytes. `data` and `address` hold per process."""

    scratch: int
    scratch_inodes: int
    data: int
    address: int
    file: int
    processes: int
    open_files: int


@dataclass(frozen=True, slots=True)
class Reply:
    """`status` is a wait status when ENDED; `step` and `error` (an errno) say what failed when BROKEN."""

    kind: Kind
    status: int = 0
    killed: bool = False
    scratch_full: bool = False
    wall_s: float = 0.0
    cpu_s: float = 0.0
    peak_bytes: int = 0
    step: int = 0
    error: int = 0

    def reason(self) -> str:
        """What failed, for a sentence."""
        step = STEPS[self.step] if self.step < len(STEPS) else "an unknown step"
        return f"{step}: {os.strerror(self.error)}"


KILL: Final = struct.pack("<I", Order.KILL)


def encode_task(
    flags: Flag,
    limits: Limits,
    name: str,
    command: str,
    environment: Mapping[str, str],
    stdin_range: tuple[int, int] = (0, 0),
) -> bytes:
    """The request's bytes; InvalidArgument when they cannot be handed to a program."""
    if len(environment) > ENVIRONMENT_MAX:
        raise InvalidArgument(f"The environment has more than {ENVIRONMENT_MAX} variables: leave some of them out.")
    name_bytes = _file_name(name)
    command_bytes = _text(command, "The command")
    pairs = b"".join(_text(f"{key}={value}", "The environment") + b"\0" for key, value in environment.items() if key)
    header = REQUEST.pack(
        Order.TASK,
        flags,
        limits.scratch,
        limits.scratch_inodes,
        limits.data,
        limits.address,
        limits.file,
        *stdin_range,
        limits.processes,
        limits.open_files,
        len(name_bytes),
        len(command_bytes),
        len(pairs),
    )
    message = b"".join((header, name_bytes, command_bytes, pairs))
    if len(message) > MESSAGE_MAX_BYTES:
        raise InvalidArgument(f"The command and its environment exceed {MESSAGE_MAX_BYTES} bytes: shorten them.")
    return message


def encode_inputs(first: int, inputs: Sequence[tuple[str, bool]]) -> bytes:
    """A page of inputs, of which `first` is the place of the first: (name, whether a mount rides along) of each."""
    names = b"".join((b"+" if has_mount else b"-") + _file_name(name) + b"\0" for name, has_mount in inputs)
    return INPUTS.pack(Order.INPUTS, first, len(inputs)) + names


def pages(count: int) -> Iterator[slice]:
    """How so many inputs are brought."""
    return (slice(first, first + INPUTS_PAGE) for first in range(0, count, INPUTS_PAGE))


def decode_reply(message: bytes) -> Reply:
    kind, first, second, third, wall_ns, cpu_ns, peak_kib, _ = REPLY.unpack(message)
    if kind == Kind.BROKEN:
        return Reply(Kind.BROKEN, step=first, error=second)
    if kind in (Kind.HELLO, Kind.TAKEN):
        return Reply(Kind(kind), status=first)
    return Reply(
        Kind(kind),
        status=first,
        killed=bool(second),
        scratch_full=bool(third),
        wall_s=wall_ns / 1e9,
        cpu_s=cpu_ns / 1e9,
        peak_bytes=peak_kib * 1024,
    )


def _file_name(name: str) -> bytes:
    encoded = _text(name, "The input's name")
    if b"/" in encoded or encoded in (b".", b"..") or len(encoded) > PATH_COMPONENT_MAX_BYTES:
        raise InvalidArgument("The input's name is not one file's name of at most 255 bytes.")
    return encoded


def _text(text: str, what: str) -> bytes:
    encoded = text.encode("utf-8", "surrogateescape")
    if b"\0" in encoded:
        raise InvalidArgument(f"{what} holds a NUL byte: remove it.")
    return encoded
