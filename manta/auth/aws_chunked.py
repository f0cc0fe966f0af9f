"""The `aws-chunked` body: chunks with or without signatures, then trailers. Bytes in, events out.

https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html and sigv4-streaming-trailers.html
A refused body stays refused: after an error every further call raises.
"""

import hashlib
import re
from collections.abc import Callable
from enum import Enum, auto

from manta.auth import sigv4
from manta.auth.body import BodyDecoder, Data, End, Event, Trailers
from manta.core.checksums import Buffer
from manta.core.errors import (
    BadRequest,
    EntityTooLarge,
    IncompleteBody,
    MalformedTrailer,
    MantaError,
    SignatureDoesNotMatch,
)
from manta.core.limits import CHUNK_HEADER_MAX_BYTES, CHUNK_MAX_BYTES, TRAILER_MAX_BYTES

CHUNK_KIND = "AWS4-HMAC-SHA256-PAYLOAD"
TRAILER_KIND = "AWS4-HMAC-SHA256-TRAILER"
TRAILER_SIGNATURE = "x-amz-trailer-signature"

_SIGNED_HEADER = re.compile(rb"([0-9a-fA-F]{1,16});chunk-signature=([0-9a-f]{64})")
_PLAIN_HEADER = re.compile(rb"([0-9a-fA-F]{1,16})")
_TRAILER = re.compile(rb"([A-Za-z0-9-]{1,128}):[ \t]*([\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?)[ \t]*")
_CRLF = b"\r\n"


class _State(Enum):
    HEADER = auto()
    DATA = auto()
    DATA_END = auto()
    TRAILER = auto()
    DONE = auto()
    REFUSED = auto()


class ChunkSigner:
    """The chain of signatures: each one covers its predecessor, the first one the request's own (the seed)."""

    def __init__(self, signer: sigv4.Signer, seed: str) -> None:
        self._signer = signer
        self._previous = seed

    def verify_chunk(self, sha256: str, given: str) -> None:
        self._verify(self._signer.sign(CHUNK_KIND, self._previous, sigv4.EMPTY_SHA256, sha256), given, "A chunk's")

    def verify_trailers(self, canonical: bytes, given: str) -> None:
        digest = hashlib.sha256(canonical).hexdigest()
        self._verify(self._signer.sign(TRAILER_KIND, self._previous, digest), given, "The trailers'")

    def _verify(self, expected: str, given: str, whose: str) -> None:
        if not sigv4.same(expected, given):
            raise SignatureDoesNotMatch(f"{whose} signature does not match: the body was changed on its way.")
        self._previous = expected


