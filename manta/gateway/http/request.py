"""What a handler gets: one parsed, verified request. Also the pure parsing of target, query and headers.

The path is taken as it was sent and decoded exactly once; `..`, `//` and `%2F` are bytes of a key and nothing else
(S2). Query parameters and headers that matter may come once: whoever sends two may mean either.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes

from manta.auth.policy import Principal
from manta.auth.verify import Identity
from manta.catalog.records import ROOT_ACCOUNT
from manta.core.errors import AccessDenied, BadRequest, InvalidArgument, InvalidURI
from manta.gateway.http.body import Body

REPEATABLE_HEADERS = frozenset(
    {
        "accept",
        "accept-encoding",
        "accept-language",
        "cache-control",
        "connection",
        "cookie",
        "forwarded",
        "if-match",
        "if-none-match",
        "via",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-proto",
    }
)

_OF_THE_SIGNATURE = frozenset(
    {
        "x-amz-algorithm",
        "x-amz-content-sha256",
        "x-amz-credential",
        "x-amz-date",
        "x-amz-expires",
        "x-amz-security-token",
        "x-amz-signature",
        "x-amz-signedheaders",
    }
)
_CRC32_OF_NOTHING = "AAAAAA=="
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+")


@dataclass(slots=True)
class Request:
    """`bucket` and `key` are "" where the path has none. `headers` have lower-case names; `query` is decoded.

    `identity` is None for calls that bear no account's signature (health, nodes' calls). `params` are the variable
    parts of a `/_manta/` path. `raw_path` and `raw_query` are as sent, for signatures.
    """

    id: str
    method: str
    raw_path: str
    raw_query: str
    bucket: str
    key: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    identity: Identity | None
    body: Body
    peer: str
    secure: bool = False
    params: Mapping[str, str] = field(default_factory=dict)
    is_abandoned: Callable[[], bool] = lambda: False
    """Whether its client is gone, for who would wait on its behalf; known of calls of the API."""

    @property
    def account_id(self) -> str:
        """The sender's account; AccessDenied where there is none."""
        if self.identity is None:
            raise AccessDenied
        return self.identity.account_id

    @property
    def principal(self) -> Principal:
        account_id = self.account_id
        return Principal(account_id, is_root=account_id == ROOT_ACCOUNT)

    @property
    def resource(self) -> str:
        """`/bucket/key`, for error replies."""
        return f"/{self.bucket}/{self.key}" if self.key else f"/{self.bucket}"


@dataclass(frozen=True, slots=True)
class Target:
    """A request target taken apart but not decoded. `authority` is that of an absolute URI, else ""."""

    path: str
    query: str
    authority: str = ""


def split_target(raw: str) -> Target:
    """The path and query of `/path?query` or `http://host/path?query`; InvalidURI for other forms (`*`, CONNECT)."""
    authority = ""
    if not raw.startswith("/"):
        scheme, found, rest = raw.partition("://")
        if not found or scheme.lower() not in ("http", "https"):
            raise InvalidURI
        cut = min((at for at in (rest.find("/"), rest.find("?")) if at >= 0), default=len(rest))
        authority, raw = rest[:cut], rest[cut:]
        if not raw.startswith("/"):
            raw = "/" + raw
    path, _, query = raw.partition("?")
    return Target(path, query, authority)


def decode_component(raw: str) -> str:
    """Percent-decoded once; InvalidURI for NUL or what is not UTF-8."""
    if "%" not in raw and raw.isascii():
        text = raw
    else:
        try:
            text = unquote_to_bytes(raw.encode("utf-8", "surrogateescape")).decode("utf-8")
        except UnicodeDecodeError:
            raise InvalidURI("The request's path or query is not valid UTF-8.") from None
    if "\0" in text:
        raise InvalidURI("The request's path or query contains NUL.")
    return text


def parse_query(raw: str) -> dict[str, str]:
    """Parameters by name, decoded (`+` is a space); InvalidArgument if a name comes twice."""
    parameters: dict[str, str] = {}
    if not raw:
        return parameters
    for piece in raw.split("&"):
        if not piece:
            continue
        name, _, value = piece.replace("+", " ").partition("=")
        name = decode_component(name)
        if name in parameters:
            raise InvalidArgument(f"The query parameter {name!r} is given twice.")
        parameters[name] = decode_component(value)
    return parameters


def parse_headers(items: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Headers by lower-case name; BadRequest if one that may come once comes twice."""
    headers: dict[str, str] = {}
    for name, value in items:
        lower = name.lower()
        if lower in headers:
            if lower not in REPEATABLE_HEADERS:
                raise BadRequest(f"The header {lower!r} is given twice.")
            value = f"{headers[lower]},{value}"
        headers[lower] = value
    return headers


def hoisted_headers(query: Mapping[str, str], headers: Mapping[str, str]) -> Mapping[str, str]:
    """The headers, and those that a presigned query carries in their place. BadRequest, InvalidArgument.

    https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html
    The query is signed as a whole, so they are as trustworthy as signed headers.
    """
    hoisted = {name.lower(): value for name, value in query.items() if name[:6].lower() == "x-amz-"}
    if hoisted.get("x-amz-checksum-crc32") == _CRC32_OF_NOTHING:
        # AWS's JavaScript SDK writes this for a body that it does not know yet; S3 passes over it.
        del hoisted["x-amz-checksum-crc32"]
        hoisted.pop("x-amz-sdk-checksum-algorithm", None)
    for name in _OF_THE_SIGNATURE & hoisted.keys():
        del hoisted[name]
    for name, value in hoisted.items():
        if not _HEADER_NAME.fullmatch(name) or not value.isprintable():
            raise InvalidArgument(f"The query parameter {name[:80]!r} cannot stand for a header.")
        if headers.get(name, value) != value:
            raise BadRequest(f"The header {name!r} differs from the query parameter of that name.")
    return {**headers, **hoisted} if hoisted else headers


def host_bucket(host: str, domain: str | None) -> str:
    """The bucket of a virtual-host style request (`bucket.domain`), or "" for path style."""
    if domain is None:
        return ""
    name = host.lower()
    if not name.endswith("]"):
        # A name that ends in a dot is the same name, fully qualified.
        name = name.rpartition(":")[0].removesuffix(".") if ":" in name else name.removesuffix(".")
    suffix = "." + domain.lower()
    return name[: -len(suffix)] if name.endswith(suffix) else ""


def bucket_and_key(path: str, virtual_bucket: str) -> tuple[str, str]:
    """Which bucket and key a raw path names; "" for what it does not."""
    decoded = decode_component(path)
    if virtual_bucket:
        return virtual_bucket, decoded[1:]
    bucket, _, key = decoded[1:].partition("/")
    return bucket, key
