"""ListParts of an open upload, and ListMultipartUploads of a bucket."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from manta.catalog.records import Part, Upload
from manta.core.errors import InvalidArgument
from manta.core.limits import LIST_PAGE_MAX, PARTS_MAX
from manta.core.names import check_bucket, check_key
from manta.gateway.access import Action, authorize
from manta.gateway.context import Context
from manta.gateway.http import xml
from manta.gateway.http.request import Request
from manta.gateway.http.responses import Response, xml_response
from manta.gateway.ops.copy import checksum_elements
from manta.gateway.ops.list import url_encode
from manta.gateway.router import Level, Route


async def list_parts(context: Context, request: Request) -> Response:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListParts.html"""
    bucket_name, key, query = check_bucket(request.bucket), check_key(request.key), request.query
    limit = min(_number(query, "max-parts", LIST_PAGE_MAX), LIST_PAGE_MAX)
    after = _number(query, "part-number-marker", 0)
    authorize(request, Action.READ, await context.catalog.get_bucket(bucket_name))
    upload = await context.catalog.get_upload(bucket_name, key, query["uploadId"])
    parts = await context.catalog.list_parts(upload.upload_id, after=min(after, PARTS_MAX), limit=limit + 1)
    page, more = parts[:limit], len(parts) > limit > 0
    algorithm = ""
    if upload.checksum_algorithm is not None and upload.checksum_type is not None:
        algorithm = (
            f"<ChecksumAlgorithm>{upload.checksum_algorithm.value.upper()}</ChecksumAlgorithm>"
            f"<ChecksumType>{upload.checksum_type.value}</ChecksumType>"
        )
    content = (
        f"<Bucket>{xml.escape(bucket_name)}</Bucket><Key>{xml.escape(key)}</Key><UploadId>{upload.upload_id}</UploadId>"
        f"<PartNumberMarker>{after}</PartNumberMarker>"
        f"<NextPartNumberMarker>{page[-1].number if page else 0}</NextPartNumberMarker>"
        f"<MaxParts>{limit}</MaxParts><IsTruncated>{_truth(more)}</IsTruncated>{algorithm}"
        f"{_people(upload)}<StorageClass>STANDARD</StorageClass>{''.join(map(_part, page))}"
    )
    return xml_response(xml.document("ListPartsResult", content))


def _part(part: Part) -> str:
    return (
        f"<Part><PartNumber>{part.number}</PartNumber><LastModified>{xml.timestamp(part.modified_ms)}</LastModified>"
        f"<ETag>&quot;{part.etag}&quot;</ETag><Size>{part.size}</Size>"
        f"{checksum_elements(part.checksums, with_type=False)}</Part>"
    )


def _people(upload: Upload) -> str:
    person = f"<ID>{xml.escape(upload.owner_id)}</ID><DisplayName>{xml.escape(upload.owner_id)}</DisplayName>"
    return f"<Initiator>{person}</Initiator><Owner>{person}</Owner>"


@dataclass(slots=True)
class UploadPage:
    """Uploads and common prefixes together are at most `limit`. `last` is where the next page begins after."""

    limit: int
    uploads: list[Upload] = field(default_factory=list)
    prefixes: list[str] = field(default_factory=list)
    last: tuple[str, str] = ("", "")
    more: bool = False

    def add(self, upload: Upload, prefix: str, delimiter: str) -> bool:
        """Whether it found room."""
        end = upload.key.find(delimiter, len(prefix)) if delimiter else -1
        group = upload.key[: end + len(delimiter)] if end >= 0 else ""
        if group and self.prefixes[-1:] == [group]:
            self.last = (upload.key, upload.upload_id)
            return True
        if len(self.uploads) + len(self.prefixes) >= self.limit:
            self.more = self.limit > 0
            return False
        if group:
            self.prefixes.append(group)
        else:
            self.uploads.append(upload)
        self.last = (upload.key, upload.upload_id)
        return True


