"""How a request's body must be checked, as its signed x-amz-content-sha256 says.

https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-auth-using-authorization-header.html
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from manta.auth import sigv4
from manta.auth.aws_chunked import ChunkedBody, ChunkSigner
from manta.auth.body import BodyDecoder, Data, ExactBody, UnsignedBody
from manta.core.checksums import Algorithm
from manta.core.errors import BadRequest, EntityTooLarge, InvalidArgument, MissingContentLength, NotImplementedHere
from manta.core.limits import PUT_MAX_BYTES, TRAILERS_MAX

CONTENT_SHA256 = "x-amz-content-sha256"
DECODED_LENGTH = "x-amz-decoded-content-length"
DECLARED_TRAILERS = "x-amz-trailer"

_SHA256 = re.compile(r"[0-9a-f]{64}")
_LENGTH = re.compile(r"[0-9]{1,16}")
_CHECKSUMS = frozenset(algorithm.header for algorithm in Algorithm)


class PayloadKind(StrEnum):
    """Values are those of the header, but for an exact hash."""

    EXACT = "sha256"
    UNSIGNED = "UNSIGNED-PAYLOAD"
    SIGNED_CHUNKS = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
    SIGNED_CHUNKS_TRAILER = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
    UNSIGNED_CHUNKS_TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"

    @property
    def chunked(self) -> bool:
        return self in _CHUNKED


_CHUNKED = {PayloadKind.SIGNED_CHUNKS, PayloadKind.SIGNED_CHUNKS_TRAILER, PayloadKind.UNSIGNED_CHUNKS_TRAILER}
_NAMED = {kind.value: kind for kind in PayloadKind if kind is not PayloadKind.EXACT}
_WITH_TRAILERS = {PayloadKind.SIGNED_CHUNKS_TRAILER, PayloadKind.UNSIGNED_CHUNKS_TRAILER}


@dataclass(frozen=True, slots=True)
class PayloadPolicy:
    """`decoded_length` and `trailers` (lower-case names) are set for chunked kinds, `sha256` for an exact one."""

    kind: PayloadKind
    sha256: str = ""
    decoded_length: int | None = None
    trailers: tuple[str, ...] | None = None
    signer: sigv4.Signer | None = field(default=None, repr=False)
    seed: str = field(default="", repr=False)

    @property
    def hashes(self) -> bool:
        """Whether decoding costs a SHA-256 of every byte: worth a thread for big bodies."""
        return self.signer is not None or self.kind is PayloadKind.EXACT

    def decoder(self) -> BodyDecoder:
        """A new decoder for this request's body."""
        if self.kind is PayloadKind.EXACT:
            return ExactBody(self.sha256)
        if self.kind is PayloadKind.UNSIGNED:
            return UnsignedBody()
        assert self.decoded_length is not None
        chain = ChunkSigner(self.signer, self.seed) if self.signer is not None else None
        return ChunkedBody(self.decoded_length, chain, self.trailers)

    def decode(self, body: bytes) -> bytes:
        """The checked content of a small body that was read whole (XML, JSON)."""
        decoder = self.decoder()
        events = decoder.feed(body)
        decoder.finish()
        return b"".join(event.data for event in events if isinstance(event, Data))


def payload_policy(value: str, headers: Mapping[str, str], signer: sigv4.Signer, seed: str) -> PayloadPolicy:
    """The policy for a verified request; `value` is the payload hash it signed, `headers` are canonical."""
    kind = payload_kind(value)
    if not kind.chunked:
        if DECLARED_TRAILERS in headers:
            raise BadRequest("x-amz-trailer needs one of the STREAMING-…-TRAILER values of x-amz-content-sha256.")
        return PayloadPolicy(kind, sha256=value if kind is PayloadKind.EXACT else "")
    return PayloadPolicy(
        kind,
        decoded_length=_decoded_length(headers),
        trailers=_declared_trailers(kind, headers),
        signer=None if kind is PayloadKind.UNSIGNED_CHUNKS_TRAILER else signer,
        seed=seed,
    )


def payload_kind(value: str) -> PayloadKind:
    if _SHA256.fullmatch(value):
        return PayloadKind.EXACT
    if value.startswith("STREAMING-AWS4-ECDSA-"):
        raise NotImplementedHere("SigV4A signatures are not supported here: sign with SigV4 (AWS4-HMAC-SHA256).")
    kind = _NAMED.get(value)
    if kind is None:
        raise InvalidArgument(
            "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD[-TRAILER], "
            "STREAMING-UNSIGNED-PAYLOAD-TRAILER or a SHA-256 in lower-case hexadecimal."
        )
    return kind


def _decoded_length(headers: Mapping[str, str]) -> int:
    text = headers.get(DECODED_LENGTH)
    if text is None:
        raise MissingContentLength("A streaming upload needs x-amz-decoded-content-length.")
    if not _LENGTH.fullmatch(text):
        raise InvalidArgument("x-amz-decoded-content-length is not a number of bytes.")
    if int(text) > PUT_MAX_BYTES:
        raise EntityTooLarge
    return int(text)


def _declared_trailers(kind: PayloadKind, headers: Mapping[str, str]) -> tuple[str, ...] | None:
    declared = headers.get(DECLARED_TRAILERS)
    if kind not in _WITH_TRAILERS:
        if declared is not None:
            raise BadRequest(f"x-amz-trailer does not go with {kind}: use {PayloadKind.SIGNED_CHUNKS_TRAILER}.")
        return None
    names = tuple(name.strip().lower() for name in declared.split(",")) if declared else ()
    if len(names) > TRAILERS_MAX or len(set(names)) != len(names):
        raise BadRequest(f"x-amz-trailer names at most {TRAILERS_MAX} trailers, each once.")
    for name in names:
        if name not in _CHECKSUMS:
            raise NotImplementedHere(
                f"The trailer {name[:80]!r} is not supported: {', '.join(sorted(_CHECKSUMS))} are."
            )
    return names
