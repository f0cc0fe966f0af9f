"""The one verifier, request by request: what it accepts, AWS's published example, and each thing it refuses."""

import dataclasses
import datetime
import hashlib
from urllib.parse import quote

import pytest

from manta.auth import sigv4
from manta.auth.claims import SIGV2_MESSAGE
from manta.auth.payload import PayloadKind
from manta.auth.verify import Credentials, SignedRequest
from manta.core import errors
from manta.core.errors import MantaError
from tests.support.auth import ACCESS_KEY, HOST, NOW, SECRET_KEY, boto_sign, verifier, verify_now
from tests.support.auth import sign_for as sign

MINUTE = datetime.timedelta(minutes=1)
EMPTY = sigv4.EMPTY_SHA256
S1 = pytest.mark.invariant("S1")

Headers = list[tuple[str, str]]


def with_headers(request: SignedRequest, *more: tuple[str, str], without: tuple[str, ...] = ()) -> SignedRequest:
    kept = [(name, value) for name, value in request.headers if name.lower() not in without]
    return dataclasses.replace(request, headers=(*kept, *more))


def with_query(request: SignedRequest, old: str, new: str) -> SignedRequest:
    assert old in request.raw_query
    return dataclasses.replace(request, raw_query=request.raw_query.replace(old, new))


def header(request: SignedRequest, wanted: str) -> str:
    return next(value for name, value in request.headers if name.lower() == wanted)


def with_authorization(request: SignedRequest, old: str, new: str) -> SignedRequest:
    value = header(request, "authorization")
    assert old in value
    return with_headers(request, ("Authorization", value.replace(old, new)), without=("authorization",))


def forged(request: SignedRequest) -> SignedRequest:
    value = header(request, "authorization")
    return with_headers(request, ("Authorization", value[:-64] + "0" * 64), without=("authorization",))


def test_header_form_is_accepted() -> None:
    identity = verify_now(boto_sign("PUT", "/bucket/key?partNumber=1&uploadId=x", {"x-amz-meta-a": "b  c"}, b"hello"))
    assert identity.account_id == "alice"
    assert identity.access_key == ACCESS_KEY
    assert "x-amz-meta-a" in identity.signed_headers
    assert identity.payload.kind is PayloadKind.EXACT
    assert identity.payload.decode(b"hello") == b"hello"
    assert not identity.presigned


def test_presigned_form_is_accepted() -> None:
    identity = verify_now(boto_sign("GET", "/bucket/key?versionId=3", expires=60))
    assert identity.presigned
    assert identity.payload.kind is PayloadKind.UNSIGNED


def test_published_example_of_s3() -> None:
    """GET Object in https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html"""
    signature = "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
    names = "host;range;x-amz-content-sha256;x-amz-date"
    host = "examplebucket.s3.amazonaws.com"
    request = SignedRequest(
        "GET",
        "/test.txt",
        "",
        (
            ("Host", host),
            ("Range", "bytes=0-9"),
            ("x-amz-content-sha256", EMPTY),
            ("x-amz-date", "20130524T000000Z"),
            (
                "Authorization",
                f"AWS4-HMAC-SHA256 Credential={ACCESS_KEY}/20130524/us-east-1/s3/aws4_request,"
                f"SignedHeaders={names},Signature={signature}",
            ),
        ),
        host,
    )
    at = verifier(datetime.datetime(2013, 5, 24, tzinfo=datetime.UTC))
    assert verify_now(request, at).signed_headers == set(names.split(";"))


def test_client_that_encodes_anew_what_it_signs_is_accepted() -> None:
    """curl and AWS's own rule sign `(a) b/ü` encoded, whatever the request line carries."""
    request = sign(path="/b/" + quote("(a) b/ü", safe="/~"), pairs=[("prefix", "a%2Fb"), ("delimiter", "%2F")])
    assert verify_now(dataclasses.replace(request, raw_path="/b/(a)%20b/ü", raw_query="prefix=a/b&delimiter=/"))


def test_date_header_in_place_of_x_amz_date() -> None:
    date = "Sun, 22 Nov 2026 12:00:00 GMT"
    assert verify_now(boto_sign("GET", "/b/k", {"Date": date}))


def test_payload_hash_in_the_query_of_a_presigned_request_is_honoured() -> None:
    digest = hashlib.sha256(b"x").hexdigest()
    payload = verify_now(boto_sign_query_hash(digest)).payload
    assert payload.decode(b"x") == b"x"
    with pytest.raises(errors.ContentSHA256Mismatch):
        payload.decode(b"y")


