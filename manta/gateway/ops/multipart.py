"""Multipart uploads: create, complete, abort. Their parts are in `parts`, their listings in `list_uploads`.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/mpuoverview.html
"""

from collections.abc import Mapping
from dataclasses import replace
from xml.etree.ElementTree import Element

from manta.catalog.records import Blob, Checksum, ChecksumType, CompletedPart, ObjectVersion, Part, Upload
from manta.catalog.rules import check_condition
from manta.core import checksums
from manta.core.checksums import Algorithm
from manta.core.errors import BadRequest, InvalidArgument, MalformedXML, MantaError, NoSuchUpload
from manta.core.limits import COMPLETE_XML_MAX_BYTES, LIST_PAGE_MAX, PARTS_MAX
from manta.core.names import check_bucket, check_key, new_id
from manta.gateway.access import Action, authorize
from manta.gateway.attributes import checksum_headers, read_attributes
from manta.gateway.context import Context
from manta.gateway.datapath import multipart_plan
from manta.gateway.datapath.assembly import complete
from manta.gateway.datapath.blobs import ClusterBlobs, cluster_blobs
from manta.gateway.datapath.ingest import parse_algorithm
from manta.gateway.datapath.multipart_plan import Plan
from manta.gateway.http import xml
from manta.gateway.http.known_headers import CHECKSUM_HEADERS, METADATA
from manta.gateway.http.patience import reply_in_time
from manta.gateway.http.request import Request
from manta.gateway.http.responses import Response, xml_response
from manta.gateway.ops.copy import checksum_elements, element_name
from manta.gateway.ops.objects import write_condition
from manta.gateway.router import Level, Route


async def create_multipart_upload(context: Context, request: Request) -> Response:
    """Placement is decided here: the parts grow into one file on each of these nodes."""
    bucket_name, key = check_bucket(request.bucket), check_key(request.key)
    attributes = read_attributes(request.headers)
    algorithm, kind = _checksum_wish(request.headers)
    authorize(request, Action.WRITE, await context.catalog.get_bucket(bucket_name))
    blobs = cluster_blobs(context.blobs)
    now_ms = context.now_ms()
    upload = Upload(
        bucket=bucket_name,
        key=key,
        upload_id=new_id(now_ms),
        blob_id=new_id(now_ms),
        nodes=tuple(blobs.cluster.choose(blobs.copies)),
        slot_bytes=None,
        attributes=attributes,
        initiated_ms=now_ms,
        owner_id=request.account_id,
        checksum_algorithm=algorithm,
        checksum_type=kind,
    )
    await context.catalog.create_upload(upload)
    headers = {}
    if algorithm is not None and kind is not None:
        headers = {"x-amz-checksum-algorithm": algorithm.value.upper(), "x-amz-checksum-type": kind.value}
    content = (
        f"<Bucket>{xml.escape(bucket_name)}</Bucket><Key>{xml.escape(key)}</Key><UploadId>{upload.upload_id}</UploadId>"
    )
    return xml_response(xml.document("InitiateMultipartUploadResult", content), headers=headers)


def _checksum_wish(headers: Mapping[str, str]) -> tuple[Algorithm | None, ChecksumType | None]:
    named = headers.get("x-amz-checksum-algorithm")
    algorithm = parse_algorithm(named) if named is not None else None
    return algorithm, multipart_plan.check_type(algorithm, _checksum_type(headers))


def _checksum_type(headers: Mapping[str, str]) -> ChecksumType | None:
    text = headers.get("x-amz-checksum-type")
    if text is None:
        return None
    try:
        return ChecksumType(text.upper())
    except ValueError:
        raise InvalidArgument("x-amz-checksum-type must be FULL_OBJECT or COMPOSITE.") from None


async def complete_multipart_upload(context: Context, request: Request) -> Response:
    """Equal parts become the object where they lie; a repetition gets the first one's answer (C5)."""
    bucket_name, key, upload_id = check_bucket(request.bucket), check_key(request.key), request.query["uploadId"]
    authorize(request, Action.WRITE, await context.catalog.get_bucket(bucket_name))
    named = parse_parts(await request.body.read(COMPLETE_XML_MAX_BYTES))
    try:
        upload = await context.catalog.get_upload(bucket_name, key, upload_id)
    except NoSuchUpload:
        return await _completed_before(context, request, named)
    return await reply_in_time(request, _complete(context, request, upload, named))


async def _complete(context: Context, request: Request, upload: Upload, named: list[CompletedPart]) -> Response:
    stored = await stored_parts(context, upload.upload_id)
    parts = multipart_plan.choose_parts(named, stored)
    plan = multipart_plan.plan(upload.slot_bytes, parts, stored.values())
    condition = write_condition(request.headers)
    checksum = multipart_plan.object_checksum(upload, parts)
    _check_claims(request.headers, upload, plan, checksum)
    # Asked before the work as well as in the commit: what is refused must not cost a copy.
    current = (await context.catalog.locate(upload.bucket, upload.key)).object
    check_condition(condition, current.etag if current is not None else None)
    blobs = cluster_blobs(context.blobs)
    blob = await complete(blobs.cluster, upload, plan, blobs.copies) if plan.size else None
    version = _version(context, upload, parts, plan, blob, checksum)
    try:
        await context.catalog.complete_upload(upload, named, version, condition)
    except NoSuchUpload:
        # Completed or aborted meanwhile; perhaps by this very commit, if its answer was lost on the way.
        found = await context.catalog.completed_upload(upload.bucket, upload.key, upload.upload_id)
        if found is None or found.blob != blob:
            _discard_assembled(blobs, upload, blob)
        return await _completed_before(context, request, named)
    except MantaError as error:
        if not error.retryable:
            _discard_assembled(blobs, upload, blob)
        raise
    return _completed(request, version)


