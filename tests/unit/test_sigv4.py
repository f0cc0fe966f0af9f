"""The one verifier, request by request: what it accepts, and each thing it refuses."""

from tests.support.auth import boto_sign, verify_now


def test_header_form_is_accepted() -> None:
    identity = verify_now(boto_sign("PUT", "/bucket/key?partNumber=1&uploadId=x", {"x-amz-meta-a": "b  c"}, b"hello"))
    assert identity.account_id == "alice"
    assert identity.payload.decode(b"hello") == b"hello"
    assert not identity.presigned


def test_presigned_form_is_accepted() -> None:
    identity = verify_now(boto_sign("GET", "/bucket/key?versionId=3", expires=60))
    assert identity.presigned
    assert identity.payload.decode(b"anything") == b"anything"
