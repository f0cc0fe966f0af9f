"""What this store does not have is refused, never silently ignored: every operation and every option that boto3 knows.

botocore's own description of S3 is the list, so that what AWS adds shows up here with the next release of boto3.
"""

from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.support.compat import Endpoint, refused

IMPLEMENTED = {
    "AbortMultipartUpload",
    "CompleteMultipartUpload",
    "CopyObject",
    "CreateBucket",
    "CreateMultipartUpload",
    "DeleteBucket",
    "DeleteBucketPolicy",
    "DeleteObject",
    "DeleteObjects",
    "GetBucketLocation",
    "GetBucketPolicy",
    "GetBucketVersioning",
    "GetObject",
    "GetObjectTagging",
    "HeadBucket",
    "HeadObject",
    "ListBuckets",
    "ListMultipartUploads",
    "ListObjects",
    "ListObjectsV2",
    "ListParts",
    "PutBucketPolicy",
    "PutObject",
    "UploadPart",
    "UploadPartCopy",
}
ELSEWHERE = {
    "WriteGetObjectResponse",  # sent to a host of AWS's own
    "CreateSession",  # only for directory buckets, whose hosts are AWS's own
    "ListDirectoryBuckets",
}

HONOURED = """
    Body Bucket CacheControl ContentDisposition ContentEncoding ContentLanguage ContentLength ContentMD5 ContentType
    Expires Key Metadata MetadataDirective Range PartNumber UploadId MultipartUpload Delete CreateBucketConfiguration
    IfMatch IfNoneMatch IfModifiedSince IfUnmodifiedSince ExpectedBucketOwner MpuObjectSize
    CopySource CopySourceIfMatch CopySourceIfNoneMatch CopySourceIfModifiedSince CopySourceIfUnmodifiedSince
    CopySourceRange ExpectedSourceBucketOwner
    ResponseCacheControl ResponseContentDisposition ResponseContentEncoding ResponseContentLanguage
    ResponseContentType ResponseExpires
    ChecksumAlgorithm ChecksumType ChecksumMode ChecksumCRC32 ChecksumCRC32C ChecksumCRC64NVME ChecksumSHA1
    ChecksumSHA256
    Prefix Delimiter Marker MaxKeys EncodingType ContinuationToken StartAfter FetchOwner KeyMarker UploadIdMarker
    MaxBuckets MaxUploads MaxParts PartNumberMarker VersionId Policy
"""
AS_IT_IS = {
    "ACL": ["private", "bucket-owner-full-control"],
    "StorageClass": ["STANDARD"],
    "ObjectOwnership": ["BucketOwnerEnforced"],
    "ObjectLockLegalHoldStatus": ["OFF"],
    "TaggingDirective": ["COPY"],
}
"""Values that ask for the state every bucket and object has anyway."""


SCALARS = {
    "boolean": True,
    "integer": 1,
    "long": 1,
    "timestamp": "2026-01-01T00:00:00Z",
    "blob": b"x",
    "map": {"k": "v"},
}
REFUSALS = {(501, "NotImplemented"), (501, "501")}  # HEAD has no body to name the code


def shape_value(shape: Any, *, all_members: bool = False) -> Any:
    """A value that botocore's own validation accepts: required members only, unless asked."""
    kind = shape.type_name
    if kind == "structure":
        names = list(shape.members) if all_members else shape.required_members
        return {name: shape_value(shape.members[name]) for name in names}
    if kind == "list":
        return [shape_value(shape.member)]
    if kind == "string":
        return shape.enum[-1] if shape.enum else "x" * max(1, shape.metadata.get("min", 1))
    return SCALARS[kind]


def method(client: Any, operation: str) -> Any:
    names = {name: python for python, name in client.meta.method_to_api_mapping.items()}
    return getattr(client, names[operation])


@pytest.fixture(scope="module")
def client(plain: Endpoint) -> Iterator[Any]:
    client = plain.boto3(parameter_validation=False)
    client.create_bucket(Bucket="refusals")
    yield client
    client.close()


def arguments_of(client: Any, operation: str) -> dict[str, Any]:
    shape = client.meta.service_model.operation_model(operation).input_shape
    arguments = shape_value(shape) if shape is not None else {}
    fixed = {"Bucket": "refusals", "Key": "key", "CopySource": "refusals/source", "UploadId": "0" * 32, "PartNumber": 1}
    return arguments | {name: fixed[name] for name in fixed if name in arguments}


def ask(client: Any, operation: str, options: dict[str, Any]) -> tuple[int, str]:
    """Status and error code ("" for none) of the call with its required members and `options`."""
    try:
        reply = method(client, operation)(**arguments_of(client, operation), **options)
    except ClientError as error:
        reply = error.response
    return reply["ResponseMetadata"]["HTTPStatusCode"], reply.get("Error", {}).get("Code", "")


def test_operations_that_do_not_exist_here_say_so(client: Any) -> None:
    """Each answers 501 NotImplemented, in S3's XML."""
    operations = set(client.meta.service_model.operation_names) - IMPLEMENTED - ELSEWHERE
    answers = {operation: ask(client, operation, {}) for operation in operations}
    assert len(answers) > 60
    assert {name: answer for name, answer in answers.items() if answer not in REFUSALS} == {}


def test_options_that_are_not_honoured_say_so(client: Any) -> None:
    """Each option of the operations that exist, sent by itself with each of its values, is honoured or answers 501."""
    answers: dict[str, Any] = {}
    tried = 0
    client.put_object(Bucket="refusals", Key="source", Body=b"")
    for operation in sorted(IMPLEMENTED - {"DeleteBucket"}):
        shape = client.meta.service_model.operation_model(operation).input_shape
        for name, member in shape.members.items() if shape is not None else ():
            if name in HONOURED.split():
                continue
            for value in getattr(member, "enum", None) or [shape_value(member, all_members=True)]:
                if value in AS_IT_IS.get(name, ()):
                    continue
                tried += 1
                answer = ask(client, operation, {name: value})
                if answer not in REFUSALS:
                    answers[f"{operation}.{name}={value}"] = answer
    assert tried > 100
    assert answers == {}


def test_options_that_ask_for_what_already_is_are_granted(client: Any) -> None:
    at = {"Bucket": "refusals", "Key": "as it is"}
    granted = {name: values[0] for name, values in AS_IT_IS.items()}
    client.put_object(**at, **{name: granted[name] for name in ("ACL", "StorageClass", "ObjectLockLegalHoldStatus")})
    client.put_object(**at, ACL="bucket-owner-full-control", ExpectedBucketOwner="root")
    client.create_bucket(Bucket="refusals", ACL="private", ObjectOwnership="BucketOwnerEnforced")
    assert refused(client.put_object, **at, ExpectedBucketOwner="somebody") == (403, "AccessDenied")
    assert refused(client.get_object, **at, ExpectedBucketOwner="somebody") == (403, "AccessDenied")


def test_the_api_version_of_aws_sdk_for_cpp(plain: Endpoint) -> None:
    """pyarrow sends it with every request; S3 has had no other version, so another one is refused."""
    client = plain.boto3()
    versions = iter(["2006-03-01", "2030-01-01"])

    def add(request: Any, **_: Any) -> None:
        request.headers["x-amz-api-version"] = next(versions)

    client.meta.events.register("before-sign.s3.ListBuckets", add)
    assert "Buckets" in client.list_buckets()
    assert refused(client.list_buckets) == (501, "NotImplemented")
    client.close()
