"""CopyObject: a new name for the same bytes. No byte is moved; the blob gains a reference."""

from collections.abc import Mapping
from dataclasses import replace

from manta.catalog.records import Attributes, Checksum, ObjectVersion
from manta.core.checksums import Algorithm
from manta.core.errors import BadRequest, Conflict, InvalidArgument, NoSuchKey
from manta.core.names import check_bucket, check_key, new_id
from manta.gateway import copy_source
from manta.gateway.access import Action, authorize
from manta.gateway.attributes import checksum_headers, read_attributes
from manta.gateway.context import Context
from manta.gateway.copy_source import CopySource
from manta.gateway.datapath.ingest import digest_of, parse_algorithm
from manta.gateway.http import xml
from manta.gateway.http.known_headers import METADATA
from manta.gateway.http.patience import reply_in_time
from manta.gateway.http.request import Request
from manta.gateway.http.responses import Response, xml_response
from manta.gateway.ops.objects import write_condition
from manta.gateway.router import Level, Route

_ATTEMPTS = 3
"""How often the source is looked up again when it was replaced between its lookup and the commit."""


async def copy_object(context: Context, request: Request) -> Response:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html

    The ETag stays, that of a multipart source too, since the bytes and their parts stay.
    """
    source = copy_source.parse(request.headers[copy_source.HEADER])
    bucket, key = check_bucket(request.bucket), check_key(request.key)
    replaces = _directive(request.headers) == "REPLACE"
    algorithm = _algorithm(request.headers)
    if source == CopySource(bucket, key) and not replaces and algorithm is None:
        raise BadRequest(
            "This copy request is illegal because it is trying to copy an object to itself without changing the "
            "object's metadata or checksum."
        )
    target = await context.catalog.get_bucket(bucket)
    authorize(request, Action.WRITE, target)
    found = await copy_source.find(context.catalog, request, source)
    return await reply_in_time(request, _copy(context, request, target.id, source, found, algorithm))


async def _copy(
    context: Context,
    request: Request,
    bucket_id: int,
    source: CopySource,
    found: ObjectVersion,
    algorithm: Algorithm | None,
) -> Response:
    for attempt in range(_ATTEMPTS):
        try:
            return await _commit(context, request, bucket_id, found, algorithm)
        except Conflict:
            # The source was replaced or deleted meanwhile: the copy is of what is there now.
            if attempt == _ATTEMPTS - 1:
                raise
            found = await copy_source.find(context.catalog, request, source)
    raise NoSuchKey


async def _commit(
    context: Context, request: Request, bucket_id: int, found: ObjectVersion, algorithm: Algorithm | None
) -> Response:
    now_ms = context.now_ms()
    version = ObjectVersion(
        key=request.key,
        version_id=new_id(now_ms),
        size=found.size,
        etag=found.etag,
        modified_ms=now_ms,
        blob=found.blob,
        attributes=await _attributes(context, request, found, algorithm),
    )
    condition = write_condition(request.headers)
    await context.catalog.put_object(request.bucket, version, condition, new_blob=False, bucket_id=bucket_id)
    return xml_response(
        xml.document("CopyObjectResult", result_xml(version.etag, now_ms, version.attributes.checksums))
    )


async def _attributes(
    context: Context, request: Request, found: ObjectVersion, algorithm: Algorithm | None
) -> Attributes:
    kept = found.attributes
    if _directive(request.headers) == "REPLACE":
        kept = replace(read_attributes(request.headers), checksums=kept.checksums, parts=kept.parts)
    if algorithm is None or any(one.algorithm is algorithm and not one.parts for one in kept.checksums):
        return kept
    digest = await digest_of(context.blobs, found.blob, algorithm)
    parts = tuple(replace(part, checksum=None) for part in kept.parts)
    return replace(kept, checksums=(Checksum(algorithm, digest),), parts=parts)


def result_xml(etag: str, modified_ms: int, found: tuple[Checksum, ...], *, with_type: bool = True) -> str:
    """What CopyObjectResult and CopyPartResult hold."""
    content = f"<LastModified>{xml.timestamp(modified_ms)}</LastModified><ETag>&quot;{etag}&quot;</ETag>"
    return content + checksum_elements(found, with_type=with_type)


def checksum_elements(found: tuple[Checksum, ...], *, with_type: bool = True) -> str:
    """`<ChecksumCRC32>…</ChecksumCRC32>` and its type."""
    text = ""
    for name, value in checksum_headers(found).items():
        if name == "x-amz-checksum-type":
            text += f"<ChecksumType>{value}</ChecksumType>" if with_type else ""
        else:
            text += f"<{element_name(name)}>{value}</{element_name(name)}>"
    return text


def element_name(header: str) -> str:
    """The XML element of an `x-amz-checksum-<algorithm>` header."""
    return "Checksum" + header.removeprefix("x-amz-checksum-").upper()


def _directive(headers: Mapping[str, str]) -> str:
    directive = headers.get("x-amz-metadata-directive", "COPY")
    if directive not in ("COPY", "REPLACE"):
        raise InvalidArgument("x-amz-metadata-directive must be COPY or REPLACE.")
    return directive


def _algorithm(headers: Mapping[str, str]) -> Algorithm | None:
    name = headers.get("x-amz-checksum-algorithm")
    return parse_algorithm(name) if name is not None else None


ROUTES = (
    Route(
        "CopyObject",
        copy_object,
        "PUT",
        Level.OBJECT,
        copy=True,
        headers=copy_source.HEADERS | {"x-amz-metadata-directive", "x-amz-checksum-algorithm", METADATA},
    ),
)
