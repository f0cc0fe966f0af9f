"""A packed Python function of a phase, as a document carries it. Pure: it is unpacked by its task alone (S6)."""

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Final

import msgspec

from jobs.model.properties import check_known
from manta.core.errors import InvalidArgument
from manta.core.limits import PROGRAM_MAX_BYTES, PROGRAM_NAME_MAX_CHARS

PROGRAM_FOLDER: Final = "/manta/python"
PROGRAM_FILE: Final = f"{PROGRAM_FOLDER}/program"
PROGRAM_COMMAND: Final = f"{PROGRAM_FOLDER}/run"
"""What runs the packed function in a task: the node brings it into the zone."""
RAISED: Final = "The function raised:"
"""The line of a task's stderr behind which the traceback is."""
_PROPERTIES: Final = ("name", "python", "code")
_VERSION: Final = re.compile(r"[0-9]{1,3}\.[0-9]{1,3}", re.ASCII)


class PackedProgram(msgspec.Struct, frozen=True):
    """`name` is for people. `python` is the major.minor that packed `code`: no other one can unpack it."""

    name: str
    python: str
    code: bytes


def parse_program(value: object, where: str) -> PackedProgram | None:
    """The property of a phase; `code` is base64 there. InvalidArgument."""
    if value is None:
        return None
    what = f"`program` of {where}"
    if not isinstance(value, Mapping):
        raise InvalidArgument(f"{what} is an object with {', '.join(_PROPERTIES)}, as the Python client makes it.")
    check_known(value, _PROPERTIES, (), what)
    name, version = value.get("name"), value.get("python")
    if not isinstance(name, str) or not 0 < len(name) <= PROGRAM_NAME_MAX_CHARS or not name.isprintable():
        raise InvalidArgument(f"`name` of {what} has 1 to {PROGRAM_NAME_MAX_CHARS} printable characters.")
    if not isinstance(version, str) or _VERSION.fullmatch(version) is None:
        raise InvalidArgument(f"`python` of {what} is the version that packed it, such as 3.11.")
    return PackedProgram(name, version, _code(value.get("code"), what))


def check_size(size_bytes: int, what: str) -> None:
    """InvalidArgument when that is more than a document carries."""
    if size_bytes > PROGRAM_MAX_BYTES:
        raise InvalidArgument(
            f"{what} has {size_bytes:,} bytes packed, more than {PROGRAM_MAX_BYTES:,}: "
            "put the data that it closes over into an object, and name that in `assets`."
        )


def _code(value: object, what: str) -> bytes:
    if not isinstance(value, str) or not value:
        raise InvalidArgument(f"`code` of {what} is missing: the packed function in base64.")
    check_size(len(value) * 3 // 4 - 2, what)
    try:
        code = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidArgument(f"`code` of {what} is not base64.") from None
    check_size(len(code), what)
    return code
