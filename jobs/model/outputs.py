"""Rules of named outputs: which keys of a job's own bucket a task may name, and which headers. Pure."""

import re
from collections.abc import Mapping
from typing import Final

from jobs.model.wire import TaskKind
from manta.core.errors import InvalidArgument, MetadataTooLarge
from manta.core.limits import METADATA_MAX_BYTES, USER_HEADERS_MAX_BYTES

META_PREFIX: Final = "x-amz-meta-"
STORED: Final = frozenset(
    {"cache-control", "content-disposition", "content-encoding", "content-language", "content-type", "expires"}
)
_META: Final = re.compile(r"x-amz-meta-[a-z0-9!#$%&'*+.^_`|~-]+")
_VALUE: Final = re.compile(r"[\x20-\x7e]*")


def phase_prefix(kind: TaskKind, phase: int) -> str:
    """Where all begin that tasks of that phase put into their job's own bucket."""
    return f"{kind.value}-{phase}/"


def base_key(kind: TaskKind, phase: int, task_id: int) -> str:
    """Where a task's named outputs in its job's own bucket begin: no other task, and no unnamed output, has that."""
    return f"{phase_prefix(kind, phase)}{task_id:08d}."


def check_output_headers(headers: Mapping[str, str]) -> None:
    """InvalidArgument unless each may be stored with an object and sent in a reply; MetadataTooLarge."""
    stored = metadata = 0
    for name, value in headers.items():
        if name not in STORED and not _META.fullmatch(name):
            raise InvalidArgument(
                f"Outputs keep no header {name[:80]!r}: use {', '.join(sorted(STORED))} or {META_PREFIX}…."
            )
        if not _VALUE.fullmatch(value):
            raise InvalidArgument(f"The value of the header {name[:80]!r} is not printable ASCII.")
        if name in STORED:
            stored += len(name) + len(value)
        else:
            metadata += len(name) - len(META_PREFIX) + len(value)
    if metadata > METADATA_MAX_BYTES:
        raise MetadataTooLarge
    if stored > USER_HEADERS_MAX_BYTES:
        raise InvalidArgument(f"The standard headers exceed {USER_HEADERS_MAX_BYTES} bytes.")
