"""Corner cases in which stores that speak S3 are known to differ from it, each with S3's own answer."""

from collections.abc import Iterator
from typing import Any

import pytest

from manta.core.limits import MIB
from tests.support.compat import refused


@pytest.fixture
def upload(s3: Any, bucket: str) -> Iterator[dict[str, str]]:
    """Where an open upload is; what the test leaves open is aborted."""
    at = {"Bucket": bucket, "Key": "in parts"}
    yield at | {"UploadId": s3.create_multipart_upload(**at)["UploadId"]}
    for left in s3.list_multipart_uploads(Bucket=bucket).get("Uploads", []):
        s3.abort_multipart_upload(**at, UploadId=left["UploadId"])


def complete(s3: Any, upload: dict[str, str], *parts: tuple[int, str]) -> dict[str, Any]:
    named = {"Parts": [{"PartNumber": number, "ETag": etag} for number, etag in parts]}
    return upload | {"MultipartUpload": named}


def test_what_a_completion_may_name(s3: Any, upload: dict[str, str]) -> None:
    first, second = (s3.upload_part(**upload, PartNumber=n, Body=b"%d" % n)["ETag"] for n in (1, 7))
    finish = s3.complete_multipart_upload
    assert refused(finish, **complete(s3, upload)) == (400, "MalformedXML")
    assert refused(finish, **complete(s3, upload, (1, "f" * 32))) == (400, "InvalidPart")
    assert refused(finish, **complete(s3, upload, (2, first))) == (400, "InvalidPart")
    assert refused(finish, **complete(s3, upload, (1, first), (1, first))) == (400, "InvalidPartOrder")
    assert refused(finish, **complete(s3, upload, (7, second), (1, first))) == (400, "InvalidPartOrder")
    assert refused(finish, **complete(s3, upload, (1, first), (7, second))) == (400, "EntityTooSmall")
    for number in (0, 10_001):
        assert refused(s3.upload_part, **upload, PartNumber=number, Body=b"") == (400, "InvalidArgument")
    finish(**complete(s3, upload, (7, second)))
    assert s3.get_object(Bucket=upload["Bucket"], Key=upload["Key"])["Body"].read() == b"7"


def test_an_upload_of_one_empty_part_is_an_empty_object(s3: Any, upload: dict[str, str]) -> None:
    etag = s3.upload_part(**upload, PartNumber=1, Body=b"")["ETag"]
    s3.complete_multipart_upload(**complete(s3, upload, (1, etag)))
    assert s3.get_object(Bucket=upload["Bucket"], Key=upload["Key"])["Body"].read() == b""


def test_a_part_that_is_sent_again_in_another_size_counts_as_it_came_last(s3: Any, upload: dict[str, str]) -> None:
    s3.upload_part(**upload, PartNumber=1, Body=b"1" * (5 * MIB))
    again = s3.upload_part(**upload, PartNumber=1, Body=b"2" * (6 * MIB))["ETag"]
    last = s3.upload_part(**upload, PartNumber=3, Body=b"3" * 7)["ETag"]
    s3.complete_multipart_upload(**complete(s3, upload, (1, again), (3, last)))
    got = s3.get_object(Bucket=upload["Bucket"], Key=upload["Key"])["Body"].read()
    assert got == b"2" * (6 * MIB) + b"3" * 7
    part = s3.get_object(Bucket=upload["Bucket"], Key=upload["Key"], PartNumber=3)
    assert (part["Body"].read(), part["PartsCount"]) == (b"3" * 7, 2)


@pytest.mark.parametrize("asked", ["0-2", "bytes=0", "bytes=hello-world", "bytes=0-x", "bytes=1-", "bytes=0-2,3-5"])
def test_a_malformed_range_of_a_copied_part_is_refused(s3: Any, upload: dict[str, str], asked: str) -> None:
    s3.put_object(Bucket=upload["Bucket"], Key="source", Body=b"0123456789")
    source = {"CopySource": f"{upload['Bucket']}/source", "CopySourceRange": asked}
    assert refused(s3.upload_part_copy, **upload, PartNumber=1, **source) == (400, "InvalidArgument")