async def list_multipart_uploads(context: Context, request: Request) -> Response:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListMultipartUploads.html"""
    bucket_name, query = check_bucket(request.bucket), request.query
    if query.get("encoding-type", "") not in ("", "url"):
        raise InvalidArgument("encoding-type must be url.")
    authorize(request, Action.READ, await context.catalog.get_bucket(bucket_name))
    page = UploadPage(min(_number(query, "max-uploads", LIST_PAGE_MAX), LIST_PAGE_MAX))
    await _fill(context, bucket_name, query, page)
    return xml_response(xml.document("ListMultipartUploadsResult", _uploads_xml(bucket_name, query, page)))


async def _fill(context: Context, bucket_name: str, query: Mapping[str, str], page: UploadPage) -> None:
    prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
    after = _after(query)
    while True:
        found = await context.catalog.list_uploads(bucket_name, prefix=prefix, after=after, limit=LIST_PAGE_MAX)
        for upload in found:
            if not page.add(upload, prefix, delimiter):
                return
        if len(found) < LIST_PAGE_MAX:
            return
        after = (found[-1].key, found[-1].upload_id)


def _after(query: Mapping[str, str]) -> tuple[str, str]:
    """Without an upload id the marker's key is left out as a whole: upload ids are hexadecimal, so `~` is above all."""
    key = query.get("key-marker", "")
    return (key, query.get("upload-id-marker", "") or "~") if key else ("", "")


def _uploads_xml(bucket_name: str, query: Mapping[str, str], page: UploadPage) -> str:
    encode = url_encode if query.get("encoding-type") else xml.escape
    pieces = [
        f"<Bucket>{xml.escape(bucket_name)}</Bucket><KeyMarker>{encode(query.get('key-marker', ''))}</KeyMarker>"
        f"<UploadIdMarker>{xml.escape(query.get('upload-id-marker', ''))}</UploadIdMarker>"
        f"<Prefix>{encode(query.get('prefix', ''))}</Prefix><MaxUploads>{page.limit}</MaxUploads>"
        f"<IsTruncated>{_truth(page.more)}</IsTruncated>"
    ]
    if query.get("delimiter"):
        pieces.append(f"<Delimiter>{encode(query['delimiter'])}</Delimiter>")
    if query.get("encoding-type"):
        pieces.append("<EncodingType>url</EncodingType>")
    if page.more:
        key, upload_id = page.last
        pieces.append(f"<NextKeyMarker>{encode(key)}</NextKeyMarker>")
        pieces.append(f"<NextUploadIdMarker>{upload_id}</NextUploadIdMarker>")
    for upload in page.uploads:
        pieces.append(
            f"<Upload><Key>{encode(upload.key)}</Key><UploadId>{upload.upload_id}</UploadId>{_people(upload)}"
            f"<StorageClass>STANDARD</StorageClass><Initiated>{xml.timestamp(upload.initiated_ms)}</Initiated></Upload>"
        )
    pieces += [f"<CommonPrefixes><Prefix>{encode(name)}</Prefix></CommonPrefixes>" for name in page.prefixes]
    return "".join(pieces)


def _number(query: Mapping[str, str], name: str, default: int) -> int:
    text = query.get(name)
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 10):
        raise InvalidArgument(f"{name} is a number from 0 on, not {text[:40]!r}.")
    return int(text)


def _truth(value: bool) -> str:
    return "true" if value else "false"


ROUTES = (
    Route(
        "ListParts", list_parts, "GET", Level.OBJECT, "uploadId", query=frozenset({"max-parts", "part-number-marker"})
    ),
    Route(
        "ListMultipartUploads",
        list_multipart_uploads,
        "GET",
        Level.BUCKET,
        "uploads",
        query=frozenset({"prefix", "delimiter", "key-marker", "upload-id-marker", "max-uploads", "encoding-type"}),
    ),
)
