"""A request as its signer saw it, and the headers and query made ready for canonical form."""

from collections.abc import Iterable
from dataclasses import dataclass

from manta.auth import sigv4
from manta.core.errors import BadRequest

AMZ = "x-amz-"

_ONCE = frozenset(
    {
        "authorization",
        "content-length",
        "content-type",
        "date",
        "host",
        "x-amz-content-sha256",
        "x-amz-date",
        "x-amz-decoded-content-length",
        "x-amz-security-token",
        "x-amz-trailer",
    }
)


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """`raw_path` and `raw_query` (without `?`) are undecoded, exactly as on the request line, `surrogateescape`d UTF-8.

    `headers` may repeat names, in any case (aiohttp: `request.headers.items()`). `host` is the Host header's value.
    """

    method: str
    raw_path: str
    raw_query: str
    headers: Iterable[tuple[str, str]]
    host: str


def canonical_fields(request: SignedRequest) -> dict[str, str]:
    """Headers by lower-case name with canonical values; repeated ones joined by commas, as they are signed."""
    fields = {"host": sigv4.canonical_value(request.host)}
    seen_host = False
    for given, value in request.headers:
        name = given.lower()
        value = sigv4.canonical_value(value)
        if name == "host":
            if seen_host or value != fields["host"]:
                raise BadRequest("The request has more than one Host.")
            seen_host = True
        elif name not in fields:
            fields[name] = value
        elif name in _ONCE:
            raise BadRequest(f"The header {name} was sent twice.")
        else:
            fields[name] = f"{fields[name]},{value}"
    return fields