@pytest.mark.parametrize(
    ("delimiter", "prefixes"),
    [("/", ["0/", "foo+1/", "foo/"]), ("o", ["fo"]), (" ", ["a "]), ("%", []), ("\n", []), ("oo/", ["foo/"])],
)
def test_delimiters_are_any_text(s3: Any, bucket: str, delimiter: str, prefixes: list[str]) -> None:
    for key in ("foo/bar", "foo/baz/x", "a b", "foo+1/x", "1999", "1999#", "1999+", "2000", "0/"):
        s3.put_object(Bucket=bucket, Key=key, Body=b"")
    for call in (s3.list_objects, s3.list_objects_v2):
        reply = call(Bucket=bucket, Delimiter=delimiter)
        assert [item["Prefix"] for item in reply.get("CommonPrefixes", [])] == prefixes
        assert reply["Delimiter"] == delimiter


def test_empty_and_far_markers(s3: Any, bucket: str) -> None:
    for key in ("a", "b/1", "b/2", "c"):
        s3.put_object(Bucket=bucket, Key=key, Body=b"")
    assert s3.list_objects_v2(Bucket=bucket, ContinuationToken="")["KeyCount"] == 4
    assert s3.list_objects_v2(Bucket=bucket, StartAfter="\n")["KeyCount"] == 4
    assert s3.list_objects_v2(Bucket=bucket, StartAfter="zz")["KeyCount"] == 0
    inside = s3.list_objects_v2(Bucket=bucket, StartAfter="b/1", Delimiter="/")
    assert [item["Prefix"] for item in inside["CommonPrefixes"]] == ["b/"]
    first = s3.list_objects(Bucket=bucket, Delimiter="/", MaxKeys=2)
    assert (first["IsTruncated"], first["NextMarker"]) == (True, "b/")
    rest = s3.list_objects(Bucket=bucket, Delimiter="/", Marker="b/")
    assert ([item["Key"] for item in rest["Contents"]], "CommonPrefixes" in rest) == (["c"], False)
    for call in (s3.list_objects, s3.list_objects_v2):
        none = call(Bucket=bucket, MaxKeys=0)
        assert ("Contents" in none, none["IsTruncated"], none["MaxKeys"]) == (False, False, 0)


def test_a_copy_onto_itself_must_change_something(s3: Any, bucket: str) -> None:
    at = {"Bucket": bucket, "Key": "same", "CopySource": {"Bucket": bucket, "Key": "same"}}
    s3.put_object(Bucket=bucket, Key="same", Body=b"v", CacheControl="no-store", Metadata={"a": "1"})
    assert refused(s3.copy_object, **at) == (400, "InvalidRequest")
    s3.copy_object(**at, MetadataDirective="REPLACE", Metadata={"b": "2"}, ContentType="text/x")
    found = s3.head_object(Bucket=bucket, Key="same")
    assert (found["Metadata"], found["ContentType"], "CacheControl" in found) == ({"b": "2"}, "text/x", False)
    s3.copy_object(**at | {"Key": "other"}, Metadata={"ignored": "by COPY"})
    assert s3.head_object(Bucket=bucket, Key="other")["Metadata"] == {"b": "2"}


def test_an_empty_header_is_none(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"v", ContentType="", CacheControl="")
    found = s3.head_object(Bucket=bucket, Key="k")
    assert (found["ContentType"], "CacheControl" in found) == ("binary/octet-stream", False)


def test_a_thousand_keys_are_deleted_at_once(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="5", Body=b"")
    doomed = {"Objects": [{"Key": str(number)} for number in range(1000)]}
    assert len(s3.delete_objects(Bucket=bucket, Delete=doomed)["Deleted"]) == 1000
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0
    assert refused(s3.delete_objects, Bucket=bucket, Delete={"Objects": []}) == (400, "MalformedXML")
