"""The archive: a plain tar, whose files are found by their names and read where they lie."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import tarfile

from jobs.programs.unpacking.refusal import Bad

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, BinaryIO

JSON_MAX = 4 << 20
MEMBERS_MAX = 10_000
LINKS_MAX = 40
PIECE = 1 << 20
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


class Reader(io.BufferedIOBase):
    """A stretch of the archive, hashed as it is read."""

    def __init__(self, file: BinaryIO, start: int, size: int) -> None:
        self._file = file
        self._position = start
        self._end = start + size
        self.digest = hashlib.sha256()

    def read(self, size: int | None = -1, /) -> bytes:
        left = self._end - self._position
        self._file.seek(self._position)
        data = self._file.read(left if size is None or size < 0 else min(size, left))
        self._position += len(data)
        self.digest.update(data)
        return data

    def check(self, wanted: str) -> None:
        while self.read(PIECE):
            pass
        if f"sha256:{self.digest.hexdigest()}" != wanted:
            raise Bad(f"{wanted[:19]}… does not have that digest")


class Archive:
    """The files of the archive by their names."""

    def __init__(self, path: str) -> None:
        self._file = open(path, "rb")  # noqa: SIM115 - closed by close
        self._files: dict[str, tuple[int, int]] = {}
        self._links: dict[str, str] = {}
        try:
            self._list()
        except BaseException:
            self.close()
            raise

    def _list(self) -> None:
        with tarfile.open(fileobj=self._file, mode="r:") as tar:
            for count, member in enumerate(tar):
                if count >= MEMBERS_MAX:
                    raise Bad(f"it has more than {MEMBERS_MAX} members")
                check_size(member)
                name = os.path.normpath(member.name)
                if member.isreg() and not member.issparse():
                    self._files[name] = member.offset_data, member.size
                elif member.issym():
                    self._links[name] = os.path.normpath(os.path.join(os.path.dirname(name), member.linkname))

    def close(self) -> None:
        self._file.close()

    def has(self, name: str) -> bool:
        return name in self._files

    def open(self, name: str) -> Reader:
        for _ in range(LINKS_MAX):
            if name in self._files:
                return Reader(self._file, *self._files[name])
            name = self._links.get(name, "")
        raise Bad("it lacks a file that it names")

    def magic(self, name: str) -> bytes:
        return self.open(name).read(4)

    def json(self, name: str, digest: str | None = None) -> Any:
        reader = self.open(name)
        data = reader.read(JSON_MAX)
        if digest is not None:
            reader.check(digest)
        return json.loads(data)

    def blob_name(self, descriptor: Any) -> str:
        digest = descriptor["digest"]
        if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
            raise Bad("a digest is not of SHA-256")
        return "blobs/sha256/" + digest[7:]

    def blob_json(self, descriptor: Any) -> Any:
        return self.json(self.blob_name(descriptor), descriptor["digest"])


def check_size(member: tarfile.TarInfo) -> None:
    """tarfile takes whatever number a header holds: one below 0 would make room for others."""
    if member.size < 0:
        raise Bad(f"the size of {member.name[:100]!r} is below 0")