def _version(
    context: Context, upload: Upload, parts: list[Part], plan: Plan, blob: Blob | None, checksum: Checksum | None
) -> ObjectVersion:
    now_ms = context.now_ms()
    return ObjectVersion(
        key=upload.key,
        version_id=new_id(now_ms),
        size=plan.size,
        etag=multipart_plan.multipart_etag([part.etag for part in parts]),
        modified_ms=now_ms,
        blob=blob,
        attributes=replace(
            upload.attributes,
            checksums=(checksum,) if checksum is not None else (),
            parts=multipart_plan.object_parts(upload, parts),
        ),
    )


def _discard_assembled(blobs: ClusterBlobs, upload: Upload, blob: Blob | None) -> None:
    """The growing file stays, since the upload may be completed again; an assembled copy has no further use."""
    if blob is not None and blob.blob_id != upload.blob_id:
        blobs.discard(blob)


def _check_claims(headers: Mapping[str, str], upload: Upload, plan: Plan, checksum: Checksum | None) -> None:
    size = headers.get("x-amz-mp-object-size")
    if size is not None and size != str(plan.size):
        raise BadRequest(f"The parts have {plan.size} bytes together; x-amz-mp-object-size says {size[:20]!r}.")
    kind = _checksum_type(headers)
    if kind is not None and checksum is not None and kind is not checksum.type:
        raise BadRequest(f"The upload's checksum type is {checksum.type.value}, not {kind.value}.")
    for algorithm in Algorithm:
        claimed = headers.get(algorithm.header)
        if claimed is None:
            continue
        if upload.checksum_algorithm is None and (checksum is None or checksum.algorithm is not algorithm):
            raise BadRequest(f"The upload was not created with the checksum algorithm {algorithm.value.upper()}.")
        multipart_plan.check_object_checksum(claimed, checksum, algorithm)


async def _completed_before(context: Context, request: Request, named: list[CompletedPart]) -> Response:
    """The answer that the upload's first completion got; NoSuchUpload unless it named the same parts."""
    version = await context.catalog.completed_upload(request.bucket, request.key, request.query["uploadId"])
    if version is None or version.etag != multipart_plan.multipart_etag([part.etag for part in named]):
        raise NoSuchUpload
    return _completed(request, version)


def _completed(request: Request, version: ObjectVersion) -> Response:
    scheme = "https" if request.secure else "http"
    location = f"{scheme}://{request.headers.get('host', '')}{request.raw_path}"
    content = (
        f"<Location>{xml.escape(location)}</Location><Bucket>{xml.escape(request.bucket)}</Bucket>"
        f"<Key>{xml.escape(version.key)}</Key><ETag>&quot;{version.etag}&quot;</ETag>"
        f"{checksum_elements(version.attributes.checksums)}"
    )
    return xml_response(xml.document("CompleteMultipartUploadResult", content))


async def stored_parts(context: Context, upload_id: str) -> dict[int, Part]:
    """All parts of the upload by number, in pages."""
    parts: dict[int, Part] = {}
    after = 0
    while page := await context.catalog.list_parts(upload_id, after=after, limit=LIST_PAGE_MAX):
        parts.update({part.number: part for part in page})
        after = page[-1].number
    return parts


def parse_parts(body: bytes) -> list[CompletedPart]:
    """The parts that a CompleteMultipartUpload names, in its order. MalformedXML."""
    root = xml.parse(body, "CompleteMultipartUpload")
    elements = root.findall("Part")
    if len(elements) > PARTS_MAX:
        raise MalformedXML(f"A completed upload has 1 to {PARTS_MAX} parts.")
    return [_parse_part(element) for element in elements]


def _parse_part(element: Element) -> CompletedPart:
    number = (element.findtext("PartNumber") or "").strip()
    etag = (element.findtext("ETag") or "").strip().strip('"').lower()
    if not (number.isascii() and number.isdigit() and len(number) <= 5):
        raise MalformedXML("A Part of the CompleteMultipartUpload has no valid PartNumber.")
    if len(etag) != 32 or not set(etag) <= set("0123456789abcdef"):
        raise multipart_plan.unknown_part(int(number))
    checksum = None
    for algorithm in Algorithm:
        text = element.findtext(element_name(algorithm.header))
        if text is not None:
            checksum = Checksum(algorithm, checksums.decode(text.strip(), algorithm.digest_size))
    return CompletedPart(int(number), etag, checksum)


async def abort_multipart_upload(context: Context, request: Request) -> Response:
    bucket_name, key = check_bucket(request.bucket), check_key(request.key)
    authorize(request, Action.WRITE, await context.catalog.get_bucket(bucket_name))
    await context.catalog.abort_upload(bucket_name, key, request.query["uploadId"])
    return Response(204)


def echoed_checksum(checksum: Checksum) -> dict[str, str]:
    """A part's checksum as its reply shows it: without a type."""
    headers = checksum_headers((checksum,))
    del headers["x-amz-checksum-type"]
    return headers


_TYPE = frozenset({"x-amz-checksum-type"})

ROUTES = (
    Route(
        "CreateMultipartUpload",
        create_multipart_upload,
        "POST",
        Level.OBJECT,
        "uploads",
        headers=_TYPE | {"x-amz-checksum-algorithm", METADATA},
    ),
    Route(
        "CompleteMultipartUpload",
        complete_multipart_upload,
        "POST",
        Level.OBJECT,
        "uploadId",
        headers=CHECKSUM_HEADERS | _TYPE | {"x-amz-mp-object-size"},
    ),
    Route("AbortMultipartUpload", abort_multipart_upload, "DELETE", Level.OBJECT, "uploadId"),
)
