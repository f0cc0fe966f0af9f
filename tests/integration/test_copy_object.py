"""CopyObject by boto3: no byte moves, metadata and conditions as S3 has them, sources checked like any name (S2)."""

import random
from collections.abc import Iterator
from typing import Any

import pytest

from manta.catalog.records import AccessKey, Account
from manta.core.limits import MIB
from tests.support.compat import refused
from tests.support.datapath_store import Store, threaded_store

DATA = random.Random(6).randbytes(MIB + 5)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with threaded_store(tmp_path_factory.mktemp("store"), nodes=1, copies=1) as running:
        client = running.gateway.boto3()
        client.create_bucket(Bucket="bucket")
        client.create_bucket(Bucket="other")
        client.close()
        yield running


@pytest.fixture
def s3(store: Store) -> Iterator[Any]:
    client = store.gateway.boto3()
    client.put_object(
        Bucket="bucket", Key="dir/a b+ü%?", Body=DATA, ContentType="text/a", Metadata={"k": "v"}, CacheControl="c"
    )
    yield client
    client.close()


SOURCE = {"Bucket": "bucket", "Key": "dir/a b+ü%?"}


def test_copy_moves_no_byte_and_keeps_what_describes_the_object(store: Store, s3: Any) -> None:
    before = store.files()
    reply = s3.copy_object(Bucket="other", Key="b", CopySource=SOURCE)
    assert store.files() == before
    source, copy = s3.head_object(**SOURCE), s3.get_object(Bucket="other", Key="b", ChecksumMode="ENABLED")
    assert copy["Body"].read() == DATA
    assert reply["CopyObjectResult"]["ETag"] == copy["ETag"] == source["ETag"]
    assert (copy["ContentType"], copy["Metadata"], copy["CacheControl"]) == ("text/a", {"k": "v"}, "c")
    assert reply["CopyObjectResult"]["ChecksumCRC32"] == copy["ChecksumCRC32"]


def test_metadata_is_replaced_on_demand(s3: Any) -> None:
    options = {"MetadataDirective": "REPLACE", "Metadata": {"new": "1"}, "ContentType": "text/b"}
    s3.copy_object(**SOURCE, CopySource=SOURCE, **options)
    head = s3.head_object(**SOURCE)
    assert (head["Metadata"], head["ContentType"]) == ({"new": "1"}, "text/b")
    assert "CacheControl" not in head


def test_copy_to_itself_must_change_something(s3: Any) -> None:
    assert refused(s3.copy_object, **SOURCE, CopySource=SOURCE) == (400, "InvalidRequest")


def test_another_checksum_is_computed(s3: Any) -> None:
    reply = s3.copy_object(Bucket="other", Key="sum", CopySource=SOURCE, ChecksumAlgorithm="SHA256")
    whole = s3.put_object(Bucket="other", Key="whole", Body=DATA, ChecksumAlgorithm="SHA256")
    assert reply["CopyObjectResult"]["ChecksumSHA256"] == whole["ChecksumSHA256"]


def test_empty_object_is_copied(s3: Any) -> None:
    s3.put_object(Bucket="bucket", Key="empty", Body=b"")
    s3.copy_object(Bucket="bucket", Key="empty2", CopySource={"Bucket": "bucket", "Key": "empty"})
    assert s3.get_object(Bucket="bucket", Key="empty2")["Body"].read() == b""


def test_conditions_on_source_and_destination(s3: Any) -> None:
    etag = s3.head_object(**SOURCE)["ETag"]
    target = {"Bucket": "other", "Key": "conditional", "CopySource": SOURCE}
    failed = (412, "PreconditionFailed")
    assert refused(s3.copy_object, **target, CopySourceIfMatch="no") == failed
    assert refused(s3.copy_object, **target, CopySourceIfNoneMatch=etag) == failed
    s3.copy_object(**target, CopySourceIfMatch=etag, IfNoneMatch="*")
    assert refused(s3.copy_object, **target, IfNoneMatch="*") == failed


@pytest.mark.invariant("S2")
@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("bucket/../../etc/passwd", (404, "NoSuchKey")),
        ("bucket/%2e%2e/%2e%2e/etc/passwd", (404, "NoSuchKey")),
        ("bucket/dir%252Fa", (404, "NoSuchKey")),
        ("bucket/dir/a%00", (400, "InvalidURI")),
        ("bucket/%ff", (400, "InvalidURI")),
        ("../bucket/key", (400, "InvalidBucketName")),
        ("..%2fother/key", (400, "InvalidBucketName")),
        ("bucket", (400, "InvalidArgument")),
        ("bucket/", (400, "InvalidArgument")),
        ("bucket/key?versionId=abc", (404, "NoSuchVersion")),
        ("bucket/key?acl", (400, "InvalidArgument")),
        ("no-such-bucket/key", (404, "NoSuchBucket")),
        ("bucket/" + "k" * 1025, (400, "KeyTooLongError")),
        ("arn:aws:s3:us-east-1:1:accesspoint/a/object/b", (501, "NotImplemented")),
    ],
)
def test_hostile_sources_are_names_and_nothing_else(s3: Any, source: str, error: tuple[int, str]) -> None:
    def put_raw(params: dict[str, Any], **_: Any) -> None:
        params["headers"]["x-amz-copy-source"] = source

    s3.meta.events.register("before-call.s3.CopyObject", put_raw)
    assert refused(s3.copy_object, Bucket="other", Key="stolen", CopySource=SOURCE) == error


@pytest.mark.invariant("S1")
def test_source_needs_a_permission_of_its_own(store: Store, s3: Any) -> None:
    async def stranger() -> None:
        await store.catalog.create_account(Account("stranger", "stranger", "Stranger", "", 0))
        await store.catalog.add_key(AccessKey("STRANGER", "stranger-secret", "stranger"))

    store.run(stranger)
    other = store.gateway.boto3("STRANGER", "stranger-secret")
    other.create_bucket(Bucket="strangers")
    target = {"Bucket": "strangers", "Key": "stolen"}
    assert refused(other.copy_object, **target, CopySource=SOURCE) == (403, "AccessDenied")
    upload_id = other.create_multipart_upload(**target)["UploadId"]
    part = {"UploadId": upload_id, "PartNumber": 1, "CopySource": SOURCE}
    assert refused(other.upload_part_copy, **target, **part) == (403, "AccessDenied")
    assert refused(other.copy_object, Bucket="bucket", Key="x", CopySource=SOURCE) == (403, "AccessDenied")
    assert refused(s3.copy_object, **target, CopySource=SOURCE, ExpectedSourceBucketOwner="stranger")[0] == 403
    other.close()