class ChunkedBody(BodyDecoder):
    """Decodes one body of `decoded_length` bytes.

    `signer` is None for unsigned chunks. `trailers` are the lower-case names declared by a signed `x-amz-trailer`:
    each must come, once, and no other; None for the form that has no trailers.
    """

    def __init__(self, decoded_length: int, signer: ChunkSigner | None, trailers: tuple[str, ...] | None) -> None:
        self._missing = decoded_length
        self._signer = signer
        self._header = _PLAIN_HEADER if signer is None else _SIGNED_HEADER
        self._declared = trailers
        self._state = _State.HEADER
        self._line = b""
        self._chunk_left = 0
        self._signature = ""
        self._hash = hashlib.sha256()
        self._trailer_bytes = 0
        self._trailers: dict[str, str] = {}
        self._trailer_signature = ""

    def feed(self, data: Buffer) -> list[Event]:
        events: list[Event] = []
        view = memoryview(data)
        try:
            while len(view):
                view = view[_STEPS[self._state](self, view, events) :]
        except MantaError:
            self._state = _State.REFUSED
            raise
        return events

    def finish(self) -> list[Event]:
        if self._state is not _State.DONE:
            self._state = _State.REFUSED
            raise IncompleteBody("The body ended before its last chunk and trailers.")
        return [End()]

    def _read_header(self, view: memoryview, _: list[Event]) -> int:
        used, line = self._take_line(view, CHUNK_HEADER_MAX_BYTES)
        if line is not None:
            self._start_chunk(line)
        return used

    def _start_chunk(self, line: bytes) -> None:
        match = self._header.fullmatch(line)
        if match is None:
            raise BadRequest("A chunk's header is not `size;chunk-signature=…` (signed) or `size` (unsigned).")
        size = int(match[1], 16)
        if size > self._missing:
            raise BadRequest("The body is longer than its x-amz-decoded-content-length.")
        if self._signer is not None:
            if size > CHUNK_MAX_BYTES:
                raise EntityTooLarge(f"A signed chunk has at most {CHUNK_MAX_BYTES} bytes.")
            self._signature = match[2].decode("ascii")
            self._hash = hashlib.sha256()
        self._missing -= size
        self._chunk_left = size
        self._state = _State.DATA
        if size == 0:
            self._end_data()

    def _end_data(self) -> None:
        """After the last chunk, which is empty, come the trailers: without any, an empty line."""
        if self._missing:
            raise IncompleteBody("The body is shorter than its x-amz-decoded-content-length.")
        self._verify_chunk()
        self._state = _State.TRAILER

    def _read_data(self, view: memoryview, events: list[Event]) -> int:
        piece = view[: self._chunk_left]
        if self._signer is not None:
            self._hash.update(piece)
        self._chunk_left -= len(piece)
        if not self._chunk_left:
            self._verify_chunk()
            self._state = _State.DATA_END
        events.append(Data(piece))
        return len(piece)

    def _verify_chunk(self) -> None:
        if self._signer is not None:
            self._signer.verify_chunk(self._hash.hexdigest(), self._signature)

    def _read_data_end(self, view: memoryview, _: list[Event]) -> int:
        used, line = self._take_line(view, 0)
        if line is not None:
            self._state = _State.HEADER
        return used

    def _read_trailer(self, view: memoryview, events: list[Event]) -> int:
        used, line = self._take_line(view, TRAILER_MAX_BYTES - self._trailer_bytes)
        if line:
            self._trailer_bytes += len(line) + len(_CRLF)
            for field in filter(
                None, line.split(b"\n")
            ):  # minio-go ends a field with LF, S3's own example with LF CRLF
                self._add_trailer(field)
        elif line is not None:
            self._end_trailers(events)
        return used

    def _add_trailer(self, line: bytes) -> None:
        match = _TRAILER.fullmatch(line)
        if match is None or self._trailer_signature:
            raise MalformedTrailer
        name, value = match[1].decode("ascii").lower(), match[2].decode("ascii")
        if name == TRAILER_SIGNATURE and self._signer is not None and self._declared is not None:
            self._trailer_signature = value
            return
        if name not in (self._declared or ()):
            raise MalformedTrailer(f"The trailer {name} was not declared in x-amz-trailer.")
        if name in self._trailers:
            raise MalformedTrailer(f"The trailer {name} was sent twice.")
        self._trailers[name] = value

    def _end_trailers(self, events: list[Event]) -> None:
        absent = set(self._declared or ()) - self._trailers.keys()
        if absent:
            raise MalformedTrailer(f"The body ended without the declared trailer {min(absent)}.")
        fields = tuple(self._trailers.items())
        if self._signer is not None and self._declared is not None:
            canonical = "".join([f"{name}:{value}\n" for name, value in sorted(fields)])
            self._signer.verify_trailers(canonical.encode("ascii"), self._trailer_signature)
        if fields:
            events.append(Trailers(fields))
        self._state = _State.DONE

    def _refuse_more(self, _view: memoryview, _events: list[Event]) -> int:
        raise BadRequest("The body goes on after its last chunk, or after it was refused.")

    def _take_line(self, view: memoryview, limit: int) -> tuple[int, bytes | None]:
        """(bytes used, line without CRLF, or None until it is whole); at most `limit` bytes before the CRLF."""
        held = len(self._line)
        line = self._line + bytes(view[: limit + len(_CRLF) - held])
        end = line.find(_CRLF)
        if end >= 0:
            self._line = b""
            return end + len(_CRLF) - held, line[:end]
        if len(line) >= limit + len(_CRLF):
            raise BadRequest("The body is not a well-formed aws-chunked stream.")
        self._line = line
        return len(line) - held, None


_STEPS: dict[_State, Callable[[ChunkedBody, memoryview, list[Event]], int]] = {
    _State.HEADER: ChunkedBody._read_header,
    _State.DATA: ChunkedBody._read_data,
    _State.DATA_END: ChunkedBody._read_data_end,
    _State.TRAILER: ChunkedBody._read_trailer,
    _State.DONE: ChunkedBody._refuse_more,
    _State.REFUSED: ChunkedBody._refuse_more,
}
"""Each step uses at least one of the bytes at hand, appends its events, and may change the state."""
