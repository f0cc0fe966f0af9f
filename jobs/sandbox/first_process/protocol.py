"""The messages between agent and fork server: fixed little-endian headers on a SOCK_SEQPACKET pair. Pure.

Request: header, then input name, command, environment (`NAME=value\\0` each); descriptors ride along in the order
stdout, stderr, object mount, stdin. Reply: header alone. forkserver.py and forkserver.c hold the same layout.
"""

import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import Final

from manta.core.errors import InvalidArgument

REQUEST: Final = struct.Struct("<IIQQQQQQQIIIII")
REPLY: Final = struct.Struct("<IIIIQQQQ")
VERSION: Final = 2
MESSAGE_MAX_BYTES: Final = 1 << 17
"""Fits the default socket buffer of an ordinary user, and what the kernel takes as one argument of a program."""
FILE_NAME_MAX_BYTES: Final = 255
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


class Order(IntEnum):
    TASK = 1
    KILL = 2


class Flag(IntFlag):
    HAS_OBJECT = 1
    HAS_STDIN = 2
    IS_INIT = 4
    SEES_ZONE = 8
    HAS_RANGE = 16
    IS_PLAIN = 32
    """The command may be executed without a shell (see plain_command.py)."""
    HAS_TERMINAL = 64


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
    name_bytes = _text(name, "The input's name")
    if b"/" in name_bytes or name_bytes in (b".", b"..") or len(name_bytes) > FILE_NAME_MAX_BYTES:
        raise InvalidArgument("The input's name is not one file's name of at most 255 bytes.")
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


def decode_reply(message: bytes) -> Reply:
    kind, first, second, third, wall_ns, cpu_ns, peak_kib, _ = REPLY.unpack(message)
    if kind == Kind.BROKEN:
        return Reply(Kind.BROKEN, step=first, error=second)
    if kind == Kind.HELLO:
        return Reply(Kind.HELLO, status=first)
    return Reply(
        Kind(kind),
        status=first,
        killed=bool(second),
        scratch_full=bool(third),
        wall_s=wall_ns / 1e9,
        cpu_s=cpu_ns / 1e9,
        peak_bytes=peak_kib * 1024,
    )


def _text(text: str, what: str) -> bytes:
    encoded = text.encode("utf-8", "surrogateescape")
    if b"\0" in encoded:
        raise InvalidArgument(f"{what} holds a NUL byte: remove it.")
    return encoded
