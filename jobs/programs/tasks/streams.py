"""Descriptors, and the lines of stdin."""

from __future__ import annotations

import os

from jobs.programs.tasks.agent import FRAME_MAX
from jobs.programs.tasks.failures import Failed

TYPE_CHECKING = False  # typing itself takes longer to import than all the rest
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

LINES_BYTES = 1 << 20


def blocks_of(file: BinaryIO | None) -> Iterator[bytes]:
    descriptor = 0 if file is None else file.fileno()
    while block := os.read(descriptor, FRAME_MAX * 4):
        yield block


def write_all(descriptor: int, block: bytes) -> None:
    view = memoryview(block)
    while view:
        view = view[os.write(descriptor, view) :]


def opened(path: str | None) -> BinaryIO | None:
    if path is None or path == "-":
        return None
    try:
        return open(path, "rb", buffering=0)
    except OSError as error:
        raise Failed(f"{path}: {error.strerror}") from None


def line_blocks() -> Iterator[list[bytes]]:
    """Lines of stdin without their ends, many at a time."""
    rest = b""
    while block := os.read(0, LINES_BYTES):
        *lines, rest = (rest + block).split(b"\n")
        yield lines
    if rest:
        yield [rest]