def boto_sign_query_hash(digest: str) -> SignedRequest:
    scope = sigv4.Scope("20261122", "us-east-1", "s3")
    pairs = [
        ("X-Amz-Algorithm", "AWS4-HMAC-SHA256"),
        ("X-Amz-Content-Sha256", digest),
        ("X-Amz-Credential", quote(f"{ACCESS_KEY}/{scope}", safe="")),
        ("X-Amz-Date", "20261122T120000Z"),
        ("X-Amz-Expires", "60"),
        ("X-Amz-SignedHeaders", "host"),
    ]
    query = sigv4.as_sent_query(pairs)
    canonical = sigv4.canonical_request("PUT", "/b/k", query, f"host:{HOST}\n", f"host\n{digest}")
    signature = sigv4.signer(SECRET_KEY, scope, "20261122T120000Z").sign_request(canonical)
    return SignedRequest("PUT", "/b/k", f"{query}&X-Amz-Signature={signature}", (("Host", HOST),), HOST)


GET = boto_sign("GET", "/b/k?versionId=1")
SIGNED = boto_sign("PUT", "/b/k", {"x-amz-meta-a": "1", "Content-Type": "text/plain"}, b"hello")
PRESIGNED = boto_sign("GET", "/b/k?versionId=1", expires=60)
TRAILER_PAYLOAD = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
TRAILER = {"x-amz-decoded-content-length": "5", "x-amz-trailer": "x-amz-checksum-crc32"}
SIGV2_HEADER = SignedRequest("GET", "/b/k", "", (("Host", HOST), ("Authorization", "AWS key:sig")), HOST)
SIGV2_QUERY = SignedRequest("GET", "/b/k", "AWSAccessKeyId=k&Signature=s&Expires=1", (("Host", HOST),), HOST)
ANONYMOUS_TRAILER = SignedRequest(
    "PUT", "/b/k", "", (("Host", HOST), ("x-amz-content-sha256", TRAILER_PAYLOAD), *TRAILER.items()), HOST
)
FORGED_QUERY = f"X-Amz-Credential={ACCESS_KEY}%2F20261122%2Fus-east-1%2Fs3%2Faws4_request"
WEEK = 7 * 24 * 3600

