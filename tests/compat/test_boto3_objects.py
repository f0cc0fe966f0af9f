"""boto3 puts, reads, copies and deletes objects, over http and https, as programs in the field use it."""

import hashlib
import io
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import botocore
import pytest
import urllib3
from boto3.s3.transfer import TransferConfig

from manta.core.limits import MIB
from tests.support.compat import DOMAIN, Endpoint, names_lead_home, refused

BIG = random.Random(5).randbytes(20 * MIB + 4321)
TRANSFER = TransferConfig(multipart_threshold=8 * MIB, multipart_chunksize=5 * MIB, max_concurrency=4)


class Pipe(io.RawIOBase):
    """Bytes that can be read once and not sought, as from another process."""

    def __init__(self, data: bytes) -> None:
        self._source = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._source.readinto(buffer)


@pytest.mark.parametrize("size", [0, 1, 65_537, 3 * MIB + 7])
def test_bytes_and_streams_come_back(s3: Any, bucket: str, size: int) -> None:
    data = BIG[:size]
    etag = f'"{hashlib.md5(data).hexdigest()}"'
    for key, body in [("bytes", data), ("stream", io.BytesIO(data))]:
        assert s3.put_object(Bucket=bucket, Key=key, Body=body)["ETag"] == etag
        got = s3.get_object(Bucket=bucket, Key=key)
        assert (got["Body"].read(), got["ContentLength"], got["ETag"]) == (data, size, etag)
        head = s3.head_object(Bucket=bucket, Key=key)
        assert (head["ContentLength"], head["ETag"]) == (size, etag)


@pytest.mark.parametrize("size", [0, 8 * MIB - 1, len(BIG)])
def test_upload_fileobj_and_parallel_download(s3: Any, bucket: str, size: int, tmp_path: Path) -> None:
    """Downloads send ranges in parallel, each with If-Match."""
    data = BIG[:size]
    for key, source in [("file", io.BytesIO(data)), ("pipe", Pipe(data))]:
        s3.upload_fileobj(source, bucket, key, Config=TRANSFER, ExtraArgs={"ContentType": "x/y"})
        target = tmp_path / key
        s3.download_file(bucket, key, str(target), Config=TRANSFER)
        assert target.read_bytes() == data
        head = s3.head_object(Bucket=bucket, Key=key)
        parts = -(-size // (5 * MIB))
        assert (head["ContentLength"], head["ContentType"]) == (size, "x/y")
        assert head["ETag"].endswith(f'-{parts}"') == (size >= 8 * MIB)


def test_a_download_notices_that_the_object_was_replaced(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"first")
    etag = s3.head_object(Bucket=bucket, Key="k")["ETag"]
    s3.put_object(Bucket=bucket, Key="k", Body=b"other")
    refusal = refused(s3.get_object, Bucket=bucket, Key="k", Range="bytes=1-3", IfMatch=etag)
    assert refusal == (412, "PreconditionFailed")


@pytest.mark.parametrize(
    ("header", "start", "stop"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=100-", 100, 2 * MIB),
        ("bytes=-100", 2 * MIB - 100, 2 * MIB),
        (f"bytes={MIB - 1}-{MIB}", MIB - 1, MIB + 1),
        (f"bytes=7-{10 * MIB}", 7, 2 * MIB),
    ],
)
def test_ranges(s3: Any, bucket: str, header: str, start: int, stop: int) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=BIG[: 2 * MIB])
    got = s3.get_object(Bucket=bucket, Key="k", Range=header)
    assert got["Body"].read() == BIG[start:stop]
    assert got["ContentRange"] == f"bytes {start}-{stop - 1}/{2 * MIB}"
    assert refused(s3.get_object, Bucket=bucket, Key="k", Range=f"bytes={2 * MIB}-") == (416, "InvalidRange")


