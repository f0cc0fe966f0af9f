"""S3's verbs against a running gateway, through boto3."""

import asyncio
import base64
import hashlib
import json
import zlib
from collections.abc import Coroutine, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import urllib3
from botocore.exceptions import ClientError

from manta.catalog.records import BucketKind, ObjectPart
from manta.core.limits import MIB
from manta.core.names import new_id
from tests.support.compat import refused
from tests.support.gateway import (
    MemoryBlobs,
    RunningGateway,
    running_gateway,
    signed_request,
    threaded_gateway,
    wire,
)


@pytest.fixture(scope="module")
def gateway() -> Iterator[RunningGateway]:
    with threaded_gateway(MemoryBlobs(files=True)) as running:
        yield running


@pytest.fixture(scope="module")
def s3(gateway: RunningGateway) -> Iterator[Any]:
    client = gateway.boto3()
    client.create_bucket(Bucket="bkt")
    yield client
    client.close()


def test_buckets(s3: Any) -> None:
    s3.create_bucket(Bucket="second")
    s3.create_bucket(Bucket="second")
    assert {"bkt", "second"} <= {bucket["Name"] for bucket in s3.list_buckets()["Buckets"]}
    assert s3.head_bucket(Bucket="second")["BucketRegion"] == "us-east-1"
    assert s3.get_bucket_location(Bucket="second")["LocationConstraint"] is None
    assert "Status" not in s3.get_bucket_versioning(Bucket="second")
    s3.put_object(Bucket="second", Key="k", Body=b"")
    assert refused(s3.delete_bucket, Bucket="second") == (409, "BucketNotEmpty")
    s3.delete_object(Bucket="second", Key="k")
    s3.delete_bucket(Bucket="second")
    assert refused(s3.head_bucket, Bucket="second") == (404, "404")
    assert refused(s3.list_objects_v2, Bucket="second") == (404, "NoSuchBucket")
    assert refused(s3.create_bucket, Bucket="job-1") == (400, "InvalidBucketName")
    elsewhere = {"LocationConstraint": "mars-1"}
    assert refused(s3.create_bucket, Bucket="third", CreateBucketConfiguration=elsewhere)[0] == 400


