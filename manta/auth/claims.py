"""What a request claims about its own authentication, read strictly: header or query, not both, each word once."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import unquote

from manta.auth import sigv4
from manta.auth.payload import CONTENT_SHA256, PayloadKind
from manta.auth.request import AMZ
from manta.core.errors import (
    AccessDenied,
    AuthorizationHeaderMalformed,
    AuthorizationQueryParametersError,
    BadRequest,
    InvalidAccessKeyId,
    InvalidArgument,
    InvalidToken,
    MantaError,
    NotImplementedHere,
)
from manta.core.limits import PRESIGN_MAX_S, SIGNED_HEADERS_MAX

SIGV2_MESSAGE = (
    "Signature version 2 is not supported here: sign with version 4, AWS4-HMAC-SHA256 "
    "(boto3: Config(signature_version='s3v4'); aws: aws configure set default.s3.signature_version s3v4)."
)
SIGV4A_MESSAGE = "SigV4A signatures are not supported here: sign with SigV4 (AWS4-HMAC-SHA256)."

_TIMESTAMP = re.compile(r"[0-9]{8}T[0-9]{6}Z")
_ACCESS_KEY = re.compile(r"[\x21-\x7e]{1,128}")
_SIGNATURE = re.compile(r"[0-9a-f]{64}")
_EXPIRES = re.compile(r"[0-9]{1,7}")
_SIGNED_NAMES = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+(?:;[!#$%&'*+.^_`|~0-9a-z-]+)*")
_HEADER_WORDS = {"Credential", "SignedHeaders", "Signature"}
_QUERY_WORDS = {
    "x-amz-algorithm",
    "x-amz-credential",
    "x-amz-date",
    "x-amz-expires",
    "x-amz-signedheaders",
    "x-amz-signature",
}
_QUERY_TOKEN = "x-amz-security-token"  # noqa: S105 - a name
_SIGV2_WORDS = {"awsaccesskeyid", "signature"}


@dataclass(frozen=True, slots=True)
class Claims:
    """Everything a signature covers except the request itself. `expires_s` is None for the header form."""

    access_key: str
    scope: sigv4.Scope
    timestamp: str
    at_s: float
    expires_s: int | None
    signed_names: tuple[str, ...]
    signed_text: str
    signature: str
    payload_hash: str
    pairs: sigv4.Pairs
    """The query's undecoded pairs, without the signature itself."""


def read_claims(fields: Mapping[str, str], raw_query: str) -> Claims:
    """The one sound claim of a request, else MantaError; `fields` are its canonical headers."""
    pairs = sigv4.split_query(raw_query)
    auth = _auth_parameters(pairs)
    if "x-amz-security-token" in fields or _QUERY_TOKEN in auth:
        raise InvalidToken
    header = fields.get("authorization")
    if header is None:
        return _query_claims(fields, pairs, auth)
    if auth.keys() & (_QUERY_WORDS | _SIGV2_WORDS):
        raise InvalidArgument("The request is signed in its header and in its query: use one of them.")
    return _header_claims(fields, pairs, header)


def _auth_parameters(pairs: sigv4.Pairs) -> dict[str, str]:
    """Decoded query parameters that speak of authentication, and all x-amz-*, by lower-case name.

    No parameter may come twice: the signature fixes no order, so it could be replayed with another one first.
    """
    found: dict[str, str] = {}
    seen = set()
    for raw_name, raw_value in pairs:
        name = unquote(raw_name) if "%" in raw_name else raw_name
        lower = name.lower()
        if lower.startswith(AMZ) or lower in _SIGV2_WORDS:
            name = lower
            found[name] = unquote(raw_value)
        if name in seen:
            raise AuthorizationQueryParametersError(f"The query parameter {name[:80]!r} was sent twice.")
        seen.add(name)
    return found


def _header_claims(fields: Mapping[str, str], pairs: sigv4.Pairs, header: str) -> Claims:
    scheme, _, rest = header.partition(" ")
    if scheme != sigv4.ALGORITHM:
        raise _unknown_scheme(scheme)
    words = _header_words(rest)
    access_key, scope = _credential(words["Credential"], AuthorizationHeaderMalformed)
    payload_hash = fields.get(CONTENT_SHA256)
    if payload_hash is None:
        raise BadRequest("The request has no x-amz-content-sha256 header, which S3 requires.")
    timestamp, at_s = _header_time(fields)
    return Claims(
        access_key=access_key,
        scope=scope,
        timestamp=timestamp,
        at_s=at_s,
        expires_s=None,
        signed_names=_signed_names(words["SignedHeaders"], AuthorizationHeaderMalformed),
        signed_text=words["SignedHeaders"],
        signature=_signature(words["Signature"], AuthorizationHeaderMalformed),
        payload_hash=payload_hash,
        pairs=pairs,
    )


def _unknown_scheme(scheme: str) -> MantaError:
    if scheme == "AWS":
        return BadRequest(SIGV2_MESSAGE)
    if scheme.startswith("AWS4-ECDSA"):
        return NotImplementedHere(SIGV4A_MESSAGE)
    return AuthorizationHeaderMalformed(f"The authorization header does not begin with {sigv4.ALGORITHM}.")


