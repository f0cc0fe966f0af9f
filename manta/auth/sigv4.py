"""Signature Version 4 as S3 uses it: canonical request, string to sign, signing key, signature. Text in, text out.

https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
S3 neither normalises the path nor encodes it twice. Text that came from the wire as bytes is `surrogateescape`d UTF-8.
"""

import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from urllib.parse import quote_from_bytes, unquote_to_bytes

from manta.core.limits import SIGNING_KEYS_MAX

ALGORITHM = "AWS4-HMAC-SHA256"
TERMINATOR = "aws4_request"
EMPTY_SHA256 = hashlib.sha256().hexdigest()

_BLANKS = re.compile(r"[ \t]+")
_UNRESERVED = "-_.~"

Pairs = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Scope:
    """What a signature is good for; `date` is `yyyymmdd`."""

    date: str
    region: str
    service: str
    terminator: str = TERMINATOR

    def __str__(self) -> str:
        return f"{self.date}/{self.region}/{self.service}/{self.terminator}"


@dataclass(frozen=True, slots=True)
class Signer:
    """Signs texts of one request (also its chunks): one time, one scope, one derived key."""

    timestamp: str
    scope: str
    key: bytes = field(repr=False)

    def sign(self, kind: str, *digests: str) -> str:
        """The signature in hexadecimal of `kind`, time, scope and what is hashed (hexadecimal)."""
        text = "\n".join((kind, self.timestamp, self.scope, *digests))
        return hmac.digest(self.key, text.encode("ascii"), "sha256").hex()

    def sign_request(self, canonical: bytes) -> str:
        return self.sign(ALGORITHM, hashlib.sha256(canonical).hexdigest())


@lru_cache(maxsize=SIGNING_KEYS_MAX)
def signing_key(secret_key: str, scope: Scope) -> bytes:
    """The key of one day, region and service. Cached: four HMACs cost more than the rest of a verification."""
    key = f"AWS4{secret_key}".encode()
    for part in (scope.date, scope.region, scope.service, scope.terminator):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


def signer(secret_key: str, scope: Scope, timestamp: str) -> Signer:
    return Signer(timestamp, str(scope), signing_key(secret_key, scope))


def split_query(raw_query: str) -> list[tuple[str, str]]:
    """The undecoded pairs of a query, in order; `acl` and `acl=` are the same."""
    if not raw_query:
        return []
    pairs = []
    for pair in raw_query.split("&"):
        name, _, value = pair.partition("=")
        pairs.append((name, value))
    return pairs


def as_sent_query(pairs: Pairs) -> str:
    """The canonical query of a client that signs the pairs as it wrote them (botocore)."""
    return "&".join([f"{name}={value}" for name, value in sorted(pairs)])


def encoded_query(pairs: Pairs) -> str:
    """The canonical query of a client that encodes anew what it signs (the rule S3 documents).

    A bare `+` stays one and `%2B` stays apart from it: the one may be read as a space, the other never.
    """
    encoded = sorted((_encode_word(name), _encode_word(value)) for name, value in pairs if name or value)
    return "&".join([f"{name}={value}" for name, value in encoded])


def encoded_path(raw_path: str) -> str:
    """The canonical path: decoded once, then every byte outside of RFC 3986's unreserved ones and `/` encoded."""
    return _encode(raw_path, "/")


def canonical_value(value: str) -> str:
    """A header's value as it is signed: trimmed, runs of blanks made one."""
    value = value.strip(" \t")
    if "  " in value or "\t" in value:
        return _BLANKS.sub(" ", value)
    return value


def canonical_headers(names: Iterable[str], headers: Mapping[str, str]) -> str:
    """The signed headers, one a line; `headers` by lower-case name, values canonical. KeyError for a missing one."""
    return "".join([f"{name}:{headers[name]}\n" for name in names])


def canonical_request(method: str, path: str, query: str, headers: str, rest: str) -> bytes:
    """`headers` of `canonical_headers`; `rest` is the list of signed names, a newline, and the payload's hash."""
    return f"{method}\n{path}\n{query}\n{headers}\n{rest}".encode("utf-8", "surrogateescape")


def same(expected: str, given: str) -> bool:
    """Whether two signatures are equal, in constant time."""
    return hmac.compare_digest(expected.encode("ascii"), given.encode("ascii", "replace"))


def _encode_word(text: str) -> str:
    return "+".join([_encode(piece, "") for piece in text.split("+")])


def _encode(text: str, safe: str) -> str:
    return quote_from_bytes(unquote_to_bytes(text.encode("utf-8", "surrogateescape")), safe + _UNRESERVED)
