"""Keys that are awkward in a URL, in XML or in a header, and listings of them, through boto3."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from botocore.handlers import set_list_objects_encoding_type_url

from tests.support.compat import REGION, SESSION, Endpoint, empty_bucket, refused

CONTROL = "control\x01\x1f\x7f"
AWKWARD = [
    "with space",
    " leading and trailing ",
    "a+b",
    "percent%41",
    "percent%2541",
    "%",
    "a//b",
    "/leading",
    "trailing/",
    "//",
    ".",
    "..",
    "../up",
    "a/../b",
    "a/./b",
    "\\back\\slash",
    "ümläut/ß",
    "日本語/鍵",
    "\U0001f511",
    "e\u0301 is not é",
    "new\nline",
    "carriage\rreturn",
    "tab\tkey",
    CONTROL,
    "quotes'\"",
    "<&>]]>",
    "q?x=y&z#f",
    "semi;colon,comma=equals",
    "(x)!*'~",
    "{brace}[bracket]|^`",
    "k" * 1024,
    "é" * 512,
    "?uploads",
    "x-amz-meta: k",
]


def listed(pages: Any) -> list[str]:
    return [item["Key"] for page in pages for item in page.get("Contents", [])]


def in_byte_order(keys: list[str]) -> list[str]:
    return sorted(keys, key=str.encode)


@pytest.mark.invariant("S2", "C2")
def test_awkward_keys(s3: Any, bucket: str) -> None:
    for key in AWKWARD:
        s3.put_object(Bucket=bucket, Key=key, Body=key.encode())
    for key in AWKWARD:
        assert s3.get_object(Bucket=bucket, Key=key)["Body"].read() == key.encode(), key
        assert s3.head_object(Bucket=bucket, Key=key)["ContentLength"] == len(key.encode())
        s3.copy_object(Bucket=bucket, Key="copy", CopySource={"Bucket": bucket, "Key": key})
        assert s3.get_object(Bucket=bucket, Key="copy")["Body"].read() == key.encode(), key
        if len(key.encode()) < 1000:
            assert s3.list_objects_v2(Bucket=bucket, Prefix=key)["Contents"][0]["Key"] == key
    s3.delete_object(Bucket=bucket, Key="copy")
    for call in ("list_objects", "list_objects_v2"):
        pages = s3.get_paginator(call).paginate(Bucket=bucket, PaginationConfig={"PageSize": 5})
        assert listed(pages) == in_byte_order(AWKWARD)
    # XML 1.0 has no way to write control characters, so such a key is deleted by itself.
    assert refused(s3.delete_objects, Bucket=bucket, Delete={"Objects": [{"Key": CONTROL}]}) == (400, "MalformedXML")
    s3.delete_object(Bucket=bucket, Key=CONTROL)
    others = [key for key in AWKWARD if key != CONTROL]
    reply = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key} for key in others]})
    assert {item["Key"] for item in reply["Deleted"]} == set(others)
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0


def test_awkward_keys_in_multipart_uploads(s3: Any, bucket: str) -> None:
    for key in AWKWARD[::3]:
        upload = s3.create_multipart_upload(Bucket=bucket, Key=key)
        assert upload["Key"] == key
        assert [item["Key"] for item in s3.list_multipart_uploads(Bucket=bucket)["Uploads"]] == [key]
        where = {"Bucket": bucket, "Key": key, "UploadId": upload["UploadId"]}
        etag = s3.upload_part(**where, PartNumber=1, Body=b"part")["ETag"]
        parts = {"Parts": [{"PartNumber": 1, "ETag": etag}]}
        s3.complete_multipart_upload(**where, MultipartUpload=parts)
        assert s3.get_object(Bucket=bucket, Key=key)["Body"].read() == b"part"


def test_keys_that_are_refused(s3: Any, bucket: str) -> None:
    assert refused(s3.put_object, Bucket=bucket, Key="k" * 1025) == (400, "KeyTooLongError")
    assert refused(s3.put_object, Bucket=bucket, Key="é" * 512 + "k") == (400, "KeyTooLongError")
    assert refused(s3.put_object, Bucket=bucket, Key="nul\0") == (400, "InvalidURI")


def test_listing_without_url_encoding(endpoint: Endpoint, bucket: str) -> None:
    """boto3 always asks for encoding-type=url; other clients take the keys as XML, line ends included."""
    client = endpoint.boto3()
    for call in ("ListObjects", "ListObjectsV2"):
        client.meta.events.unregister(f"before-parameter-build.s3.{call}", set_list_objects_encoding_type_url)
    keys = [key for key in AWKWARD if key != CONTROL]
    for key in keys:
        client.put_object(Bucket=bucket, Key=key, Body=b"")
    for call in (client.list_objects, client.list_objects_v2):
        reply = call(Bucket=bucket)
        assert "EncodingType" not in reply
        assert listed([reply]) == in_byte_order(keys)
    client.close()


@pytest.mark.invariant("C2")
def test_paging_with_prefixes_and_delimiters(s3: Any, bucket: str) -> None:
    keys = in_byte_order([f"{top}/{low:02d}" for top in ("a", "b+ c", "d%41") for low in range(7)] + ["top", "zé"])
    for key in keys:
        s3.put_object(Bucket=bucket, Key=key, Body=key.encode())
    for call in ("list_objects", "list_objects_v2"):
        paginate = s3.get_paginator(call).paginate
        for size in (1, 4, 1000):
            config = {"PageSize": size}
            assert listed(paginate(Bucket=bucket, PaginationConfig=config)) == keys
            grouped = list(paginate(Bucket=bucket, Delimiter="/", PaginationConfig=config))
            assert [p["Prefix"] for page in grouped for p in page.get("CommonPrefixes", [])] == ["a/", "b+ c/", "d%41/"]
            assert listed(grouped) == ["top", "zé"]
            assert listed(paginate(Bucket=bucket, Prefix="b+ c/0", PaginationConfig=config)) == keys[7:14]
    assert listed([s3.list_objects(Bucket=bucket, Marker="b+ c/05")])[0] == "b+ c/06"
    assert listed([s3.list_objects_v2(Bucket=bucket, StartAfter="b+ c/05")])[0] == "b+ c/06"
    assert listed([s3.list_objects_v2(Bucket=bucket, Delimiter="é")]) == [key for key in keys if key != "zé"]


def test_more_than_a_page_of_keys(plain: Endpoint) -> None:
    """Listings and batched deletes end at a thousand; boto3 goes on by itself."""
    client = plain.client
    client.create_bucket(Bucket="thousands")
    keys = [f"k{n:04d}" for n in range(1100)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: client.put_object(Bucket="thousands", Key=key, Body=b"x"), keys))
    for call in ("list_objects", "list_objects_v2"):
        assert [len(page["Contents"]) for page in client.get_paginator(call).paginate(Bucket="thousands")] == [
            1000,
            100,
        ]
        assert listed(client.get_paginator(call).paginate(Bucket="thousands")) == keys
    empty_bucket(client, "thousands")
    client.delete_bucket(Bucket="thousands")


def test_the_older_object_interface(endpoint: Endpoint, bucket: str) -> None:
    """boto3's resources list by V1 and delete in batches."""
    resource = SESSION.resource(
        "s3",
        endpoint_url=endpoint.url,
        aws_access_key_id=endpoint.store.access_key,
        aws_secret_access_key=endpoint.store.secret_key,
        region_name=REGION,
        verify=str(endpoint.certificate.chain) if endpoint.certificate else None,
    )
    held = resource.Bucket(bucket)
    for name in ("b", "a", "c/d"):
        held.put_object(Key=name, Body=name.encode())
    assert [(item.key, item.get()["Body"].read()) for item in held.objects.all()] == [
        ("a", b"a"),
        ("b", b"b"),
        ("c/d", b"c/d"),
    ]
    pages = endpoint.client.get_paginator("list_buckets").paginate(PaginationConfig={"PageSize": 1})
    assert bucket in [found["Name"] for page in pages for found in page["Buckets"]]
    assert bucket in [found.name for found in resource.buckets.all()]
    held.objects.filter(Prefix="c/").delete()
    assert [item.key for item in held.objects.all()] == ["a", "b"]
    resource.meta.client.close()
