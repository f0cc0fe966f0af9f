"""The object that a function is given: a local file, read-only, or the range of it that is this task's."""

from __future__ import annotations

import io
import os

TYPE_CHECKING = False  # typing itself takes longer to import than all the rest
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import BinaryIO

    from _typeshed import WriteableBuffer


class Input:
    """An object where it lies. `range` is (start, end) in bytes where the object was split, else None."""

    __slots__ = ("bucket", "key", "path", "range")

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.bucket, _, self.key = environment["MANTA_INPUT_OBJECT"].partition("/")
        self.path = environment["MANTA_INPUT_FILE"]
        start, _, end = environment.get("MANTA_INPUT_RANGE", "").partition("-")
        self.range: tuple[int, int] | None = (int(start), int(end)) if end else None

    def __repr__(self) -> str:
        return f"Input({self.bucket}/{self.key})"

    @property
    def name(self) -> str:
        """The last part of the key."""
        return self.key.rstrip("/").rpartition("/")[2]

    @property
    def size(self) -> int:
        """Bytes that this task reads."""
        return os.stat(self.path).st_size if self.range is None else self.range[1] - self.range[0]

    def open(self) -> BinaryIO:
        """A binary file, to be read and sought in."""
        file = open(self.path, "rb")
        return file if self.range is None else io.BufferedReader(_Part(file, *self.range))

    def bytes(self) -> bytes:
        with self.open() as file:
            return file.read()

    def text(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        return self.bytes().decode(encoding, errors)

    def lines(self, encoding: str = "utf-8", errors: str = "strict") -> Iterator[str]:
        """Line by line, without the newlines: never all in memory."""
        with io.TextIOWrapper(self.open(), encoding, errors, newline="\n") as file:
            for line in file:
                yield line[:-1] if line.endswith("\n") else line


class _Part(io.RawIOBase):
    """The bytes of a file from `start` to `end`."""

    def __init__(self, file: io.BufferedReader, start: int, end: int) -> None:
        self._file = file
        self._start, self._end = start, end
        file.seek(start)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer)[: max(0, self._end - self._file.tell())]
        return self._file.readinto(view)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: self._start, os.SEEK_CUR: self._file.tell(), os.SEEK_END: self._end}[whence]
        return self._file.seek(max(self._start, base + offset)) - self._start

    def close(self) -> None:
        self._file.close()
        super().close()