REFUSED: dict[str, tuple[SignedRequest, type[MantaError]]] = {
    "anonymous": (SignedRequest("GET", "/b/k", "", (("Host", HOST),), HOST), errors.AccessDenied),
    "anonymous unsigned trailer": (ANONYMOUS_TRAILER, errors.AccessDenied),
    "CVE-2026-41145: access key in the query, no signature": (
        dataclasses.replace(ANONYMOUS_TRAILER, raw_query=FORGED_QUERY),
        errors.AuthorizationQueryParametersError,
    ),
    "CVE-2026-40344: unsigned trailer under a made-up signature": (
        forged(sign("PUT", headers={**TRAILER, "x-amz-meta-snowball-auto-extract": "true"}, payload=TRAILER_PAYLOAD)),
        errors.SignatureDoesNotMatch,
    ),
    "unknown key": (boto_sign("GET", "/b/k", access_key="AKIAUNKNOWN"), errors.InvalidAccessKeyId),
    "wrong secret": (boto_sign("GET", "/b/k", secret_key="wrong"), errors.SignatureDoesNotMatch),
    "too old": (boto_sign("GET", "/b/k", now=NOW - 16 * MINUTE), errors.RequestTimeTooSkewed),
    "from the future": (boto_sign("GET", "/b/k", now=NOW + 16 * MINUTE), errors.RequestTimeTooSkewed),
    "presigned, expired": (boto_sign("GET", "/b/k", now=NOW - 2 * MINUTE, expires=60), errors.AccessDenied),
    "presigned, expires now": (boto_sign("GET", "/b/k", now=NOW - MINUTE, expires=60), errors.AccessDenied),
    "presigned, not valid yet": (boto_sign("GET", "/b/k", now=NOW + 16 * MINUTE, expires=60), errors.AccessDenied),
    "presigned beyond a week": (
        boto_sign("GET", "/b/k", expires=WEEK + 1),
        errors.AuthorizationQueryParametersError,
    ),
    "presigned for nothing": (boto_sign("GET", "/b/k", expires=0), errors.AuthorizationQueryParametersError),
    "presigned, expiry stretched": (
        with_query(PRESIGNED, "X-Amz-Expires=60", "X-Amz-Expires=61"),
        errors.SignatureDoesNotMatch,
    ),
    "region": (boto_sign("GET", "/b/k", region="eu-west-1"), errors.AuthorizationHeaderMalformed),
    "region, presigned": (
        boto_sign("GET", "/b/k", region="eu-west-1", expires=60),
        errors.AuthorizationQueryParametersError,
    ),
    "service": (sign(scope=sigv4.Scope("20261122", "us-east-1", "iam")), errors.AuthorizationHeaderMalformed),
    "terminator": (
        sign(scope=sigv4.Scope("20261122", "us-east-1", "s3", "aws5_request")),
        errors.AuthorizationHeaderMalformed,
    ),
    "date of the scope": (
        sign(scope=sigv4.Scope("20261121", "us-east-1", "s3")),
        errors.AuthorizationHeaderMalformed,
    ),
    "unsigned x-amz header": (with_headers(GET, ("x-amz-acl", "public-read")), errors.AccessDenied),
    "unsigned x-amz header, presigned": (with_headers(PRESIGNED, ("x-amz-meta-a", "1")), errors.AccessDenied),
    "unsigned content hash": (
        with_authorization(SIGNED, "x-amz-content-sha256;", ""),
        errors.AccessDenied,
    ),
    "unsigned host": (with_authorization(SIGNED, "host;", ""), errors.AccessDenied),
    "signed header taken away": (with_headers(SIGNED, without=("x-amz-meta-a",)), errors.SignatureDoesNotMatch),
    "signed header repeated": (with_headers(SIGNED, ("x-amz-meta-a", "2")), errors.BadRequest),
    "signed header that is split": (
        with_headers(sign(headers={"if-match": "a,b"}), ("If-Match", "a"), ("If-Match", "b"), without=("if-match",)),
        errors.SignatureDoesNotMatch,
    ),
    "no content hash": (with_headers(GET, without=("x-amz-content-sha256",)), errors.BadRequest),
    "no date": (with_headers(GET, without=("x-amz-date",)), errors.AccessDenied),
    "impossible date": (sign(timestamp="20261322T120000Z"), errors.AccessDenied),
    "other date": (
        with_headers(GET, ("x-amz-date", "20261122T120001Z"), without=("x-amz-date",)),
        errors.SignatureDoesNotMatch,
    ),
    "two authorizations": (
        with_headers(GET, ("Authorization", header(GET, "authorization"))),
        errors.BadRequest,
    ),
    "word twice": (
        with_authorization(GET, "Signature=", "Signature=a,Signature="),
        errors.AuthorizationHeaderMalformed,
    ),
    "word missing": (with_authorization(GET, "SignedHeaders", "signedheaders"), errors.AuthorizationHeaderMalformed),
    "signed name twice": (with_authorization(GET, "host;", "host;host;"), errors.AuthorizationHeaderMalformed),
    "signature in capitals": (
        with_headers(GET, ("Authorization", header(GET, "authorization")[:-64] + "A" * 64), without=("authorization",)),
        errors.AuthorizationHeaderMalformed,
    ),
    "basic authentication": (
        with_headers(GET, ("Authorization", "Basic YTpi"), without=("authorization",)),
        errors.AuthorizationHeaderMalformed,
    ),
    "header and query": (
        dataclasses.replace(PRESIGNED, headers=GET.headers),
        errors.InvalidArgument,
    ),
    "header and SigV2 query": (
        dataclasses.replace(GET, raw_query=SIGV2_QUERY.raw_query),
        errors.InvalidArgument,
    ),
    "query parameter twice": (
        dataclasses.replace(PRESIGNED, raw_query=PRESIGNED.raw_query + "&X-Amz-Expires=60"),
        errors.AuthorizationQueryParametersError,
    ),
    "query parameter twice, in disguise": (
        dataclasses.replace(PRESIGNED, raw_query=PRESIGNED.raw_query + "&x%2Damz-signature=" + "0" * 64),
        errors.AuthorizationQueryParametersError,
    ),
    "any parameter twice": (
        dataclasses.replace(GET, raw_query="versionId=1&versionI%64=2"),
        errors.AuthorizationQueryParametersError,
    ),
    "query without a signature": (
        dataclasses.replace(PRESIGNED, raw_query=PRESIGNED.raw_query.partition("&X-Amz-Signature")[0]),
        errors.AuthorizationQueryParametersError,
    ),
    "SigV4A": (
        with_authorization(GET, "AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256"),
        errors.NotImplementedHere,
    ),
    "SigV4A, presigned": (
        with_query(PRESIGNED, "AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256"),
        errors.NotImplementedHere,
    ),
    "SigV4A chunks": (
        sign(payload="STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD"),
        errors.NotImplementedHere,
    ),
    "session token": (boto_sign("GET", "/b/k", token="session"), errors.InvalidToken),
    "session token, presigned": (boto_sign("GET", "/b/k", token="session", expires=60), errors.InvalidToken),
    "two hosts": (with_headers(GET, ("Host", HOST)), errors.BadRequest),
    "other host": (dataclasses.replace(GET, host="other"), errors.BadRequest),
    "line break": (
        dataclasses.replace(GET, method="GET\n/b/k", raw_path="versionId=1", raw_query=""),
        errors.InvalidURI,
    ),
    "lone surrogate": (dataclasses.replace(GET, raw_path="/b/\ud800"), errors.InvalidURI),
    "unknown payload": (sign(payload="STREAMING-NOTHING"), errors.InvalidArgument),
    "payload hash in capitals": (sign(payload="A" * 64), errors.InvalidArgument),
    "the kind's own name": (sign(payload="sha256"), errors.InvalidArgument),
    "trailer without streaming": (sign(headers={"x-amz-trailer": "x-amz-checksum-crc32"}), errors.BadRequest),
    "trailer of the form that has none": (
        sign(
            headers={"x-amz-trailer": "x-amz-checksum-crc32", "x-amz-decoded-content-length": "1"},
            payload="STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
        ),
        errors.BadRequest,
    ),
    "unknown trailer": (
        sign(headers={**TRAILER, "x-amz-trailer": "x-amz-acl"}, payload=TRAILER_PAYLOAD),
        errors.NotImplementedHere,
    ),
    "no decoded length": (sign(payload="STREAMING-AWS4-HMAC-SHA256-PAYLOAD"), errors.MissingContentLength),
    "negative decoded length": (
        sign(headers={"x-amz-decoded-content-length": "-1"}, payload="STREAMING-AWS4-HMAC-SHA256-PAYLOAD"),
        errors.InvalidArgument,
    ),
    "huge decoded length": (
        sign(headers={"x-amz-decoded-content-length": "9" * 16}, payload="STREAMING-AWS4-HMAC-SHA256-PAYLOAD"),
        errors.EntityTooLarge,
    ),
}


