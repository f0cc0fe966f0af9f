"""The five checksum algorithms of S3 on whole objects and multipart uploads, made and verified by botocore itself."""

import base64
import hashlib
import io
import random
from typing import Any

import pytest
from awscrt import checksums as crt
from boto3.s3.transfer import TransferConfig

from manta.core.limits import MIB
from tests.support.compat import Endpoint, refused

DATA = random.Random(9).randbytes(6 * MIB + 99)
FIRST, SECOND = DATA[: 5 * MIB], DATA[5 * MIB :]
KINDS = [
    *((name, "FULL_OBJECT") for name in ("CRC32", "CRC32C", "CRC64NVME")),
    *((name, "COMPOSITE") for name in ("CRC32", "CRC32C", "SHA1", "SHA256")),
]


def digest(algorithm: str, data: bytes) -> bytes:
    """By another implementation than the store's, where there is one."""
    if algorithm.startswith("CRC"):
        value: int = getattr(crt, algorithm.lower())(data)
        return value.to_bytes(8 if algorithm == "CRC64NVME" else 4, "big")
    return hashlib.new(algorithm.lower(), data).digest()


def text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def expected(algorithm: str, kind: str) -> str:
    if kind == "FULL_OBJECT":
        return text(digest(algorithm, DATA))
    joined = digest(algorithm, FIRST) + digest(algorithm, SECOND)
    return text(digest(algorithm, joined)) + "-2"


@pytest.mark.parametrize("algorithm", ["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"])
def test_of_whole_objects(s3: Any, bucket: str, algorithm: str) -> None:
    name = f"Checksum{algorithm}"
    right = text(digest(algorithm, SECOND))
    put = s3.put_object(Bucket=bucket, Key="k", Body=io.BytesIO(SECOND), ChecksumAlgorithm=algorithm)
    assert (put[name], put["ChecksumType"]) == (right, "FULL_OBJECT")
    for read in (s3.get_object, s3.head_object):
        got = read(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
        assert (got[name], got["ChecksumType"]) == (right, "FULL_OBJECT")
        if "Body" in got:
            assert got["Body"].read() == SECOND  # botocore compares the checksum as it reads
    s3.put_object(Bucket=bucket, Key="given", Body=SECOND, **{name: right})
    wrong = text(bytes(len(digest(algorithm, b""))))
    assert refused(s3.put_object, Bucket=bucket, Key="k", Body=b"other", **{name: wrong}) == (400, "BadDigest")
    copied = s3.copy_object(Bucket=bucket, Key="copy", CopySource=f"{bucket}/k", ChecksumAlgorithm=algorithm)
    assert copied["CopyObjectResult"][name] == right
    listed = s3.list_objects_v2(Bucket=bucket, Prefix="k")["Contents"][0]
    assert listed["ChecksumAlgorithm"] == [algorithm]


@pytest.mark.parametrize(("algorithm", "kind"), KINDS)
def test_of_multipart_uploads(s3: Any, bucket: str, algorithm: str, kind: str) -> None:
    name = f"Checksum{algorithm}"
    upload = s3.create_multipart_upload(Bucket=bucket, Key="k", ChecksumAlgorithm=algorithm, ChecksumType=kind)
    assert (upload["ChecksumAlgorithm"], upload["ChecksumType"]) == (algorithm, kind)
    where = {"Bucket": bucket, "Key": "k", "UploadId": upload["UploadId"]}
    parts = []
    for number, data in [(1, FIRST), (2, SECOND)]:
        reply = s3.upload_part(**where, PartNumber=number, Body=data, ChecksumAlgorithm=algorithm)
        assert reply[name] == text(digest(algorithm, data))
        parts.append({"PartNumber": number, "ETag": reply["ETag"], name: reply[name]})
    assert [part[name] for part in s3.list_parts(**where)["Parts"]] == [part[name] for part in parts]
    damaged = [parts[0] | {name: text(bytes(len(digest(algorithm, b""))))}, parts[1]]
    refusal = refused(s3.complete_multipart_upload, **where, MultipartUpload={"Parts": damaged})
    assert refusal == (400, "InvalidPart")
    options = {"ChecksumType": kind, name: expected(algorithm, kind)}
    done = s3.complete_multipart_upload(**where, MultipartUpload={"Parts": parts}, **options)
    assert (done[name], done["ChecksumType"]) == (expected(algorithm, kind), kind)
    got = s3.get_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    assert (got[name], got["ChecksumType"]) == (expected(algorithm, kind), kind)
    assert got["Body"].read() == DATA
    part = s3.get_object(Bucket=bucket, Key="k", PartNumber=2)
    assert (part["Body"].read(), part["PartsCount"]) == (SECOND, 2)


def test_a_wrong_checksum_of_the_whole_is_refused(s3: Any, bucket: str) -> None:
    upload = s3.create_multipart_upload(
        Bucket=bucket, Key="k", ChecksumAlgorithm="CRC64NVME", ChecksumType="FULL_OBJECT"
    )
    where = {"Bucket": bucket, "Key": "k", "UploadId": upload["UploadId"]}
    etag = s3.upload_part(**where, PartNumber=1, Body=b"part", ChecksumAlgorithm="CRC64NVME")["ETag"]
    parts = {"Parts": [{"PartNumber": 1, "ETag": etag}]}
    wrong = {"ChecksumCRC64NVME": text(bytes(8)), "ChecksumType": "FULL_OBJECT"}
    assert refused(s3.complete_multipart_upload, **where, MultipartUpload=parts, **wrong) == (400, "BadDigest")
    assert refused(s3.head_object, Bucket=bucket, Key="k") == (404, "404")
    s3.abort_multipart_upload(**where)


@pytest.mark.parametrize("algorithm", [None, "CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"])
def test_of_managed_uploads(s3: Any, bucket: str, algorithm: str | None) -> None:
    """upload_fileobj chooses the calls; None is boto3's default."""
    extra = {"ChecksumAlgorithm": algorithm} if algorithm else {}
    config = TransferConfig(multipart_threshold=5 * MIB, multipart_chunksize=5 * MIB)
    s3.upload_fileobj(io.BytesIO(DATA), bucket, "k", ExtraArgs=extra, Config=config)
    got = s3.get_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    assert got["Body"].read() == DATA
    kind = got["ChecksumType"]
    assert got[f"Checksum{algorithm or 'CRC32'}"] == expected(algorithm or "CRC32", kind)


def test_the_algorithm_named_as_minio_clients_name_it(endpoint: Endpoint, bucket: str) -> None:
    """minio-go, and restic and mc with it, send x-amz-checksum-algorithm, with a trailer of that kind or without."""
    for calculation in ("when_required", "when_supported"):
        client = endpoint.boto3(request_checksum_calculation=calculation)
        options = {"ChecksumAlgorithm": "CRC32C"} if calculation == "when_supported" else {}
        client.meta.events.register(
            "before-sign.s3.PutObject",
            lambda request, **_: request.headers.add_header("x-amz-checksum-algorithm", "CRC32C"),
        )
        client.put_object(Bucket=bucket, Key="k", Body=SECOND, **options)
        got = client.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
        assert got["ChecksumCRC32C"] == text(digest("CRC32C", SECOND))
        client.close()
