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
    """Headers by lower-case name with canonical values; a repeated one is left out, so that it counts as not sent.

    A signature covers repeated headers joined by commas, so it could not tell two headers from one with a comma.
    """
    fields = {"host": sigv4.canonical_value(request.host)}
    hosts = 0
    repeated = set()
    for given, value in request.headers:
        name = given.lower()
        if name == "host":
            hosts += 1
            if hosts > 1 or sigv4.canonical_value(value) != fields["host"]:
                raise BadRequest("The request has more than one Host.")
        elif name not in fields:
            fields[name] = sigv4.canonical_value(value)
        elif name in _ONCE or name.startswith(AMZ):
            raise BadRequest(f"The header {name[:80]} was sent twice.")
        else:
            repeated.add(name)
    for name in repeated:
        del fields[name]
    return fields