@pytest.mark.parametrize("size", [0, 1, 4096, 256 * 1024, 256 * 1024 + 1, 5 * MIB])
def test_bytes_come_back_in_every_size(s3: Any, size: int) -> None:
    body = bytes(zlib.crc32(bytes([n & 255])) & 255 for n in range(min(size, 4096))) * (size // 4096 or 1)
    body = (body + bytes(size))[:size]
    put = s3.put_object(Bucket="bkt", Key="sized", Body=body)
    assert put["ETag"] == f'"{hashlib.md5(body).hexdigest()}"'
    got = s3.get_object(Bucket="bkt", Key="sized")
    assert got["Body"].read() == body
    assert (got["ContentLength"], got["ETag"], got["ContentType"]) == (size, put["ETag"], "binary/octet-stream")
    head = s3.head_object(Bucket="bkt", Key="sized")
    assert (head["ContentLength"], head["ETag"]) == (size, put["ETag"])


def test_headers_and_metadata_are_echoed(s3: Any) -> None:
    given = {
        "CacheControl": "max-age=1",
        "ContentDisposition": 'attachment; filename="a b"',
        "ContentEncoding": "identity",
        "ContentLanguage": "mi-NZ",
        "ContentType": "text/plain; charset=utf-8",
        "Metadata": {"colour": "blue", "empty": ""},
    }
    s3.put_object(Bucket="bkt", Key="meta", Body=b"v", Expires=datetime(2030, 1, 2, tzinfo=UTC), **given)
    for read in (s3.get_object, s3.head_object):
        got = read(Bucket="bkt", Key="meta")
        assert {name: got[name] for name in given} == given
        assert got["ExpiresString"] == "Wed, 02 Jan 2030 00:00:00 GMT"
        if "Body" in got:
            assert got["Body"].read() == b"v"
    got = s3.get_object(
        Bucket="bkt",
        Key="meta",
        ResponseContentType="x/y",
        ResponseContentDisposition="inline",
        ResponseCacheControl="no",
    )
    assert got["Body"].read() == b"v"
    assert (got["ContentType"], got["ContentDisposition"], got["CacheControl"]) == ("x/y", "inline", "no")
    assert refused(s3.put_object, Bucket="bkt", Key="m", Metadata={"a": "x" * 2100}) == (400, "MetadataTooLarge")


@pytest.mark.parametrize("algorithm", ["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"])
def test_checksums_are_verified_stored_and_echoed(s3: Any, algorithm: str) -> None:
    name = f"Checksum{algorithm}"
    put = s3.put_object(Bucket="bkt", Key="sum", Body=b"hello", ChecksumAlgorithm=algorithm)
    assert put["ChecksumType"] == "FULL_OBJECT"
    head = s3.head_object(Bucket="bkt", Key="sum", ChecksumMode="ENABLED")
    assert head[name] == put[name]
    assert name not in s3.head_object(Bucket="bkt", Key="sum")
    zeros = base64.b64encode(bytes(len(base64.b64decode(put[name])))).decode()
    assert refused(s3.put_object, Bucket="bkt", Key="sum", Body=b"hello", **{name: zeros}) == (400, "BadDigest")
    listed = s3.list_objects_v2(Bucket="bkt", Prefix="sum")["Contents"]
    assert listed[0]["ChecksumAlgorithm"] == [algorithm]


def test_if_range_gives_the_whole_of_a_changed_object(gateway: RunningGateway, s3: Any) -> None:
    etag = s3.put_object(Bucket="bkt", Key="resumed", Body=b"0123456789")["ETag"]
    url = s3.generate_presigned_url("get_object", Params={"Bucket": "bkt", "Key": "resumed"})
    with urllib3.PoolManager() as pool:
        for unchanged, status, body in [(etag, 206, b"234"), ('"other"', 200, b"0123456789")]:
            got = pool.request("GET", url, headers={"Range": "bytes=2-4", "If-Range": unchanged})
            assert (got.status, got.data) == (status, body)


def test_an_override_never_breaks_out_of_its_header(s3: Any) -> None:
    s3.put_object(Bucket="bkt", Key="split", Body=b"")
    for value in ("a\r\nX-Injected: 1", "a\nb", "a\0b"):
        arguments = {"Bucket": "bkt", "Key": "split", "ResponseContentDisposition": value}
        assert refused(s3.get_object, **arguments)[0] == 400


def test_buckets_are_listed_in_pages(s3: Any) -> None:
    for name in ("page-1", "page-2", "page-3"):
        s3.create_bucket(Bucket=name)
    pages = s3.get_paginator("list_buckets").paginate(Prefix="page-", PaginationConfig={"PageSize": 2})
    assert [[bucket["Name"] for bucket in page["Buckets"]] for page in pages] == [["page-1", "page-2"], ["page-3"]]
    assert refused(s3.list_buckets, MaxBuckets=10_001)[0] == 400


def test_content_md5(s3: Any) -> None:
    right = base64.b64encode(hashlib.md5(b"hello").digest()).decode()
    s3.put_object(Bucket="bkt", Key="md5", Body=b"hello", ContentMD5=right)
    assert refused(s3.put_object, Bucket="bkt", Key="md5", Body=b"other", ContentMD5=right) == (400, "BadDigest")
    assert refused(s3.put_object, Bucket="bkt", Key="md5", Body=b"x", ContentMD5="short") == (400, "InvalidDigest")
    assert s3.get_object(Bucket="bkt", Key="md5")["Body"].read() == b"hello"


@pytest.mark.parametrize("size", [10, 100_000, 3 * MIB])
def test_ranges(s3: Any, size: int) -> None:
    body = bytes(n * 7 & 255 for n in range(1000)) * (size // 1000 + 1)
    body = body[:size]
    s3.put_object(Bucket="bkt", Key="range", Body=body)
    for header, expected in [
        ("bytes=0-0", body[:1]),
        ("bytes=3-", body[3:]),
        ("bytes=-4", body[-4:]),
        (f"bytes=2-{size * 2}", body[2:]),
        (f"bytes=0-{size - 1}", body),
    ]:
        got = s3.get_object(Bucket="bkt", Key="range", Range=header)
        assert got["ResponseMetadata"]["HTTPStatusCode"] == 206
        assert got["Body"].read() == expected
        assert got["ContentRange"].endswith(f"/{size}")
        assert s3.head_object(Bucket="bkt", Key="range", Range=header)["ContentLength"] == len(expected)
    whole = s3.get_object(Bucket="bkt", Key="range", Range="bytes=0-1,4-5")
    assert (whole["ResponseMetadata"]["HTTPStatusCode"], whole["Body"].read()) == (200, body)
    assert refused(s3.get_object, Bucket="bkt", Key="range", Range=f"bytes={size}-") == (416, "InvalidRange")
    got = s3.get_object(Bucket="bkt", Key="range", PartNumber=1)
    assert got["Body"].read() == body
    assert refused(s3.get_object, Bucket="bkt", Key="range", PartNumber=2) == (416, "InvalidPartNumber")


def test_conditional_reads(s3: Any) -> None:
    etag = s3.put_object(Bucket="bkt", Key="cond", Body=b"v")["ETag"]
    modified = s3.head_object(Bucket="bkt", Key="cond")["LastModified"]
    at = {"Bucket": "bkt", "Key": "cond"}
    assert s3.get_object(**at, IfMatch=etag)["Body"].read() == b"v"
    assert refused(s3.get_object, **at, IfMatch='"other"') == (412, "PreconditionFailed")
    assert refused(s3.get_object, **at, IfNoneMatch=etag) == (304, "304")
    assert refused(s3.head_object, **at, IfNoneMatch=etag) == (304, "304")
    assert refused(s3.get_object, **at, IfModifiedSince=modified) == (304, "304")
    assert refused(s3.get_object, **at, IfUnmodifiedSince=modified - timedelta(hours=1)) == (412, "PreconditionFailed")
    assert s3.get_object(**at, IfUnmodifiedSince=modified)["Body"].read() == b"v"


def test_no_object_has_tags_and_a_copying_client_may_ask(s3: Any) -> None:
    s3.put_object(Bucket="bkt", Key="untagged", Body=b"v")
    assert s3.get_object_tagging(Bucket="bkt", Key="untagged")["TagSet"] == []
    assert refused(s3.get_object_tagging, Bucket="bkt", Key="absent") == (404, "NoSuchKey")
    assert refused(s3.get_object_tagging, Bucket="absent", Key="absent") == (404, "NoSuchBucket")


def test_a_304_tells_a_cache_how_long_its_copy_is_good(s3: Any) -> None:
    etag = s3.put_object(Bucket="bkt", Key="cached", Body=b"v", CacheControl="max-age=60", ContentType="a/b")["ETag"]
    with pytest.raises(ClientError) as caught:
        s3.get_object(Bucket="bkt", Key="cached", IfNoneMatch=etag)
    headers = caught.value.response["ResponseMetadata"]["HTTPHeaders"]
    assert (headers["etag"], headers["cache-control"]) == (etag, "max-age=60")
    assert not {"content-type", "content-length"} & headers.keys()


@pytest.mark.invariant("C3", "C4")
def test_conditional_writes(s3: Any) -> None:
    at = {"Bucket": "bkt", "Key": "once"}
    etag = s3.put_object(**at, Body=b"1", IfNoneMatch="*")["ETag"]
    assert refused(s3.put_object, **at, Body=b"2", IfNoneMatch="*") == (412, "PreconditionFailed")
    assert refused(s3.put_object, **at, Body=b"2", IfMatch='"other"') == (412, "PreconditionFailed")
    s3.put_object(**at, Body=b"2", IfMatch=etag)
    assert refused(s3.put_object, Bucket="bkt", Key="absent", Body=b"", IfMatch=etag) == (404, "NoSuchKey")
    assert refused(s3.delete_object, **at, IfMatch=etag) == (412, "PreconditionFailed")
    assert s3.get_object(**at)["Body"].read() == b"2"


def test_listing(s3: Any) -> None:
    s3.create_bucket(Bucket="listed")
    keys = sorted(["a", "a b&<>", "d/1", "d/2", "d/e/3", "z\u00e9\U0001f41f", "\n", "\u6f22"])
    for key in keys:
        s3.put_object(Bucket="listed", Key=key, Body=b"x")
    for call, paging in [("list_objects_v2", {"PageSize": 2}), ("list_objects", {"PageSize": 3})]:
        pages = list(s3.get_paginator(call).paginate(Bucket="listed", PaginationConfig=paging))
        assert [item["Key"] for page in pages for item in page["Contents"]] == keys
        grouped = list(s3.get_paginator(call).paginate(Bucket="listed", Delimiter="/", PaginationConfig=paging))
        assert [item["Prefix"] for page in grouped for item in page.get("CommonPrefixes", [])] == ["d/"]
        flat = [item["Key"] for page in grouped for item in page.get("Contents", [])]
        assert flat == [key for key in keys if not key.startswith("d/")]
    page = s3.list_objects_v2(Bucket="listed", Prefix="d/", StartAfter="d/1", FetchOwner=True)
    assert [item["Key"] for item in page["Contents"]] == ["d/2", "d/e/3"]
    assert page["Contents"][0]["Owner"]["ID"] == "root"
    assert (page["KeyCount"], page["IsTruncated"]) == (2, False)
    assert s3.list_objects_v2(Bucket="listed", MaxKeys=0)["KeyCount"] == 0
    assert refused(s3.list_objects_v2, Bucket="listed", ContinuationToken="%%")[0] == 400
    reply = s3.delete_objects(Bucket="listed", Delete={"Objects": [{"Key": key} for key in [*keys, "never"]]})
    assert sorted(item["Key"] for item in reply["Deleted"]) == sorted([*keys, "never"])
    s3.delete_bucket(Bucket="listed")


def test_delete_objects_quietly_and_bounded(s3: Any) -> None:
    s3.put_object(Bucket="bkt", Key="quiet", Body=b"")
    reply = s3.delete_objects(Bucket="bkt", Delete={"Quiet": True, "Objects": [{"Key": "quiet"}]})
    assert "Deleted" not in reply
    too_many = {"Objects": [{"Key": str(n)} for n in range(1001)]}
    assert refused(s3.delete_objects, Bucket="bkt", Delete=too_many) == (400, "MalformedXML")


def test_what_is_not_implemented_says_so(s3: Any) -> None:
    at = {"Bucket": "bkt", "Key": "k"}
    calls: list[tuple[Any, dict[str, Any]]] = [
        (s3.get_bucket_acl, {"Bucket": "bkt"}),
        (s3.put_bucket_versioning, {"Bucket": "bkt", "VersioningConfiguration": {"Status": "Enabled"}}),
        (s3.get_bucket_lifecycle_configuration, {"Bucket": "bkt"}),
        (s3.list_object_versions, {"Bucket": "bkt"}),
        (s3.put_object_tagging, {**at, "Tagging": {"TagSet": [{"Key": "a", "Value": "b"}]}}),
        (s3.put_object, {**at, "ACL": "public-read"}),
        (s3.put_object, {**at, "StorageClass": "GLACIER"}),
        (s3.put_object, {**at, "ServerSideEncryption": "AES256"}),
        (s3.put_object, {**at, "Tagging": "a=b"}),
    ]
    for call, arguments in calls:
        assert refused(call, **arguments) == (501, "NotImplemented")
    s3.put_object(**at, ACL="private", StorageClass="STANDARD", Body=b"")
    s3.put_object(**at, ACL="bucket-owner-full-control", ExpectedBucketOwner="root", Body=b"")
    assert refused(s3.put_object, **at, ExpectedBucketOwner="somebody") == (403, "AccessDenied")


@pytest.mark.invariant("S1")
def test_presigned_urls(gateway: RunningGateway, s3: Any) -> None:
    s3.put_object(Bucket="bkt", Key="signed url", Body=b"shared")
    url = s3.generate_presigned_url(
        "get_object", Params={"Bucket": "bkt", "Key": "signed url", "ResponseContentType": "text/x"}
    )
    with urllib3.PoolManager() as pool:
        got = pool.request("GET", url)
        assert (got.status, got.data, got.headers["content-type"]) == (200, b"shared", "text/x")
        assert pool.request("GET", url.replace("text%2Fx", "text%2Fy")).status == 403
        assert pool.request("DELETE", url).status == 403
        assert pool.request("GET", f"{gateway.url}/bkt/signed%20url").status == 403


async def test_virtual_host_style() -> None:
    async with running_gateway(domain="store.test") as gateway, wire(gateway) as line:
        await gateway.context.catalog.create_bucket("vhost", "root", 1)
        seen = replace(gateway, host="vhost.store.test")
        assert (await line.ask(signed_request(seen, "PUT", "/_manta/v1/jobs", b"a key"))).status == 200
        assert (await line.ask(signed_request(gateway, "GET", "/vhost/_manta/v1/jobs"))).body == b"a key"
        assert b"<Key>_manta/v1/jobs</Key>" in (await line.ask(signed_request(seen, "GET", "/?list-type=2"))).body


@pytest.mark.invariant("S7", "O2")
def test_the_access_log_tells_what_happened_and_no_secret(tmp_path: Path) -> None:
    with threaded_gateway(log_dir=str(tmp_path)) as gateway:
        client = gateway.boto3()
        client.create_bucket(Bucket="logged")
        client.put_object(Bucket="logged", Key="k", Body=b"12345")
        url = client.generate_presigned_url("get_object", Params={"Bucket": "logged", "Key": "k"})
        with urllib3.PoolManager() as pool:
            assert pool.request("GET", url).data == b"12345"
        client.close()
    lines = [json.loads(line) for line in (tmp_path / "access.log").read_text().splitlines()]
    assert [line["operation"] for line in lines] == ["CreateBucket", "PutObject", "GetObject"]
    assert [line["status"] for line in lines] == [200, 200, 200]
    assert (lines[1]["bytes_in"], lines[2]["bytes_out"], lines[2]["account"]) == (5, 5, "root")
    signature = url.partition("X-Amz-Signature=")[2] or url.partition("Signature=")[2]
    assert signature.split("&")[0] not in (tmp_path / "access.log").read_text()


def in_gateway(gateway: RunningGateway, work: Coroutine[Any, Any, Any]) -> Any:
    """Runs in the gateway's own loop."""
    assert gateway.loop is not None
    return asyncio.run_coroutine_threadsafe(work, gateway.loop).result(30)


def test_parts_of_an_uploaded_object_are_read_by_number(gateway: RunningGateway, s3: Any) -> None:
    s3.put_object(Bucket="bkt", Key="parts", Body=b"aaabbc")
    catalog = gateway.context.catalog
    version = in_gateway(gateway, catalog.locate("bkt", "parts")).object
    parts = (ObjectPart(2, 3), ObjectPart(5, 2), ObjectPart(9, 1))
    uploaded = replace(
        version, version_id=new_id(version.modified_ms), attributes=replace(version.attributes, parts=parts)
    )
    in_gateway(gateway, catalog.put_object("bkt", uploaded, new_blob=False))
    for number, expected, span in [(2, b"aaa", "0-2"), (5, b"bb", "3-4"), (9, b"c", "5-5")]:
        got = s3.get_object(Bucket="bkt", Key="parts", PartNumber=number)
        assert (got["Body"].read(), got["ContentRange"], got["PartsCount"]) == (expected, f"bytes {span}/6", 3)
        head = s3.head_object(Bucket="bkt", Key="parts", PartNumber=number)
        assert (head["ContentLength"], head["PartsCount"]) == (len(expected), 3)
    assert refused(s3.get_object, Bucket="bkt", Key="parts", PartNumber=1) == (416, "InvalidPartNumber")
    assert refused(s3.get_object, Bucket="bkt", Key="parts", PartNumber=2, Range="bytes=0-1")[0] == 400


def test_a_jobs_bucket_is_read_by_its_owner_and_written_by_nobody(gateway: RunningGateway, s3: Any) -> None:
    name = "job-" + "0" * 20
    in_gateway(gateway, gateway.context.catalog.create_bucket(name, "root", 1, BucketKind.JOB))
    assert s3.list_objects_v2(Bucket=name)["KeyCount"] == 0
    assert name not in {bucket["Name"] for bucket in s3.list_buckets()["Buckets"]}
    assert refused(s3.put_object, Bucket=name, Key="k", Body=b"") == (403, "AccessDenied")
    assert refused(s3.delete_object, Bucket=name, Key="k") == (403, "AccessDenied")
    assert refused(s3.delete_objects, Bucket=name, Delete={"Objects": [{"Key": "k"}]}) == (403, "AccessDenied")
    assert refused(s3.delete_bucket, Bucket=name) == (403, "AccessDenied")
