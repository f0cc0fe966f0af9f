"""GetObject and HeadObject: conditions, ranges, parts, overrides; one version's bytes and nothing else (D3)."""

from collections.abc import Mapping

from manta.catalog.records import ObjectPart, ObjectVersion
from manta.core.conditions import Outcome, Span, evaluate_read, parse_range
from manta.core.errors import InvalidArgument, InvalidRange, NoSuchVersion, PreconditionFailed
from manta.core.limits import PARTS_MAX, READ_WHOLE_BYTES
from manta.core.names import check_bucket, check_key
from manta.gateway.access import Action, authorize, visible
from manta.gateway.attributes import OVERRIDES, checksum_headers, object_headers
from manta.gateway.context import Context
from manta.gateway.http.request import Request
from manta.gateway.http.responses import FileResponse, Response, StreamedResponse, http_date
from manta.gateway.router import Level, Route

_UNMODIFIED = ("ETag", "Last-Modified", "Cache-Control", "Expires")
"""What a 304 tells: a cache brings its copy up to date by it (RFC 9110 §15.4.5)."""


async def get_object(context: Context, request: Request) -> Response:
    version = await find_version(context, request)
    response, span = _plan(request, version)
    if span is None or version.blob is None:
        return response
    if span.length <= READ_WHOLE_BYTES:
        response.body = await context.blobs.read_small(version.blob, span.start, span.length)
        return response
    descriptor = await context.blobs.open_file(version.blob, span.start, span.length)
    if descriptor is not None:
        return FileResponse(response.status, response.headers, descriptor, span.start, span.length)
    reader = await context.blobs.open_get(version.blob, span.start, span.length)
    return StreamedResponse(response.status, response.headers, reader, span.length)


async def head_object(context: Context, request: Request) -> Response:
    version = await find_version(context, request)
    response, span = _plan(request, version)
    if span is not None:
        response.headers["Content-Length"] = str(span.length)
    return response


async def find_version(context: Context, request: Request) -> ObjectVersion:
    """The object that the request names and may read. NoSuchKey, NoSuchVersion, AccessDenied."""
    located = await context.catalog.locate(check_bucket(request.bucket), check_key(request.key))
    authorize(request, Action.GET, located.bucket, request.key)
    if request.query.get("versionId", "null") != "null":
        raise NoSuchVersion
    return visible(request.principal, located, request.key)


def _plan(request: Request, version: ObjectVersion) -> tuple[Response, Span | None]:
    """Status and headers, and which bytes follow (None for a reply without any: 304)."""
    headers, query = request.headers, request.query
    outcome = evaluate_read(headers, version.etag, version.modified_ms // 1000)
    if outcome is Outcome.FAILED:
        raise PreconditionFailed(None, Condition="If-Match" if "if-match" in headers else "If-Unmodified-Since")
    if outcome is Outcome.NOT_MODIFIED:
        described = object_headers(version, {}, with_checksums=False)
        return Response(304, {name: described[name] for name in _UNMODIFIED if name in described}), None
    overrides = _overrides(query) if query else {}
    if "partNumber" in query:
        return _plan_part(request, version, overrides)
    span = _span(headers, version)
    if span is None:
        with_checksums = headers.get("x-amz-checksum-mode", "").upper() == "ENABLED"
        return Response(200, object_headers(version, overrides, with_checksums)), Span(0, version.size)
    described = object_headers(version, overrides, with_checksums=False)
    return Response(206, described | _content_range(span, version.size)), span


def _overrides(query: Mapping[str, str]) -> dict[str, str]:
    """The `response-…` parameters by stored name; InvalidArgument for what would not stay in its line."""
    overrides = {OVERRIDES[name]: value for name, value in query.items() if name in OVERRIDES}
    if not all(value.isprintable() for value in overrides.values()):
        raise InvalidArgument("A response- parameter holds characters that no header may.")
    return overrides


def _span(headers: Mapping[str, str], version: ObjectVersion) -> Span | None:
    """The range asked for, unless If-Range asks for the whole of a changed object (RFC 9110 §13.1.5)."""
    asked = headers.get("range")
    if asked is None:
        return None
    unchanged = headers.get("if-range")
    if unchanged is not None and unchanged.strip() not in (
        f'"{version.etag}"',
        http_date(version.modified_ms // 1000),
    ):
        return None
    return parse_range(asked, version.size)


def _plan_part(request: Request, version: ObjectVersion, overrides: Mapping[str, str]) -> tuple[Response, Span]:
    """One part of a completed upload, or the whole of an object that has no parts as its part 1."""
    if "range" in request.headers:
        raise InvalidArgument("A Range header and partNumber cannot be combined.")
    number = _part_number(request.query["partNumber"])
    described = object_headers(version, overrides, with_checksums=False)
    parts = version.attributes.parts
    with_checksums = request.headers.get("x-amz-checksum-mode", "").upper() == "ENABLED"
    if not parts:
        if number != 1:
            raise InvalidPartNumber
        span = Span(0, version.size)
        described |= checksum_headers(version.attributes.checksums) if with_checksums else {}
    else:
        part, span = _find_part(parts, number)
        described["x-amz-mp-parts-count"] = str(len(parts))
        if with_checksums and part.checksum is not None:
            described |= checksum_headers((part.checksum,))
    if not version.size:
        return Response(200, described), span
    return Response(206, described | _content_range(span, version.size)), span


class InvalidPartNumber(InvalidRange):
    code = "InvalidPartNumber"
    default = "The requested part number does not exist."


def _part_number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and 1 <= int(text) <= PARTS_MAX):
        raise InvalidArgument(f"partNumber is a number from 1 to {PARTS_MAX}.")
    return int(text)


def _find_part(parts: tuple[ObjectPart, ...], number: int) -> tuple[ObjectPart, Span]:
    """Parts lie in the object one after another, in the order of their numbers."""
    start = 0
    for part in parts:
        if part.number == number:
            return part, Span(start, part.size)
        start += part.size
    raise InvalidPartNumber


def _content_range(span: Span, size: int) -> dict[str, str]:
    return {"Content-Range": f"bytes {span.start}-{span.start + span.length - 1}/{size}"}


_QUERY = frozenset({"partNumber", "versionId", *OVERRIDES})
_HEADERS = frozenset({"x-amz-checksum-mode"})

ROUTES = (
    Route("GetObject", get_object, "GET", Level.OBJECT, query=_QUERY, headers=_HEADERS),
    Route("HeadObject", head_object, "HEAD", Level.OBJECT, query=_QUERY, headers=_HEADERS),
)
