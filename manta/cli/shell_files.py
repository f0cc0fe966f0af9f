"""What the shell has opened for a command: `-`, /dev/stdout, /dev/fd/3.

Opened anew by such a name, a file that the shell appends to would be emptied, and another begun at its beginning.
"""

import io
import os
import re
import select
import sys
from pathlib import Path
from typing import Any, Final

from manta.core.errors import InvalidArgument

STDOUT: Final = 1
_NUMBERS: Final = {"/dev/stdin": 0, "/dev/stdout": STDOUT, "/dev/stderr": 2}
_OPENED: Final = re.compile(r"(?:/proc/(\d+)(?:/task/\d+)?|/dev)/fd/(\d{1,9})", re.ASCII)


def descriptor_named(name: str) -> int | None:
    """Which one a file name means, if it does; `./-` is a file. InvalidArgument for another program's. OSError."""
    if name == "-":
        return STDOUT
    folder = os.path.realpath(Path(name).parent)
    path = f"/{folder.strip('/')}/{Path(name).name}"
    if opened := _OPENED.fullmatch(path):
        if opened[1] and opened[1] != str(Path("/proc/self").readlink()):
            raise InvalidArgument(f"{name} is what another program has opened: let the shell redirect to it.")
        return int(opened[2])
    return _NUMBERS.get(path)


def open_in_order(descriptor: int) -> "InOrder":
    """OSError where the shell opened none: to be asked before anything of ours has the number."""
    if descriptor == STDOUT:
        sys.stdout.flush()
        descriptor = sys.stdout.fileno()
    return InOrder(os.dup(descriptor), "wb")


class InOrder(io.FileIO):
    """A file that is written from where it is: waits for its readers, and no part comes before its turn."""

    def seekable(self) -> bool:
        return False

    def write(self, data: Any, /) -> int:
        left = memoryview(data).cast("B")
        size = len(left)
        while left:
            written = super().write(left)
            if written is None:
                select.select([], [self], [])
            else:
                left = left[written:]
        return size
