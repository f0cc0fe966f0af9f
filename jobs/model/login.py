"""Login sessions: what a gateway asks of a node, and what client and node say to each other over the WebSocket. Pure.

Binary messages are the terminal's bytes. Text messages are JSON: from the client `{"resize": [rows, columns]}`, from
the node, as its last one, `{"end": {…}}`. A gateway passes all of it on unread.
"""

import re
from typing import Final

import msgspec

from jobs.model.wire import InputRef, TaskKind, pack
from manta.core.errors import BadRequest

VERSION: Final = 1
LENGTH_BYTES: Final = 4
NODE_PATH: Final = "/agent/login"
_TERM: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}")
SIZE_MAX: Final = 10_000
"""Rows or columns of a terminal."""
DEFAULT_TERM: Final = "dumb"


class LoginSpec(msgspec.Struct, frozen=True):
    """One session. `inputs` is one object for a map session, any number for a reduce session.

    `nonce` is another in each, so that none can be asked for again by who overheard it.
    `plain`: the terminal leaves the command's output as it is and echoes nothing; for a client without a terminal.
    """

    tenant: str
    kind: TaskKind
    inputs: tuple[InputRef, ...]
    memory_bytes: int
    scratch_bytes: int
    timeout_s: float
    rows: int = 24
    columns: int = 80
    term: str = DEFAULT_TERM
    command: str = ""
    plain: bool = False
    nonce: str = ""
    version: int = VERSION

    @property
    def cpus(self) -> float | None:
        """None: its share of what is left, as a task that names none."""
        return None


class LoginEnd(msgspec.Struct, frozen=True):
    """How a session ended; `reason` is a sentence where the shell did not end by itself."""

    exit_status: int | None = None
    signal: int | None = None
    reason: str = ""


class _Said(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    resize: tuple[int, int]


class _Last(msgspec.Struct, frozen=True):
    end: LoginEnd


def encode_spec(spec: LoginSpec) -> bytes:
    """As a gateway sends it, behind its length: the client's frames follow."""
    packed = pack(spec)
    return len(packed).to_bytes(LENGTH_BYTES, "big") + packed


def encode_resize(rows: int, columns: int) -> bytes:
    return msgspec.json.encode(_Said((bounded_size(rows), bounded_size(columns))))


def decode_resize(text: bytes) -> tuple[int, int]:
    """(rows, columns). BadRequest."""
    try:
        rows, columns = msgspec.json.decode(text, type=_Said).resize
    except msgspec.MsgspecError as error:
        raise BadRequest(f"A session does not know that message: {error}.") from None
    return bounded_size(rows), bounded_size(columns)


def encode_end(end: LoginEnd) -> bytes:
    return msgspec.json.encode(_Last(end))


def decode_end(text: bytes) -> LoginEnd:
    try:
        return msgspec.json.decode(text, type=_Last).end
    except msgspec.MsgspecError as error:
        raise BadRequest(f"The session's last message could not be read: {error}.") from None


def bounded_size(number: int) -> int:
    return min(max(number, 0), SIZE_MAX)


def fit_term(name: str) -> str:
    """The terminal's kind if it can be one; whatever is odd is a dumb one."""
    return name if _TERM.fullmatch(name) else DEFAULT_TERM
