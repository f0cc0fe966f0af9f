"""A layer as the plain tar that it is, or that was compressed by gzip or zstd."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import shutil
import subprocess
import threading

from jobs.programs.unpacking.archive import PIECE, Reader
from jobs.programs.unpacking.refusal import Bad, NotHere

_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"
PROGRAMS = "/usr/local/bin:/usr/bin:/bin"


class Inflated(io.BufferedIOBase):
    """Hashed as it is read, and bounded. `magic`: how the layer begins."""

    def __init__(self, source: Reader, limit: int, magic: bytes) -> None:
        self._source: io.BufferedIOBase = source
        if magic.startswith(_ZSTD):
            self._source = Unzstd(source)
        elif magic.startswith(_GZIP):
            self._source = gzip.GzipFile(fileobj=source, mode="rb")
        self.left = limit
        self.digest = hashlib.sha256()

    def read(self, size: int | None = -1, /) -> bytes:
        data = self._source.read(size)
        self.left -= len(data)
        if self.left < 0:
            raise Bad("its layers are larger than an image may be")
        self.digest.update(data)
        return data

    def close(self) -> None:
        self._source.close()
        super().close()


class Unzstd(io.BufferedIOBase):
    """What the program `zstd` makes of a stream: Python has it from 3.14 on only. It keeps at most 128 MiB in mind."""

    def __init__(self, source: Reader) -> None:
        program = shutil.which("zstd", path=PROGRAMS)
        if program is None:
            raise NotHere("a layer is compressed by zstd, which this node lacks: install `zstd` there, or use gzip")
        self._source = source
        self._process = subprocess.Popen(
            [program, "-dcq"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        self._feeder = threading.Thread(target=self._feed)
        self._feeder.start()

    def read(self, size: int | None = -1, /) -> bytes:
        assert self._process.stdout is not None
        data = self._process.stdout.read(-1 if size is None else size)
        if size != 0 and not data:
            self._feeder.join()
            if self._process.wait() != 0:
                raise Bad("it is damaged: a layer is not what zstd made")
        return data

    def close(self) -> None:
        if not self.closed:
            self._process.kill()
            self._feeder.join()
            self._process.wait()
            assert self._process.stdout is not None
            self._process.stdout.close()
        super().close()

    def _feed(self) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError), self._process.stdin as compressed:
            while data := self._source.read(PIECE):
                compressed.write(data)
