"""Multipart uploads by boto3 against a gateway with real node processes."""

import hashlib
import io
import random
from collections.abc import Iterator
from typing import Any

import pytest
from boto3.s3.transfer import TransferConfig

from manta.core.limits import MIB, PART_MIN_BYTES
from tests.support.compat import refused
from tests.support.datapath_store import Store, s3, threaded_store

__all__ = ["s3"]

DATA = random.Random(3).randbytes(20 * MIB + 777)


@pytest.fixture(scope="module", params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    folder = tmp_path_factory.mktemp("store")
    url = "memory:" if request.param == "memory" else f"sqlite:{folder}/catalog.db"
    with threaded_store(folder, catalog_url=url) as running:
        running.gateway.boto3().create_bucket(Bucket="bucket")
        yield running


def start(s3: Any, key: str, **options: Any) -> str:
    return str(s3.create_multipart_upload(Bucket="bucket", Key=key, **options)["UploadId"])


def put_part(s3: Any, key: str, upload_id: str, number: int, data: bytes, **options: Any) -> dict[str, Any]:
    reply = s3.upload_part(Bucket="bucket", Key=key, UploadId=upload_id, PartNumber=number, Body=data, **options)
    return {"PartNumber": number, "ETag": reply["ETag"]}


def finish(s3: Any, key: str, upload_id: str, parts: list[dict[str, Any]], **options: Any) -> dict[str, Any]:
    named = {"Parts": parts}
    reply: dict[str, Any] = s3.complete_multipart_upload(
        Bucket="bucket", Key=key, UploadId=upload_id, MultipartUpload=named, **options
    )
    return reply


def body(s3: Any, key: str) -> bytes:
    data: bytes = s3.get_object(Bucket="bucket", Key=key)["Body"].read()
    return data


def growing_inodes(store: Store) -> set[int]:
    return {
        file.stat().st_ino
        for node in store.nodes.values()
        for file in (node.volume / "growing").iterdir()
        if len(file.name) == 32
    }


def blob_inodes(store: Store) -> set[int]:
    return {file.stat().st_ino for files in store.files().values() for file in files}


def test_boto3_default_upload_is_completed_without_a_copy(store: Store, s3: Any) -> None:
    before = blob_inodes(store)
    seen: set[int] = set()
    s3.meta.events.register("before-call.s3.CompleteMultipartUpload", lambda **_: seen.update(growing_inodes(store)))
    s3.upload_fileobj(io.BytesIO(DATA), "bucket", "default")
    new = blob_inodes(store) - before
    assert len(new) == 2
    assert new <= seen
    assert body(s3, "default") == DATA
    etags = b"".join(hashlib.md5(DATA[at : at + 8 * MIB]).digest() for at in range(0, len(DATA), 8 * MIB))
    assert s3.head_object(Bucket="bucket", Key="default")["ETag"] == f'"{hashlib.md5(etags).hexdigest()}-3"'


def test_odd_parts_and_replaced_parts_are_assembled(store: Store, s3: Any) -> None:
    upload_id = start(s3, "odd", ContentType="text/x-odd", Metadata={"a": "b"})
    cut = PART_MIN_BYTES + 12345
    put_part(s3, "odd", upload_id, 2, b"replaced below" * 10)
    parts = [
        put_part(s3, "odd", upload_id, 1, DATA[: 6 * MIB]),
        put_part(s3, "odd", upload_id, 2, DATA[6 * MIB : 6 * MIB + cut]),
        put_part(s3, "odd", upload_id, 7, DATA[6 * MIB + cut :]),
    ]
    finish(s3, "odd", upload_id, parts)
    head = s3.get_object(Bucket="bucket", Key="odd")
    assert head["Body"].read() == DATA
    assert (head["ContentType"], head["Metadata"]) == ("text/x-odd", {"a": "b"})
    part = s3.get_object(Bucket="bucket", Key="odd", PartNumber=7)
    assert part["Body"].read() == DATA[6 * MIB + cut :]
    assert part["PartsCount"] == 3


def test_reuploaded_part_wins(s3: Any) -> None:
    upload_id = start(s3, "again")
    put_part(s3, "again", upload_id, 1, bytes(6 * MIB))
    parts = [put_part(s3, "again", upload_id, 1, DATA[: 6 * MIB]), put_part(s3, "again", upload_id, 2, b"end")]
    finish(s3, "again", upload_id, parts)
    assert body(s3, "again") == DATA[: 6 * MIB] + b"end"


@pytest.mark.invariant("C5")
def test_completion_repeated_gets_the_same_answer(s3: Any) -> None:
    upload_id = start(s3, "twice")
    parts = [put_part(s3, "twice", upload_id, 1, b"tiny")]
    first, second = (finish(s3, "twice", upload_id, parts) for _ in range(2))
    assert (first["ETag"], first["Location"]) == (second["ETag"], second["Location"])
    assert body(s3, "twice") == b"tiny"
    other = [{"PartNumber": 1, "ETag": '"' + "0" * 32 + '"'}]
    assert refused(finish, s3, "twice", upload_id, other) == (404, "NoSuchUpload")


@pytest.mark.invariant("C5")
def test_abort_leaves_nothing(store: Store, s3: Any) -> None:
    upload_id = start(s3, "aborted")
    put_part(s3, "aborted", upload_id, 1, b"x" * MIB)
    s3.abort_multipart_upload(Bucket="bucket", Key="aborted", UploadId=upload_id)
    assert refused(put_part, s3, "aborted", upload_id, 1, b"x") == (404, "NoSuchUpload")
    assert refused(finish, s3, "aborted", upload_id, [{"PartNumber": 1, "ETag": "0" * 32}]) == (404, "NoSuchUpload")
    assert refused(s3.head_object, Bucket="bucket", Key="aborted")[0] == 404


def test_completion_is_refused_for_wrong_parts(s3: Any) -> None:
    upload_id = start(s3, "wrong")
    small = put_part(s3, "wrong", upload_id, 1, b"small")
    last = put_part(s3, "wrong", upload_id, 2, b"last")
    unknown = {"PartNumber": 3, "ETag": last["ETag"]}
    assert refused(finish, s3, "wrong", upload_id, [small, last]) == (400, "EntityTooSmall")
    assert refused(finish, s3, "wrong", upload_id, [last, small]) == (400, "InvalidPartOrder")
    assert refused(finish, s3, "wrong", upload_id, [unknown]) == (400, "InvalidPart")
    assert refused(finish, s3, "wrong", upload_id, [{"PartNumber": 1, "ETag": last["ETag"]}]) == (400, "InvalidPart")
    assert refused(finish, s3, "wrong", upload_id, []) == (400, "MalformedXML")
    assert refused(finish, s3, "wrong", upload_id, [last], MpuObjectSize=5) == (400, "InvalidRequest")
    finish(s3, "wrong", upload_id, [last], MpuObjectSize=4)
    assert body(s3, "wrong") == b"last"


@pytest.mark.invariant("C3")
def test_conditional_completion(s3: Any) -> None:
    s3.put_object(Bucket="bucket", Key="there", Body=b"old")
    upload_id = start(s3, "there")
    parts = [put_part(s3, "there", upload_id, 1, DATA[: 5 * MIB])]
    assert refused(finish, s3, "there", upload_id, parts, IfNoneMatch="*") == (412, "PreconditionFailed")
    assert body(s3, "there") == b"old"
    etag = s3.head_object(Bucket="bucket", Key="there")["ETag"]
    finish(s3, "there", upload_id, parts, IfMatch=etag)
    assert body(s3, "there") == DATA[: 5 * MIB]


@pytest.mark.parametrize(
    ("algorithm", "kind"),
    [
        ("CRC32", "COMPOSITE"),
        ("CRC32", "FULL_OBJECT"),
        ("CRC32C", "FULL_OBJECT"),
        ("CRC64NVME", "FULL_OBJECT"),
        ("SHA256", "COMPOSITE"),
        ("SHA1", "COMPOSITE"),
    ],
)
def test_checksums_of_parts_make_the_objects(store: Store, s3: Any, algorithm: str, kind: str) -> None:
    key = f"sums/{algorithm}/{kind}"
    created = s3.create_multipart_upload(Bucket="bucket", Key=key, ChecksumAlgorithm=algorithm, ChecksumType=kind)
    upload_id = created["UploadId"]
    assert (created["ChecksumAlgorithm"], created["ChecksumType"]) == (algorithm, kind)
    parts = []
    for number, data in enumerate((DATA[: 5 * MIB], DATA[5 * MIB : 6 * MIB]), 1):
        reply = s3.upload_part(
            Bucket="bucket",
            Key=key,
            UploadId=upload_id,
            PartNumber=number,
            Body=data,
            ChecksumAlgorithm=algorithm,
        )
        member = f"Checksum{algorithm}"
        parts.append({"PartNumber": number, "ETag": reply["ETag"], member: reply[member]})
    wrong = [parts[0], {**parts[1], member: parts[0][member]}]
    assert refused(finish, s3, key, upload_id, wrong) == (400, "InvalidPart")
    done = finish(s3, key, upload_id, parts, ChecksumType=kind)
    head = s3.head_object(Bucket="bucket", Key=key, ChecksumMode="ENABLED")
    assert head[member] == done[member]
    assert head["ChecksumType"] == kind
    if kind == "FULL_OBJECT":
        whole = s3.put_object(Bucket="bucket", Key="whole", Body=DATA[: 6 * MIB], ChecksumAlgorithm=algorithm)
        assert whole[member] == done[member]
    else:
        assert done[member].endswith("-2")


def test_part_with_another_algorithm_or_a_wrong_checksum_is_refused(s3: Any) -> None:
    upload_id = start(s3, "mixed", ChecksumAlgorithm="SHA256")
    assert refused(put_part, s3, "mixed", upload_id, 1, b"x", ChecksumAlgorithm="CRC32C") == (400, "InvalidRequest")
    assert refused(put_part, s3, "mixed", upload_id, 1, b"x", ChecksumSHA256="A" * 43 + "=") == (400, "BadDigest")
    wrong = {"ContentMD5": "A" * 22 + "==", "ChecksumAlgorithm": "SHA256"}
    assert refused(put_part, s3, "mixed", upload_id, 1, b"x", **wrong) == (400, "BadDigest")
    assert "Parts" not in s3.list_parts(Bucket="bucket", Key="mixed", UploadId=upload_id)


def test_impossible_checksum_types_are_refused(s3: Any) -> None:
    for algorithm, kind in (("SHA256", "FULL_OBJECT"), ("CRC64NVME", "COMPOSITE")):
        assert refused(start, s3, "no", ChecksumAlgorithm=algorithm, ChecksumType=kind) == (400, "InvalidRequest")


def test_listings_page(s3: Any) -> None:
    upload_id = start(s3, "listed/a")
    for number in (1, 2, 5):
        put_part(s3, "listed/a", upload_id, number, b"x" * number)
    others = [start(s3, key) for key in ("listed/a", "listed/b/1", "listed/b/2", "listed/c")]
    pages = s3.get_paginator("list_parts").paginate(
        Bucket="bucket", Key="listed/a", UploadId=upload_id, PaginationConfig={"PageSize": 2}
    )
    assert [(part["PartNumber"], part["Size"]) for page in pages for part in page["Parts"]] == [(1, 1), (2, 2), (5, 5)]
    pages = s3.get_paginator("list_multipart_uploads").paginate(
        Bucket="bucket", Prefix="listed/", PaginationConfig={"PageSize": 2}
    )
    found = [(one["Key"], one["UploadId"]) for page in pages for one in page["Uploads"]]
    keys = ["listed/a", "listed/a", "listed/b/1", "listed/b/2", "listed/c"]
    assert found == sorted(zip(keys, [upload_id, *others], strict=True))
    grouped = s3.list_multipart_uploads(Bucket="bucket", Prefix="listed/", Delimiter="/")
    assert [one["Prefix"] for one in grouped["CommonPrefixes"]] == ["listed/b/"]
    assert len(grouped["Uploads"]) == 3


def test_part_copy_takes_a_range(store: Store, s3: Any) -> None:
    s3.put_object(Bucket="bucket", Key="source", Body=DATA)
    upload_id = start(s3, "copied")
    before = blob_inodes(store)
    parts = []
    for number, (first, last) in enumerate(((5, 6 * MIB + 4), (100, 5000)), 1):
        reply = s3.upload_part_copy(
            Bucket="bucket",
            Key="copied",
            UploadId=upload_id,
            PartNumber=number,
            CopySource={"Bucket": "bucket", "Key": "source"},
            CopySourceRange=f"bytes={first}-{last}",
        )
        etag = reply["CopyPartResult"]["ETag"]
        assert etag == f'"{hashlib.md5(DATA[first : last + 1]).hexdigest()}"'
        parts.append({"PartNumber": number, "ETag": etag})
    growing = growing_inodes(store)
    finish(s3, "copied", upload_id, parts)
    assert body(s3, "copied") == DATA[5 : 6 * MIB + 5] + DATA[100:5001]
    assert blob_inodes(store) - before <= growing


def test_part_copy_refuses_what_it_may_not_have(s3: Any) -> None:
    s3.put_object(Bucket="bucket", Key="source", Body=b"0123456789")
    common = {"Bucket": "bucket", "Key": "copied", "UploadId": start(s3, "copied"), "PartNumber": 1}
    source = {"Bucket": "bucket", "Key": "source"}
    copy = s3.upload_part_copy
    assert refused(copy, **common, CopySource=source, CopySourceRange="bytes=5-10") == (416, "InvalidRange")
    assert refused(copy, **common, CopySource=source, CopySourceRange="bytes=5-") == (400, "InvalidArgument")
    assert refused(copy, **common, CopySource=source, CopySourceIfMatch="x") == (412, "PreconditionFailed")
    assert refused(copy, **common, CopySource={**source, "Key": "no"}) == (404, "NoSuchKey")


def test_streamed_parts_of_many_threads(s3: Any) -> None:
    config = TransferConfig(multipart_threshold=5 * MIB, multipart_chunksize=5 * MIB, max_concurrency=8)
    s3.upload_fileobj(io.BytesIO(DATA), "bucket", "threads", Config=config)
    assert body(s3, "threads") == DATA
