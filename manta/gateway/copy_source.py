"""The source of a copy: `x-amz-copy-source` taken apart, decoded exactly once and checked; found, permitted, matched.

Other stores were broken into here (CVE-2026-54917, CVE-2026-55874): bucket and key are names checked like those of any
request and never become a path (S2), and the source needs a permission of its own.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from manta.auth.policy import Action, check
from manta.catalog.records import ObjectVersion
from manta.catalog.store import Catalog
from manta.core.conditions import Outcome, Span, evaluate_read
from manta.core.errors import (
    AccessDenied,
    InvalidArgument,
    InvalidRange,
    NoSuchVersion,
    NotImplementedHere,
    PreconditionFailed,
)
from manta.core.names import check_bucket, check_key
from manta.gateway.access import resource_of, visible
from manta.gateway.http.request import Request, decode_component

HEADER = "x-amz-copy-source"
RANGE_HEADER = "x-amz-copy-source-range"
HEADERS = frozenset(
    {
        HEADER,
        "x-amz-copy-source-if-match",
        "x-amz-copy-source-if-none-match",
        "x-amz-copy-source-if-modified-since",
        "x-amz-copy-source-if-unmodified-since",
        "x-amz-source-expected-bucket-owner",
    }
)


@dataclass(frozen=True, slots=True)
class CopySource:
    bucket: str
    key: str


def parse(header: str) -> CopySource:
    """`/bucket/key` or `bucket/key`, percent-encoded, with an optional `?versionId=null`.

    InvalidArgument, InvalidBucketName, InvalidURI, KeyTooLong, NoSuchVersion, NotImplementedHere (access points).
    https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html
    """
    path, mark, query = header.partition("?")
    if mark:
        name, _, version = query.partition("=")
        if name != "versionId":
            raise InvalidArgument(f"The {HEADER} header has a query other than versionId.")
        if version != "null":
            raise NoSuchVersion
    if path.startswith("arn:"):
        raise NotImplementedHere(f"Access points in {HEADER} are not implemented.")
    decoded = decode_component(path).removeprefix("/")
    bucket, slash, key = decoded.partition("/")
    if not slash or not key:
        raise InvalidArgument(f"The {HEADER} header must name a bucket and a key: bucket/key.")
    return CopySource(check_bucket(bucket), check_key(key))


def parse_range(header: str, size: int) -> Span:
    """`bytes=first-last`, both given and inside the source. InvalidArgument, InvalidRange.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_UploadPartCopy.html
    """
    unit, _, text = header.partition("=")
    first, dash, last = text.partition("-")
    digits = all(piece.isascii() and piece.isdigit() and len(piece) <= 19 for piece in (first, last))
    if unit != "bytes" or not dash or not digits or int(last) < int(first):
        raise InvalidArgument(f"The {RANGE_HEADER} value must be of the form bytes=first-last.")
    if int(last) >= size:
        raise InvalidRange(f"The range {header[:60]} lies outside the copy source of {size} bytes.")
    return Span(int(first), int(last) - int(first) + 1)


def check_conditions(headers: Mapping[str, str], version: ObjectVersion) -> None:
    """PreconditionFailed unless the x-amz-copy-source-if- headers hold: a copy has no 304."""
    outcome = evaluate_read(headers, version.etag, version.modified_ms // 1000, prefix="x-amz-copy-source-")
    if outcome is not Outcome.PROCEED:
        raise PreconditionFailed


async def find(catalog: Catalog, request: Request, source: CopySource) -> ObjectVersion:
    """The source's current version, which the sender may read. NoSuchBucket, NoSuchKey, AccessDenied."""
    located = await catalog.locate(source.bucket, source.key)
    bucket = located.bucket
    expected = request.headers.get("x-amz-source-expected-bucket-owner")
    if expected is not None and expected != bucket.owner_id:
        raise AccessDenied("The copy source is not owned by the account that x-amz-source-expected-bucket-owner names.")
    check(request.principal, Action.GET, resource_of(bucket, source.key))
    version = visible(request.principal, located, source.key)
    check_conditions(request.headers, version)
    return version
