"""Buckets: ListBuckets, CreateBucket, HeadBucket, DeleteBucket, GetBucketLocation, GetBucketVersioning."""

from collections.abc import Mapping

from manta.catalog.records import Bucket
from manta.core.errors import BadRequest, BucketAlreadyOwnedByYou, InvalidArgument, MalformedXML
from manta.core.limits import BUCKETS_PAGE_MAX, BUCKETS_PER_ACCOUNT, XML_MAX_BYTES
from manta.core.names import check_bucket, check_new_bucket
from manta.gateway.access import Action, authorize
from manta.gateway.context import Context
from manta.gateway.http import xml
from manta.gateway.http.request import Request
from manta.gateway.http.responses import Response, xml_response
from manta.gateway.router import Level, Route


async def list_buckets(context: Context, request: Request) -> Response:
    owner = request.account_id
    account = await context.catalog.get_account(owner)
    shown = account.display_name or account.name if account is not None else owner
    buckets, following = _bucket_page(await context.catalog.list_buckets(owner), request.query)
    rows = "".join(
        f"<Bucket><Name>{bucket.name}</Name><CreationDate>{xml.timestamp(bucket.created_ms)}</CreationDate></Bucket>"
        for bucket in buckets
    )
    more = f"<ContinuationToken>{following}</ContinuationToken>" if following else ""
    prefix = f"<Prefix>{xml.escape(request.query['prefix'])}</Prefix>" if "prefix" in request.query else ""
    return xml_response(
        xml.document(
            "ListAllMyBucketsResult",
            f"<Owner><ID>{xml.escape(owner)}</ID><DisplayName>{xml.escape(shown)}</DisplayName></Owner>"
            f"<Buckets>{rows}</Buckets>{more}{prefix}",
        )
    )


def _bucket_page(buckets: list[Bucket], query: Mapping[str, str]) -> tuple[list[Bucket], str]:
    """The buckets asked for, and the token of the next page ("" at the end): the last name of this one."""
    text = query.get("max-buckets", str(BUCKETS_PAGE_MAX))
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and 1 <= int(text) <= BUCKETS_PAGE_MAX):
        raise InvalidArgument(f"max-buckets is a number from 1 to {BUCKETS_PAGE_MAX}.")
    after, prefix = query.get("continuation-token", ""), query.get("prefix", "")
    wanted = [bucket for bucket in buckets if bucket.name > after and bucket.name.startswith(prefix)]
    page = wanted[: int(text)]
    return page, page[-1].name if len(wanted) > len(page) else ""


async def create_bucket(context: Context, request: Request) -> Response:
    """A bucket one owns already is left as it is: 200 in us-east-1, as S3 does, 409 elsewhere."""
    check_new_bucket(request.bucket)
    _check_location(await request.body.read(XML_MAX_BYTES), context.config.region)
    owner = request.account_id
    if len(await context.catalog.list_buckets(owner)) >= BUCKETS_PER_ACCOUNT:
        raise TooManyBuckets
    try:
        await context.catalog.create_bucket(request.bucket, owner, context.now_ms())
    except BucketAlreadyOwnedByYou:
        if context.config.region != "us-east-1":
            raise
    return Response(200, {"Location": f"/{request.bucket}"})


class TooManyBuckets(BadRequest):
    code = "TooManyBuckets"
    default = f"An account has at most {BUCKETS_PER_ACCOUNT} buckets."


def _check_location(body: bytes, region: str) -> None:
    if not body.strip():
        return
    root = xml.parse(body, "CreateBucketConfiguration")
    for child in root:
        if child.tag != "LocationConstraint":
            raise MalformedXML(f"CreateBucketConfiguration holds a <{child.tag[:40]}>, which this store does not know.")
    wanted = (root.findtext("LocationConstraint") or "").strip()
    if wanted and wanted != region:
        raise InvalidLocationConstraint(f"The location {wanted[:40]!r} is not this store's, which is {region!r}.")


class InvalidLocationConstraint(InvalidArgument):
    code = "InvalidLocationConstraint"


async def head_bucket(context: Context, request: Request) -> Response:
    bucket = await context.catalog.get_bucket(check_bucket(request.bucket))
    authorize(request, Action.LIST, bucket)
    return Response(200, {"x-amz-bucket-region": context.config.region, "Content-Type": "application/xml"})


async def delete_bucket(context: Context, request: Request) -> Response:
    bucket = await context.catalog.get_bucket(check_bucket(request.bucket))
    authorize(request, Action.MANAGE, bucket)
    await context.catalog.delete_bucket(bucket.name)
    return Response(204)


async def get_location(context: Context, request: Request) -> Response:
    """us-east-1 is written as an empty location, as S3 does."""
    bucket = await context.catalog.get_bucket(check_bucket(request.bucket))
    authorize(request, Action.READ, bucket)
    region = context.config.region
    return xml_response(xml.document("LocationConstraint", "" if region == "us-east-1" else xml.escape(region)))


async def get_versioning(context: Context, request: Request) -> Response:
    """Empty: versioning was never switched on."""
    bucket = await context.catalog.get_bucket(check_bucket(request.bucket))
    authorize(request, Action.READ, bucket)
    return xml_response(xml.document("VersioningConfiguration", ""))


ROUTES = (
    Route(
        "ListBuckets",
        list_buckets,
        "GET",
        Level.SERVICE,
        query=frozenset({"max-buckets", "continuation-token", "prefix"}),
    ),
    Route("CreateBucket", create_bucket, "PUT", Level.BUCKET),
    Route("HeadBucket", head_bucket, "HEAD", Level.BUCKET),
    Route("DeleteBucket", delete_bucket, "DELETE", Level.BUCKET),
    Route("GetBucketLocation", get_location, "GET", Level.BUCKET, "location"),
    Route("GetBucketVersioning", get_versioning, "GET", Level.BUCKET, "versioning"),
)
