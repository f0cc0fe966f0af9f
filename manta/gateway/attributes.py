"""What a client stores beside an object's bytes: standard headers and user metadata, echoed when it is read."""

from collections.abc import Mapping

from manta.catalog.records import Attributes, Checksum, ChecksumType, ObjectVersion
from manta.core import checksums
from manta.core.errors import InvalidArgument, MetadataTooLarge
from manta.core.limits import METADATA_MAX_BYTES, USER_HEADERS_MAX_BYTES
from manta.gateway.http.responses import http_date

META_PREFIX = "x-amz-meta-"
STORED_HEADERS = (
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-type",
    "expires",
)
DEFAULT_CONTENT_TYPE = "binary/octet-stream"
OVERRIDES = {f"response-{name}": name for name in STORED_HEADERS}
"""Query parameters of a signed GET that replace stored headers."""


def read_attributes(headers: Mapping[str, str], checksum: tuple[Checksum, ...] = ()) -> Attributes:
    """The attributes in a request's headers; MetadataTooLarge, InvalidArgument."""
    stored = {name: headers[name] for name in STORED_HEADERS if headers.get(name)}  # an empty one is none
    encoding = stored.get("content-encoding")
    if encoding is not None:
        kept = [piece.strip() for piece in encoding.split(",") if piece.strip().lower() != "aws-chunked"]
        if any(kept):
            stored["content-encoding"] = ",".join(kept)
        else:
            del stored["content-encoding"]
    metadata = {name[len(META_PREFIX) :]: value for name, value in headers.items() if name.startswith(META_PREFIX)}
    if _bytes(metadata) > METADATA_MAX_BYTES:
        raise MetadataTooLarge
    if _bytes(stored) > USER_HEADERS_MAX_BYTES:
        raise InvalidArgument(f"The standard headers exceed {USER_HEADERS_MAX_BYTES} bytes.")
    return Attributes(headers=stored, metadata=metadata, checksums=checksum)


def _bytes(fields: Mapping[str, str]) -> int:
    try:
        return sum(len(name.encode()) + len(value.encode()) for name, value in fields.items())
    except UnicodeEncodeError:
        raise InvalidArgument("A header is not valid UTF-8.") from None


def object_headers(version: ObjectVersion, overrides: Mapping[str, str], with_checksums: bool) -> dict[str, str]:
    """The reply headers that describe one version; `overrides` by stored name."""
    attributes = version.attributes
    headers = {
        "ETag": f'"{version.etag}"',
        "Last-Modified": http_date(version.modified_ms // 1000),
        "Accept-Ranges": "bytes",
        "Content-Type": DEFAULT_CONTENT_TYPE,
    }
    for name, value in attributes.headers.items():
        headers[name.title()] = value
    for name, value in overrides.items():
        headers[name.title()] = value
    for name, value in attributes.metadata.items():
        headers[META_PREFIX + name] = value
    if with_checksums:
        headers |= checksum_headers(attributes.checksums)
    return headers


def checksum_headers(found: tuple[Checksum, ...]) -> dict[str, str]:
    """`x-amz-checksum-…` and its type, as PUT, GET and HEAD echo them."""
    headers: dict[str, str] = {}
    for checksum in found:
        headers[checksum.algorithm.header] = checksum_text(checksum)
        headers["x-amz-checksum-type"] = checksum.type.value
    return headers


def checksum_text(checksum: Checksum) -> str:
    text = checksums.encode(checksum.digest)
    return f"{text}-{checksum.parts}" if checksum.type is ChecksumType.COMPOSITE else text