def test_copies(s3: Any, bucket: str) -> None:
    """A managed copy uses CopyObject for small objects and UploadPartCopy for large ones."""
    s3.upload_fileobj(io.BytesIO(BIG), bucket, "from +%41/é", Config=TRANSFER, ExtraArgs={"Metadata": {"a": "1"}})
    source = {"Bucket": bucket, "Key": "from +%41/é"}
    s3.copy_object(Bucket=bucket, Key="plain", CopySource=source)
    s3.copy(source, bucket, "managed", Config=TRANSFER)
    s3.copy_object(Bucket=bucket, Key="new", CopySource=source, MetadataDirective="REPLACE", Metadata={"b": "2"})
    for key, metadata in [("plain", {"a": "1"}), ("managed", {"a": "1"}), ("new", {"b": "2"})]:
        got = s3.get_object(Bucket=bucket, Key=key)
        assert got["Body"].read() == BIG
        if key != "managed":  # boto3 does not carry metadata into a multipart copy
            assert got["Metadata"] == metadata
    assert refused(s3.copy_object, Bucket=bucket, Key="x", CopySource={"Bucket": bucket, "Key": "none"}) == (
        404,
        "NoSuchKey",
    )


def test_deletes(s3: Any, bucket: str) -> None:
    keys = [f"k{n}" for n in range(20)]
    for key in keys:
        s3.put_object(Bucket=bucket, Key=key, Body=b"")
    s3.delete_object(Bucket=bucket, Key="k0")
    s3.delete_object(Bucket=bucket, Key="k0")
    assert refused(s3.get_object, Bucket=bucket, Key="k0") == (404, "NoSuchKey")
    reply = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key} for key in keys]})
    assert {item["Key"] for item in reply["Deleted"]} == set(keys)
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0


def test_metadata_rules(endpoint: Endpoint, s3: Any, bucket: str) -> None:
    """ASCII by header; other alphabets as RFC 2047 words, which come back as they were sent."""
    given = {"colour": "blue", "empty": "", "inner": "a  b", "word": "=?UTF-8?B?xLc=?=", "mixed-case": "X y"}
    s3.put_object(Bucket=bucket, Key="k", Body=b"v", Metadata=given | {"UPPER": "Case"})
    assert s3.head_object(Bucket=bucket, Key="k")["Metadata"] == given | {"upper": "Case"}
    with pytest.raises(botocore.exceptions.ParamValidationError):
        s3.put_object(Bucket=bucket, Key="k", Body=b"v", Metadata={"name": "ķ"})
    assert refused(s3.put_object, Bucket=bucket, Key="k", Metadata={"a": "x" * 2049}) == (400, "MetadataTooLarge")


@pytest.mark.invariant("S1")
@pytest.mark.parametrize("signature", ["s3v4", "default"])
def test_presigned_urls(endpoint: Endpoint, bucket: str, signature: str) -> None:
    """boto3's default may be the older SigV2 query form, which is refused with what to do instead."""
    client = endpoint.boto3(**({"signature_version": "s3v4"} if signature == "s3v4" else {}))
    at = {"Bucket": bucket, "Key": "dir/a +%41é"}
    put, get = (client.generate_presigned_url(verb, at, ExpiresIn=60) for verb in ("put_object", "get_object"))
    pool_options: dict[str, Any] = {"ca_certs": str(endpoint.certificate.chain)} if endpoint.certificate else {}
    with urllib3.PoolManager(**pool_options) as pool:
        if "X-Amz-Signature" not in put:
            reply = pool.request("PUT", put, body=b"shared")
            assert (reply.status, b"s3v4" in reply.data) == (400, True)
        else:
            assert pool.request("PUT", put, body=b"shared").status == 200
            assert pool.request("GET", get).data == b"shared"
            assert pool.request("GET", get, headers={"Range": "bytes=1-2"}).data == b"ha"
            assert pool.request("GET", get.replace("Expires=60", "Expires=61")).status == 403
            assert pool.request("PUT", get, body=b"other").status == 403
            assert client.get_object(**at)["Body"].read() == b"shared"
    client.close()


