"""Errors: one root, a code and a status each, and a sentence for the user."""

import inspect

import pytest

from manta.core import errors
from manta.core.errors import AccessDenied, MantaError

CLASSES = [value for _, value in inspect.getmembers(errors, inspect.isclass) if issubclass(value, MantaError)]


@pytest.mark.parametrize("error", CLASSES, ids=lambda error: error.__name__)
def test_every_error_can_be_answered(error: type[MantaError]) -> None:
    raised = error()
    assert 300 <= raised.status <= 599
    assert raised.code.isalnum()
    assert raised.default.endswith(".")
    assert str(raised) == raised.message == error.default


@pytest.mark.parametrize("error", CLASSES, ids=lambda error: error.__name__)
def test_only_the_servers_own_failures_are_worth_a_retry(error: type[MantaError]) -> None:
    if error.retryable:
        assert error.status >= 500


def test_codes_of_s3_keep_their_status() -> None:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html"""
    documented = {
        "AccessDenied": 403,
        "AuthorizationHeaderMalformed": 400,
        "BadDigest": 400,
        "BucketAlreadyExists": 409,
        "BucketAlreadyOwnedByYou": 409,
        "BucketNotEmpty": 409,
        "EntityTooLarge": 400,
        "EntityTooSmall": 400,
        "IncompleteBody": 400,
        "InternalError": 500,
        "InvalidAccessKeyId": 403,
        "InvalidArgument": 400,
        "InvalidBucketName": 400,
        "InvalidDigest": 400,
        "InvalidPart": 400,
        "InvalidPartOrder": 400,
        "InvalidRange": 416,
        "InvalidToken": 400,
        "InvalidURI": 400,
        "KeyTooLongError": 400,
        "MalformedXML": 400,
        "MethodNotAllowed": 405,
        "MissingContentLength": 411,
        "NoSuchBucket": 404,
        "NoSuchKey": 404,
        "NoSuchUpload": 404,
        "NoSuchVersion": 404,
        "NotImplemented": 501,
        "PreconditionFailed": 412,
        "RequestTimeTooSkewed": 403,
        "ServiceUnavailable": 503,
        "SignatureDoesNotMatch": 403,
        "SlowDown": 503,
        "XAmzContentSHA256Mismatch": 400,
    }
    ours = {error.code: error.status for error in CLASSES}
    assert {code: ours.get(code) for code in documented} == documented


def test_details_go_beside_the_message() -> None:
    error = AccessDenied("No.", Region="here")
    assert (error.message, error.details) == ("No.", {"Region": "here"})