def _header_words(rest: str) -> dict[str, str]:
    words: dict[str, str] = {}
    for part in rest.split(","):
        name, _, value = part.strip(" ").partition("=")
        if name not in _HEADER_WORDS or name in words:
            raise AuthorizationHeaderMalformed(f"The authorization header has {name[:40]!r} twice or needlessly.")
        words[name] = value
    if len(words) != len(_HEADER_WORDS):
        raise AuthorizationHeaderMalformed("The authorization header needs Credential, SignedHeaders and Signature.")
    return words


def _header_time(fields: Mapping[str, str]) -> tuple[str, float]:
    """(yyyymmddThhmmssZ, seconds since the epoch), of x-amz-date, else of Date."""
    text = fields.get("x-amz-date")
    if text is not None:
        return text, _seconds(text, AccessDenied)
    try:
        moment = parsedate_to_datetime(fields["date"]).astimezone(UTC)
        return moment.strftime("%Y%m%dT%H%M%SZ"), moment.timestamp()
    except (KeyError, ValueError, TypeError, OverflowError):
        raise AccessDenied("A signed request needs a valid x-amz-date or Date header.") from None


def _query_claims(fields: Mapping[str, str], pairs: sigv4.Pairs, auth: Mapping[str, str]) -> Claims:
    if not auth.keys() & _QUERY_WORDS:
        if auth.keys() & _SIGV2_WORDS:
            raise BadRequest(SIGV2_MESSAGE)
        raise AccessDenied("The request is not signed: anonymous access is not offered here.")
    error = AuthorizationQueryParametersError
    missing = _QUERY_WORDS - auth.keys()
    if missing:
        raise error(f"The query is signed, but has no {min(missing)}.")
    if auth["x-amz-algorithm"].startswith("AWS4-ECDSA"):
        raise NotImplementedHere(SIGV4A_MESSAGE)
    if auth["x-amz-algorithm"] != sigv4.ALGORITHM:
        raise error(f"X-Amz-Algorithm must be {sigv4.ALGORITHM}.")
    access_key, scope = _credential(auth["x-amz-credential"], error)
    return Claims(
        access_key=access_key,
        scope=scope,
        timestamp=auth["x-amz-date"],
        at_s=_seconds(auth["x-amz-date"], error),
        expires_s=_expires(auth["x-amz-expires"]),
        signed_names=_signed_names(auth["x-amz-signedheaders"], error),
        signed_text=auth["x-amz-signedheaders"],
        signature=_signature(auth["x-amz-signature"], error),
        payload_hash=_presigned_payload(fields, auth),
        pairs=[pair for pair in pairs if unquote(pair[0]).lower() != "x-amz-signature"],
    )


def _presigned_payload(fields: Mapping[str, str], auth: Mapping[str, str]) -> str:
    """A presigned request knows no body, unless its header or query (AWS's JavaScript SDK) says otherwise, signed."""
    header, query = fields.get(CONTENT_SHA256), auth.get(CONTENT_SHA256)
    if header is not None and query is not None and header != query:
        raise AuthorizationQueryParametersError("The header and the query name different x-amz-content-sha256.")
    return header or query or PayloadKind.UNSIGNED


def _credential(text: str, error: type[MantaError]) -> tuple[str, sigv4.Scope]:
    parts = text.rsplit("/", 4)
    if len(parts) != 5 or not all(parts):
        raise error("The Credential is not ACCESS_KEY/yyyymmdd/region/s3/aws4_request.")
    if not _ACCESS_KEY.fullmatch(parts[0]):
        raise InvalidAccessKeyId
    return parts[0], sigv4.Scope(*parts[1:])


def _seconds(timestamp: str, error: type[MantaError]) -> float:
    if not _TIMESTAMP.fullmatch(timestamp):
        raise error("The request's time is not written yyyymmddThhmmssZ.")
    try:
        return datetime.fromisoformat(timestamp).timestamp()
    except (ValueError, OverflowError):
        raise error("The request's time is not a valid date.") from None


def _expires(text: str) -> int:
    if not _EXPIRES.fullmatch(text) or not 1 <= int(text) <= PRESIGN_MAX_S:
        raise AuthorizationQueryParametersError(f"X-Amz-Expires must be 1 to {PRESIGN_MAX_S} seconds.")
    return int(text)


def _signed_names(text: str, error: type[MantaError]) -> tuple[str, ...]:
    names = tuple(text.split(";"))
    if not _SIGNED_NAMES.fullmatch(text) or len(set(names)) != len(names) or len(names) > SIGNED_HEADERS_MAX:
        raise error("SignedHeaders are lower-case header names, each once, with semicolons between.")
    return names


def _signature(text: str, error: type[MantaError]) -> str:
    if not _SIGNATURE.fullmatch(text):
        raise error("The Signature is not 64 lower-case hexadecimal digits.")
    return text
