"""The one interface through which every request body passes: bytes in, events out, nothing believed before `End`."""

import hashlib
from abc import ABC, abstractmethod
from dataclasses import dataclass

from manta.auth import sigv4
from manta.core.checksums import Buffer
from manta.core.errors import ContentSHA256Mismatch


@dataclass(frozen=True, slots=True)
class Data:
    """Some bytes of the object; a memoryview is of the buffer that was fed and keeps it alive."""

    data: Buffer


@dataclass(frozen=True, slots=True)
class Trailers:
    """The declared trailers, lower-case names, in the order sent. Comes at most once, after all data."""

    fields: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class End:
    """The body is whole and everything that was signed about it is verified: only now may it be committed."""


Event = Data | Trailers | End
_END = [End()]


class BodyDecoder(ABC):
    """Decodes and checks one body. One caller at a time, in any thread: for big pieces `feed` is worth a thread.

    Data is emitted before it is verified, since a chunk may be larger than what can be buffered for each of
    thousands of connections. Until `finish` has returned `End` the caller must be able to drop all of it.
    """

    @abstractmethod
    def feed(self, data: Buffer) -> list[Event]:
        """The events of the next bytes, which may end anywhere. MantaError when the body is refused."""

    @abstractmethod
    def finish(self) -> list[Event]:
        """Called once, when the request has no more bytes. [End], or MantaError."""


class UnsignedBody(BodyDecoder):
    """A plain body under UNSIGNED-PAYLOAD."""

    def feed(self, data: Buffer) -> list[Event]:
        return [Data(data)] if len(data) else []

    def finish(self) -> list[Event]:
        return [*_END]


class ExactBody(BodyDecoder):
    """A plain body whose SHA-256 was signed."""

    def __init__(self, sha256: str) -> None:
        self._expected = sha256
        self._hash = hashlib.sha256()

    def feed(self, data: Buffer) -> list[Event]:
        self._hash.update(data)
        return [Data(data)] if len(data) else []

    def finish(self) -> list[Event]:
        if not sigv4.same(self._hash.hexdigest(), self._expected):
            raise ContentSHA256Mismatch
        return [*_END]