def test_errors_are_those_that_programs_catch(s3: Any, endpoint: Endpoint, bucket: str) -> None:
    with pytest.raises(s3.exceptions.NoSuchKey):
        s3.get_object(Bucket=bucket, Key="none")
    with pytest.raises(s3.exceptions.NoSuchBucket):
        s3.list_objects_v2(Bucket="no-such-bucket")
    with pytest.raises(s3.exceptions.NoSuchUpload):
        s3.list_parts(Bucket=bucket, Key="k", UploadId="0" * 32)
    assert refused(s3.head_object, Bucket=bucket, Key="none") == (404, "404")
    assert refused(s3.head_bucket, Bucket="no-such-bucket") == (404, "404")
    assert refused(s3.create_bucket, Bucket="Not_A_Bucket") == (400, "InvalidBucketName")
    s3.put_object(Bucket=bucket, Key="k", Body=b"")
    assert refused(s3.delete_bucket, Bucket=bucket) == (409, "BucketNotEmpty")
    for access_key, secret_key, code in [
        ("NOSUCHKEY", "secret", "InvalidAccessKeyId"),
        (endpoint.store.access_key, "wrong", "SignatureDoesNotMatch"),
    ]:
        stranger = endpoint.boto3()
        stranger._request_signer._credentials.access_key = access_key
        stranger._request_signer._credentials.secret_key = secret_key
        assert refused(stranger.list_buckets) == (403, code)
        stranger.close()


def test_a_large_body_that_is_refused_gets_its_answer(s3: Any, bucket: str) -> None:
    """The client hears why, though it still has megabytes to send, and the next request is served."""
    for options, refusal in [
        ({"Bucket": "no-such-bucket", "Key": "k"}, (404, "NoSuchBucket")),
        ({"Bucket": bucket, "Key": "k" * 1025}, (400, "KeyTooLongError")),
        ({"Bucket": bucket, "Key": "k", "ACL": "public-read"}, (501, "NotImplemented")),
        ({"Bucket": bucket, "Key": "k", "IfMatch": '"0"'}, (404, "NoSuchKey")),
    ]:
        assert refused(s3.put_object, Body=BIG, **options) == refusal
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0


def test_a_stream_without_a_length_is_refused_as_by_s3(secure: Endpoint) -> None:
    """boto3 sends it in chunks without x-amz-decoded-content-length; upload_fileobj is the way."""
    client = secure.client
    client.create_bucket(Bucket="lengths")
    refusal = refused(client.put_object, Bucket="lengths", Key="k", Body=Pipe(BIG))
    assert refusal == (411, "MissingContentLength")
    client.delete_bucket(Bucket="lengths")


@pytest.fixture
def virtual(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A client that names the bucket in the host, as S3's own endpoints want it."""
    scheme = "https" if endpoint.secure else "http"
    client = endpoint.boto3(url=f"{scheme}://{DOMAIN}:{endpoint.port}", s3={"addressing_style": "virtual"})
    with names_lead_home(monkeypatch):
        yield client
    client.close()


def test_virtual_host_addressing(virtual: Any, s3: Any, bucket: str) -> None:
    hosts: list[str] = []
    virtual.meta.events.register("before-send.s3", lambda request, **_: hosts.append(request.url))
    for key in ("k", "a//b +%41", "_manta/v1/jobs", f"{bucket}/k"):
        virtual.put_object(Bucket=bucket, Key=key, Body=key.encode())
        assert virtual.get_object(Bucket=bucket, Key=key)["Body"].read() == key.encode()
        assert s3.get_object(Bucket=bucket, Key=key)["Body"].read() == key.encode()
    virtual.copy_object(Bucket=bucket, Key="copy", CopySource={"Bucket": bucket, "Key": "a//b +%41"})
    virtual.upload_fileobj(io.BytesIO(BIG), bucket, "big", Config=TRANSFER)
    assert virtual.list_objects_v2(Bucket=bucket)["KeyCount"] == 6
    assert virtual.head_bucket(Bucket=bucket)["ResponseMetadata"]["HTTPStatusCode"] == 200
    virtual.delete_object(Bucket=bucket, Key="big")
    assert refused(virtual.get_object, Bucket=bucket, Key="big") == (404, "NoSuchKey")
    assert hosts
    assert all(url.split("/")[2].startswith(f"{bucket}.{DOMAIN}") for url in hosts)
