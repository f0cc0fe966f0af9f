"""UploadPart and UploadPartCopy: one part of an open upload, from the client or from a stored object."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field

from manta.catalog.records import Part, Upload
from manta.core.conditions import Span
from manta.core.errors import BadRequest, EntityTooLarge, InvalidArgument, MissingContentLength
from manta.core.limits import BLOCK_BYTES, FIRST_PART_WAITS_S, PART_MAX_BYTES, PART_MIN_BYTES, PARTS_MAX
from manta.core.names import check_bucket, check_key
from manta.gateway import copy_source
from manta.gateway.access import Action, authorize
from manta.gateway.context import Context
from manta.gateway.datapath.blobs import cluster_blobs
from manta.gateway.datapath.ingest import DEFAULT_ALGORITHM, Body, Claims, Received, read_claims, receive
from manta.gateway.datapath.part_writer import PartPlace, PartTarget
from manta.gateway.http import xml
from manta.gateway.http.known_headers import CHECKSUM_HEADERS
from manta.gateway.http.patience import reply_in_time
from manta.gateway.http.request import Request
from manta.gateway.http.responses import Response, xml_response
from manta.gateway.ops.copy import result_xml
from manta.gateway.ops.multipart import echoed_checksum
from manta.gateway.router import Level, Route
from storage_nodes.api import BlobReader


async def upload_part(context: Context, request: Request) -> Response:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_UploadPart.html"""
    number = _part_number(request.query)
    upload = await _upload(context, request)
    claims = read_claims(request.headers, default=upload.checksum_algorithm or DEFAULT_ALGORITHM)
    if upload.checksum_algorithm not in (None, claims.algorithm):
        raise BadRequest(
            f"The upload was created with the checksum algorithm {str(upload.checksum_algorithm).upper()}; "
            f"the part has {claims.algorithm.value.upper()}."
        )
    if request.body.length is None:
        raise MissingContentLength
    part = await _take_in(context, upload, number, request.body, claims)
    return Response(200, {"ETag": f'"{part.etag}"', **echoed_checksum(part.checksums[0])})


async def upload_part_copy(context: Context, request: Request) -> Response:
    """The source's bytes go the way of a client's: hashed here, so that ETag and checksum are what S3's would be.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_UploadPartCopy.html
    """
    number = _part_number(request.query)
    source = copy_source.parse(request.headers[copy_source.HEADER])
    upload = await _upload(context, request)
    found = await copy_source.find(context.catalog, request, source)
    asked = request.headers.get(copy_source.RANGE_HEADER)
    span = copy_source.parse_range(asked, found.size) if asked is not None else Span(0, found.size)
    if span.length > PART_MAX_BYTES:
        raise EntityTooLarge(f"A part has at most {PART_MAX_BYTES} bytes: copy a range of the source.")

    async def copy() -> Response:
        body = StoredBody(span.length)
        if found.blob is not None and span.length:
            body.reader = await context.blobs.open_get(found.blob, span.start, span.length)
        try:
            claims = Claims(algorithm=upload.checksum_algorithm or DEFAULT_ALGORITHM)
            part = await _take_in(context, upload, number, body, claims)
        finally:
            await body.close()
        content = result_xml(part.etag, part.modified_ms, part.checksums, with_type=False)
        return xml_response(xml.document("CopyPartResult", content))

    return await reply_in_time(request, copy())


@dataclass(slots=True)
class StoredBody:
    """The bytes of a stored blob in the place of a request's body."""

    length: int | None
    reader: BlobReader | None = None
    trailers: Mapping[str, str] = field(default_factory=dict)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while self.reader is not None and (data := await self.reader.read()):
            yield data

    async def close(self) -> None:
        if self.reader is not None:
            await self.reader.close()


async def _upload(context: Context, request: Request) -> Upload:
    bucket_name, key = check_bucket(request.bucket), check_key(request.key)
    authorize(request, Action.WRITE, await context.catalog.get_bucket(bucket_name))
    return await context.catalog.get_upload(bucket_name, key, request.query["uploadId"])


async def _take_in(context: Context, upload: Upload, number: int, body: Body, claims: Claims) -> Part:
    """Store the part and record it in place of any earlier one of its number."""
    blobs = cluster_blobs(context.blobs)
    offset = await _reserve(context, upload, number, body.length or 0)
    target = PartTarget(blobs.cluster, upload, blobs.copies, offset)
    received: Received[PartPlace] = await receive(
        body, claims, target.put_small, target.open, small_bytes=target.small_bytes, limit=PART_MAX_BYTES
    )
    place = received.kept
    part = Part(
        number=number,
        size=received.size,
        etag=received.etag,
        modified_ms=context.now_ms(),
        in_slot=place is not None and place.in_slot,
        blob=place.blob if place is not None else None,
        checksums=(received.checksum,),
    )
    await context.catalog.commit_part(upload.upload_id, part)
    return part


async def _reserve(context: Context, upload: Upload, number: int, size: int) -> int | None:
    """The offset of the part's slot, if it gets one.

    Part 1 fixes the size of all slots, in whole blocks, since no part but the last differs from it in the uploads that
    clients make. Its followers, sent at the same time, wait a moment for it.
    """
    if not size:
        return None
    if number == 1:
        size = -(-size // BLOCK_BYTES) * BLOCK_BYTES
    elif not (upload.slot_bytes or await _first_came(context, upload) or _may_fix_slots(size)):
        return None
    return (await context.catalog.reserve_part(upload.upload_id, number, size)).offset


def _may_fix_slots(size: int) -> bool:
    """Whether it may be other than the last part."""
    return size >= PART_MIN_BYTES and size % BLOCK_BYTES == 0


async def _first_came(context: Context, upload: Upload) -> bool:
    for wait_s in FIRST_PART_WAITS_S:
        await asyncio.sleep(wait_s)
        seen = await context.catalog.get_upload(upload.bucket, upload.key, upload.upload_id)
        if seen.slot_bytes is not None:
            return True
    return False


def _part_number(query: Mapping[str, str]) -> int:
    text = query.get("partNumber", "")
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and 1 <= int(text) <= PARTS_MAX):
        raise InvalidArgument(f"partNumber must be a number from 1 to {PARTS_MAX}.")
    return int(text)


_QUERY = frozenset({"partNumber"})

ROUTES = (
    Route("UploadPart", upload_part, "PUT", Level.OBJECT, "uploadId", query=_QUERY, headers=CHECKSUM_HEADERS),
    Route(
        "UploadPartCopy",
        upload_part_copy,
        "PUT",
        Level.OBJECT,
        "uploadId",
        copy=True,
        query=_QUERY,
        headers=copy_source.HEADERS | {copy_source.RANGE_HEADER},
    ),
)
