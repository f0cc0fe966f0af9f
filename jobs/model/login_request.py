"""What a client asks of a login session: the query of `GET /_manta/v1/login`. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import msgspec

from jobs.model.login import DEFAULT_TERM, bounded_size, fit_term
from jobs.model.units import parse_disk, parse_duration, parse_memory
from jobs.model.wire import TaskKind
from manta.core import limits
from manta.core.errors import BadRequest, InvalidArgument, MantaError
from manta.core.names import check_key, split_uri

_KNOWN: Final = frozenset(
    ("object", "objects", "reduce", "memory", "disk", "timeout", "rows", "columns", "term", "command", "plain")
)
_TRUE, _FALSE = ("1", "true"), ("", "0", "false")
_NUMBER: Final = re.compile(r"[0-9]{1,5}")


@dataclass(frozen=True, slots=True)
class LoginRequest:
    """`objects` are (bucket, key): one for a map session, any number for a reduce session."""

    kind: TaskKind
    objects: tuple[tuple[str, str], ...]
    memory_bytes: int = limits.TASK_MEMORY_DEFAULT_BYTES
    scratch_bytes: int = limits.TASK_SCRATCH_DEFAULT_BYTES
    timeout_s: float = limits.LOGIN_TIMEOUT_DEFAULT_S
    rows: int = 24
    columns: int = 80
    term: str = DEFAULT_TERM
    command: str = ""
    plain: bool = False


def parse_login(query: Mapping[str, str]) -> LoginRequest:
    """BadRequest with one sentence on what is wrong. What belongs to a signature (`X-Amz-…`) is passed over."""
    for name in query:
        if name not in _KNOWN and not name.lower().startswith("x-amz-"):
            raise InvalidArgument(f"A login session has no parameter {name[:40]!r}.")
    kind = TaskKind.REDUCE if _flag(query, "reduce") else TaskKind.MAP
    command = query.get("command", "")
    if len(command.encode("utf-8", "replace")) > limits.EXEC_MAX_BYTES:
        raise InvalidArgument(f"`command` has at most {limits.EXEC_MAX_BYTES} bytes.")
    memory_bytes = parse_memory(query.get("memory", limits.TASK_MEMORY_DEFAULT_BYTES))
    return LoginRequest(
        kind,
        _objects(query, kind),
        memory_bytes,
        parse_disk(query.get("disk"), memory_bytes),
        _timeout(query),
        _size(query, "rows", 24),
        _size(query, "columns", 80),
        fit_term(query.get("term", DEFAULT_TERM)),
        command,
        _flag(query, "plain"),
    )


def _objects(query: Mapping[str, str], kind: TaskKind) -> tuple[tuple[str, str], ...]:
    if kind is TaskKind.MAP:
        if "object" not in query:
            raise InvalidArgument("A login session is on an object: `object=s3://bucket/key`, or `reduce=1`.")
        return (_object(query["object"]),)
    try:
        written = msgspec.json.decode(query.get("objects", "[]"), type=list[str])
    except msgspec.MsgspecError as error:
        raise InvalidArgument(f"`objects` is a list of texts such as s3://bucket/key in JSON: {error}.") from None
    if "object" in query:
        written.insert(0, query["object"])
    if len(written) > limits.LOGIN_OBJECTS_MAX:
        raise InvalidArgument(f"A login session is on {limits.LOGIN_OBJECTS_MAX} objects at most.")
    return tuple(dict.fromkeys(map(_object, written)))


def _object(uri: str) -> tuple[str, str]:
    bucket, key = split_uri(uri)
    try:
        return bucket, check_key(key)
    except MantaError as error:
        raise BadRequest(f"{uri[:200]!r} names no object: {error.message}") from None


def _timeout(query: Mapping[str, str]) -> float:
    seconds = parse_duration(query.get("timeout", limits.LOGIN_TIMEOUT_DEFAULT_S), "timeout")
    if not 0 < seconds <= limits.LOGIN_TIMEOUT_MAX_S:
        raise InvalidArgument(f"`timeout` of a session is more than 0, at most {limits.LOGIN_TIMEOUT_MAX_S / 3600:g}h.")
    return seconds


def _size(query: Mapping[str, str], name: str, default: int) -> int:
    text = query.get(name, "")
    if text and not _NUMBER.fullmatch(text):
        raise InvalidArgument(f"`{name}` is a whole number, not {text[:40]!r}.")
    return bounded_size(int(text)) if text else default


def _flag(query: Mapping[str, str], name: str) -> bool:
    text = query.get(name, "")
    if text not in (*_TRUE, *_FALSE):
        raise InvalidArgument(f"`{name}` is 1 or 0, not {text[:40]!r}.")
    return text in _TRUE
