"""ListObjects (V1) and ListObjectsV2: one page of keys and common prefixes, as XML."""

import base64
import binascii
from collections.abc import Callable
from urllib.parse import quote

from manta.catalog.records import ListedObject, ObjectPage
from manta.core.errors import InvalidArgument
from manta.core.limits import KEY_MAX_BYTES, LIST_PAGE_MAX
from manta.core.names import check_bucket
from manta.gateway.access import Action, authorize
from manta.gateway.context import Context
from manta.gateway.http import xml
from manta.gateway.http.request import Request
from manta.gateway.http.responses import Response, xml_response
from manta.gateway.router import Level, Route

Encode = Callable[[str], str]


async def list_objects_v1(context: Context, request: Request) -> Response:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjects.html

    NextMarker is given whenever there is more, with and without a delimiter.
    """
    marker = request.query.get("marker", "")
    page, encode = await _page(context, request, marker)
    head = [_element("Marker", marker, encode)]
    if page.next_after is not None:
        head.append(_element("NextMarker", page.next_after, encode))
    return _reply(request, page, encode, head, request.account_id)


async def list_objects_v2(context: Context, request: Request) -> Response:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html"""
    query = request.query
    if query["list-type"] != "2":
        raise InvalidArgument("list-type must be 2.")
    token = query.get("continuation-token")
    start_after = query.get("start-after", "")
    after = start_after if token is None else decode_token(token)
    page, encode = await _page(context, request, after)
    head = [f"<KeyCount>{len(page.objects) + len(page.common_prefixes)}</KeyCount>"]
    if token is not None:
        head.append(f"<ContinuationToken>{xml.escape(token)}</ContinuationToken>")
    if start_after:
        head.append(_element("StartAfter", start_after, encode))
    if page.next_after is not None:
        head.append(f"<NextContinuationToken>{encode_token(page.next_after)}</NextContinuationToken>")
    owner = request.account_id if query.get("fetch-owner", "").lower() == "true" else ""
    return _reply(request, page, encode, head, owner)


async def _page(context: Context, request: Request, after: str) -> tuple[ObjectPage, Encode]:
    query = request.query
    limit = min(_max_keys(query.get("max-keys")), LIST_PAGE_MAX)
    encoding = query.get("encoding-type", "")
    if encoding not in ("", "url"):
        raise InvalidArgument("encoding-type must be url.")
    name = check_bucket(request.bucket)
    authorize(request, Action.LIST, await context.catalog.get_bucket(name))
    page = await context.catalog.list_objects(
        name, prefix=query.get("prefix", ""), delimiter=query.get("delimiter", ""), after=after, limit=limit
    )
    return page, url_encode if encoding else xml.escape


def _max_keys(text: str | None) -> int:
    if not text:
        return LIST_PAGE_MAX
    if not (text.isascii() and text.isdigit() and len(text) <= 10):
        raise InvalidArgument(f"max-keys is a number from 0 on, not {text[:40]!r}.")
    return int(text)


def url_encode(text: str) -> str:
    """`encoding-type=url`: like a path, so that any byte of a key survives XML."""
    return quote(text, safe="/*-._")


def encode_token(after: str) -> str:
    """A continuation token: opaque to clients, and safe in a URL."""
    return base64.urlsafe_b64encode(after.encode()).decode("ascii")


def decode_token(token: str) -> str:
    """InvalidArgument for a token that was not made by `encode_token`."""
    try:
        after = base64.b64decode(token, altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        after = "\0"
    if "\0" in after or len(after) > KEY_MAX_BYTES:
        raise InvalidArgument("The continuation token is not valid: take the one of the page before.")
    return after


def _reply(request: Request, page: ObjectPage, encode: Encode, head: list[str], owner: str) -> Response:
    query = request.query
    pieces = [
        f'{xml.HEADER}<ListBucketResult xmlns="{xml.NAMESPACE}"><Name>{request.bucket}</Name>',
        _element("Prefix", query.get("prefix", ""), encode),
        *head,
        f"<MaxKeys>{min(_max_keys(query.get('max-keys')), LIST_PAGE_MAX)}</MaxKeys>",
    ]
    if query.get("delimiter"):
        pieces.append(_element("Delimiter", query["delimiter"], encode))
    if encode is url_encode:
        pieces.append("<EncodingType>url</EncodingType>")
    pieces.append(f"<IsTruncated>{'false' if page.next_after is None else 'true'}</IsTruncated>")
    pieces += _contents(page.objects, encode, owner)
    pieces += [f"<CommonPrefixes><Prefix>{encode(name)}</Prefix></CommonPrefixes>" for name in page.common_prefixes]
    pieces.append("</ListBucketResult>")
    return xml_response("".join(pieces))


def _element(name: str, value: str, encode: Encode) -> str:
    return f"<{name}>{encode(value)}</{name}>"


def _contents(objects: tuple[ListedObject, ...], encode: Encode, owner: str) -> list[str]:
    """A thousand of these make a page: one string each, and each second's date is formatted once."""
    ending = "<StorageClass>STANDARD</StorageClass></Contents>"
    if owner:
        ending = f"<Owner><ID>{xml.escape(owner)}</ID><DisplayName>{xml.escape(owner)}</DisplayName></Owner>{ending}"
    stamps: dict[int, str] = {}
    pieces = []
    for item in objects:
        second, ms = divmod(item.modified_ms, 1000)
        stamp = stamps.get(second)
        if stamp is None:
            stamp = stamps[second] = xml.second(second)
        algorithms = "".join(
            [f"<ChecksumAlgorithm>{name.upper()}</ChecksumAlgorithm>" for name in item.checksum_algorithms]
        )
        pieces.append(
            f"<Contents><Key>{encode(item.key)}</Key><LastModified>{stamp}.{ms:03d}Z</LastModified>"
            f"<ETag>&quot;{item.etag}&quot;</ETag>{algorithms}<Size>{item.size}</Size>{ending}"
        )
    return pieces


_COMMON = frozenset({"prefix", "delimiter", "max-keys", "encoding-type"})

ROUTES = (
    Route("ListObjects", list_objects_v1, "GET", Level.BUCKET, query=_COMMON | {"marker"}),
    Route(
        "ListObjectsV2",
        list_objects_v2,
        "GET",
        Level.BUCKET,
        "list-type",
        query=_COMMON | {"continuation-token", "start-after", "fetch-owner"},
    ),
)
