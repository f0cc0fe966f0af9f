"""Conditional requests by many clients at once, each with a connection of its own."""

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.support.compat import Endpoint, refused

RACERS = 12
CLIENTS = 4
INCREMENTS = 10


def outcome(call: Callable[..., Any], **arguments: Any) -> int:
    try:
        status: int = call(**arguments)["ResponseMetadata"]["HTTPStatusCode"]
    except ClientError as error:
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
    return status


@pytest.mark.invariant("C3")
def test_one_of_many_racing_creations_wins(endpoint: Endpoint, bucket: str) -> None:
    """C3: exactly one `If-None-Match: *` gets 200, and its bytes are what is there."""
    client = endpoint.boto3()
    start = threading.Barrier(RACERS)

    def create(racer: int, key: str) -> int:
        start.wait(60)
        return outcome(client.put_object, Bucket=bucket, Key=key, Body=str(racer).encode(), IfNoneMatch="*")

    with ThreadPoolExecutor(RACERS) as pool:
        for round_ in range(5):
            key = f"race-{round_}"
            statuses = list(pool.map(create, range(RACERS), [key] * RACERS))
            # S3 itself may answer 409 to a loser whose rival is still being written.
            assert statuses.count(200) == 1
            assert set(statuses) <= {200, 409, 412}
            winner = statuses.index(200)
            assert client.get_object(Bucket=bucket, Key=key)["Body"].read() == str(winner).encode()
    client.close()


@pytest.mark.invariant("C4")
def test_a_counter_by_if_match_counts_every_success(endpoint: Endpoint, bucket: str) -> None:
    """C4: the counter ends equal to the number of 200s."""
    client = endpoint.boto3()
    client.put_object(Bucket=bucket, Key="n", Body=b"0")

    def count(_: int) -> Counter[int]:
        seen: Counter[int] = Counter()
        while seen[200] < INCREMENTS:
            got = client.get_object(Bucket=bucket, Key="n")
            value = int(got["Body"].read()) + 1
            status = outcome(client.put_object, Bucket=bucket, Key="n", Body=str(value).encode(), IfMatch=got["ETag"])
            seen[status] += 1
        return seen

    with ThreadPoolExecutor(CLIENTS) as pool:
        seen = sum(pool.map(count, range(CLIENTS)), Counter[int]())
    assert set(seen) <= {200, 409, 412}
    assert int(client.get_object(Bucket=bucket, Key="n")["Body"].read()) == seen[200] == CLIENTS * INCREMENTS
    client.close()


@pytest.mark.invariant("C3")
def test_a_multipart_upload_is_completed_only_where_nothing_is(s3: Any, bucket: str) -> None:
    where = {"Bucket": bucket, "Key": "k"}
    where["UploadId"] = s3.create_multipart_upload(**where)["UploadId"]
    parts = {"Parts": [{"PartNumber": 1, "ETag": s3.upload_part(**where, PartNumber=1, Body=b"new")["ETag"]}]}
    etag = s3.put_object(Bucket=bucket, Key="k", Body=b"old")["ETag"]
    complete = s3.complete_multipart_upload
    assert refused(complete, **where, MultipartUpload=parts, IfNoneMatch="*") == (412, "PreconditionFailed")
    assert refused(complete, **where, MultipartUpload=parts, IfMatch='"0"') == (412, "PreconditionFailed")
    complete(**where, MultipartUpload=parts, IfMatch=etag)
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"new"


def test_the_error_names_the_condition(s3: Any, bucket: str) -> None:
    """s3fs tells an existing file from other failures by it."""
    at = {"Bucket": bucket, "Key": "k"}
    s3.put_object(**at, Body=b"v")
    for call, options, condition in [
        (s3.put_object, {"IfNoneMatch": "*"}, "If-None-Match"),
        (s3.put_object, {"IfMatch": '"0"'}, "If-Match"),
        (s3.delete_object, {"IfMatch": '"0"'}, "If-Match"),
        (s3.get_object, {"IfMatch": '"0"'}, "If-Match"),
        (s3.get_object, {"IfUnmodifiedSince": "2001-01-01"}, "If-Unmodified-Since"),
    ]:
        with pytest.raises(ClientError) as caught:
            call(**at, **options)
        assert caught.value.response["Error"]["Condition"] == condition


def test_conditional_reads_copies_and_deletes(s3: Any, bucket: str) -> None:
    at = {"Bucket": bucket, "Key": "k"}
    etag = s3.put_object(**at, Body=b"v")["ETag"]
    when = s3.head_object(**at)["LastModified"]
    assert refused(s3.get_object, **at, IfNoneMatch=etag) == (304, "304")
    assert refused(s3.get_object, **at, IfModifiedSince=when) == (304, "304")
    assert s3.get_object(**at, IfMatch=etag, IfUnmodifiedSince=when)["Body"].read() == b"v"
    copy = {"Bucket": bucket, "Key": "copy", "CopySource": at}
    assert refused(s3.copy_object, **copy, CopySourceIfMatch='"0"') == (412, "PreconditionFailed")
    assert refused(s3.copy_object, **copy, CopySourceIfNoneMatch=etag) == (412, "PreconditionFailed")
    s3.copy_object(**copy, CopySourceIfMatch=etag, IfNoneMatch="*")
    assert refused(s3.copy_object, **copy, IfNoneMatch="*") == (412, "PreconditionFailed")
    assert refused(s3.delete_object, **at, IfMatch='"0"') == (412, "PreconditionFailed")
    s3.delete_object(**at, IfMatch=etag)
    assert refused(s3.put_object, **at, Body=b"v", IfMatch=etag) == (404, "NoSuchKey")