@S1
@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    request, error = REFUSED[name]
    with pytest.raises(error) as caught:
        verify_now(request)
    assert SECRET_KEY not in str(caught.value)


@S1
@pytest.mark.parametrize("request_", [SIGV2_HEADER, SIGV2_QUERY])
def test_signature_version_2_is_refused_precisely(request_: SignedRequest) -> None:
    with pytest.raises(errors.BadRequest, match="version 2 is not supported") as caught:
        verify_now(request_)
    assert caught.value.message == SIGV2_MESSAGE


def test_the_signed_requests_that_are_spoilt_above_are_sound() -> None:
    trailer = sign("PUT", headers=TRAILER, payload=TRAILER_PAYLOAD)
    for request in (GET, SIGNED, PRESIGNED, sign(), trailer, sign(headers={"if-match": "a,b"})):
        assert verify_now(request)


def test_wrong_region_names_the_right_one() -> None:
    with pytest.raises(MantaError, match="expecting 'us-east-1'") as caught:
        verify_now(boto_sign("GET", "/b/k", region="eu-west-1"))
    assert caught.value.details == {"Region": "us-east-1"}


def test_presigned_is_valid_until_it_expires() -> None:
    assert verify_now(boto_sign("GET", "/b/k", now=NOW - MINUTE, expires=61))
    assert verify_now(boto_sign("GET", "/b/k", expires=WEEK))


@pytest.mark.invariant("S7")
def test_secrets_have_no_repr() -> None:
    payload = verify_now(sign("PUT", headers={"x-amz-decoded-content-length": "0"}, payload=PayloadKind.SIGNED_CHUNKS))
    assert SECRET_KEY not in repr(Credentials(ACCESS_KEY, SECRET_KEY, "alice"))
    assert payload.payload.signer is not None
    assert repr(payload.payload.signer.key) not in repr(payload)


async def test_the_same_from_an_event_loop() -> None:
    assert (await verifier().verify(GET)).account_id == "alice"
