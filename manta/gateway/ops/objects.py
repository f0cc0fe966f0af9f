"""Single objects: PutObject, DeleteObject. GetObject and HeadObject are in `reads`."""

from collections.abc import Mapping
from dataclasses import replace

from manta.catalog.records import ObjectVersion, WriteCondition
from manta.core.conditions import parse_etags
from manta.core.errors import MissingContentLength, NoSuchVersion, NotFound, PreconditionFailed
from manta.core.limits import PUT_MAX_BYTES
from manta.core.names import check_bucket, check_key, new_id
from manta.gateway.access import Action, authorize
from manta.gateway.attributes import checksum_headers, read_attributes
from manta.gateway.context import Context
from manta.gateway.datapath.ingest import read_claims, receive_blob
from manta.gateway.http.known_headers import CHECKSUM_HEADERS, METADATA
from manta.gateway.http.request import Request
from manta.gateway.http.responses import Response
from manta.gateway.router import Level, Route


async def put_object(context: Context, request: Request) -> Response:
    """Bytes first, row second: the catalog's commit checks the conditions and is the commit point."""
    bucket_name, key = check_bucket(request.bucket), check_key(request.key)
    headers = request.headers
    attributes = read_attributes(headers)
    claims = read_claims(headers)
    condition = write_condition(headers)
    if request.body.length is None:
        raise MissingContentLength
    bucket = await context.catalog.get_bucket(bucket_name)
    authorize(request, Action.WRITE, bucket)
    received = await receive_blob(context.blobs, request.body, claims, limit=PUT_MAX_BYTES)
    now_ms = context.now_ms()
    version = ObjectVersion(
        key=key,
        version_id=new_id(now_ms),
        size=received.size,
        etag=received.etag,
        modified_ms=now_ms,
        blob=received.kept,
        attributes=replace(attributes, checksums=(received.checksum,)),
    )
    try:
        await context.catalog.put_object(bucket_name, version, condition, bucket_id=bucket.id)
    except (NotFound, PreconditionFailed):
        # Refused for certain. After any other error the row may be there, and only the sweeper can tell.
        context.blobs.discard(version.blob)
        raise
    return Response(200, {"ETag": f'"{version.etag}"', **checksum_headers(version.attributes.checksums)})


def write_condition(headers: Mapping[str, str]) -> WriteCondition | None:
    """The If-Match and If-None-Match of a write; the catalog checks them in its transaction (C3, C4)."""
    if_match, if_none_match = headers.get("if-match"), headers.get("if-none-match")
    if if_match is None and if_none_match is None:
        return None
    return WriteCondition(
        if_match=parse_etags(if_match) if if_match is not None else None,
        if_none_match=parse_etags(if_none_match) if if_none_match is not None else None,
    )


async def delete_object(context: Context, request: Request) -> Response:
    bucket = await context.catalog.get_bucket(check_bucket(request.bucket))
    authorize(request, Action.WRITE, bucket)
    if request.query.get("versionId", "null") != "null":
        raise NoSuchVersion
    await context.catalog.delete_object(bucket.name, check_key(request.key), write_condition(request.headers))
    return Response(204)


ROUTES = (
    Route("PutObject", put_object, "PUT", Level.OBJECT, headers=CHECKSUM_HEADERS | {METADATA}),
    Route("DeleteObject", delete_object, "DELETE", Level.OBJECT, query=frozenset({"versionId"})),
)
