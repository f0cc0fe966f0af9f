"""botocore signs, the verifier agrees; whatever is changed afterwards, it refuses; garbage raises MantaError only."""

import dataclasses
import hashlib
from typing import Any
from urllib.parse import quote, unquote_to_bytes

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from manta.auth import sigv4
from manta.auth.payload import PayloadKind
from manta.auth.verify import SignedRequest
from manta.core.errors import ContentSHA256Mismatch, MantaError
from tests.support.auth import ACCESS_KEY, HOST, boto_sign, verify_now

METHODS = st.sampled_from(["GET", "PUT", "POST", "DELETE", "HEAD", "OPTIONS"])
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
SEGMENT = TEXT.map(lambda text: quote(text, safe="~")) | st.sampled_from(
    ["..", ".", "", "%41", "%2F", "%2f", "a b".replace(" ", "%20"), "a+b", "(x)", "~", "%C3%BC", "%ff", "=", "$&,;:@"]
)
PATHS = st.lists(SEGMENT, max_size=5).map(lambda parts: "/bucket/" + "/".join(parts))
NAMES = st.sampled_from(["acl", "prefix", "list-type", "x-id", "a%41", "key", "a-b", "a_b", "~", "%C3%BC"])
VALUES = TEXT.map(lambda text: quote(text, safe="-_.~")) | st.sampled_from(["", "a+b", "a/b", "%2f", "%41", "=="])
QUERIES = st.dictionaries(NAMES, VALUES, max_size=4).map(
    lambda query: "&".join(f"{name}={value}" for name, value in query.items())
)
HEADER_NAMES = st.from_regex(r"[A-Za-z][A-Za-z0-9-]{0,8}", fullmatch=True).map(lambda name: "x-amz-meta-" + name)
HEADER_VALUES = st.text(st.characters(codec="ascii", min_codepoint=0x20, max_codepoint=0x7E), max_size=20)
HEADERS = st.dictionaries(HEADER_NAMES, HEADER_VALUES, max_size=4).filter(
    lambda headers: len({name.lower() for name in headers}) == len(headers)
)
BODIES = st.binary(max_size=200)
EXPIRES = st.none() | st.integers(1, 7 * 24 * 3600)


@st.composite
def signed_requests(draw: st.DrawFn) -> tuple[SignedRequest, bytes]:
    query = draw(QUERIES)
    body = draw(BODIES)
    target = draw(PATHS) + (f"?{query}" if query else "")
    request = boto_sign(
        draw(METHODS),
        target,
        draw(HEADERS),
        body,
        expires=draw(EXPIRES),
        payload_signing=draw(st.booleans()),
    )
    return request, body


@given(signed_requests())
def test_what_botocore_signs_is_accepted(signed: tuple[SignedRequest, bytes]) -> None:
    request, body = signed
    identity = verify_now(request)
    assert identity.access_key == ACCESS_KEY
    assert identity.presigned == ("X-Amz-Signature" in request.raw_query)
    assert identity.payload.decode(body) == body


def meaning(request: SignedRequest) -> object:
    """What a gateway may read out of a request: equal meanings need no different signature."""
    headers = sorted((name.lower(), header_meaning(name, value)) for name, value in request.headers)
    path, host = unquote_to_bytes(request.raw_path), sigv4.canonical_value(request.host)
    return request.method, path, query_meaning(request.raw_query), headers, host


def query_meaning(raw_query: str) -> list[tuple[bytes, bytes]]:
    pairs = sigv4.split_query(raw_query.replace("+", " "))
    return sorted((unquote_to_bytes(name), unquote_to_bytes(value)) for name, value in pairs if name or value)


def header_meaning(name: str, value: str) -> str:
    value = sigv4.canonical_value(value)
    return ",".join(word.strip(" ") for word in value.split(",")) if name.lower() == "authorization" else value


def changed_text(draw: st.DrawFn, text: str) -> str:
    """One character more, less or other."""
    at = draw(st.integers(0, len(text)))
    end = draw(st.integers(at, min(len(text), at + 1)))
    return text[:at] + draw(st.sampled_from(["", "a", "/", ".", "%41", "0", "&", "=", " ", "+", "%2B"])) + text[end:]


@st.composite
def changes_of(draw: st.DrawFn, request: SignedRequest) -> SignedRequest:
    field = draw(st.sampled_from(["method", "raw_path", "raw_query", "host", "header"]))
    if field == "method":
        return dataclasses.replace(request, method=draw(METHODS))
    if field != "header":
        changed: dict[str, Any] = {field: changed_text(draw, getattr(request, field))}
        return dataclasses.replace(request, **changed)
    headers = list(request.headers)
    at = draw(st.integers(0, len(headers) - 1))
    name, value = headers[at]
    assume(name.lower().startswith("x-amz-") or name.lower() in ("host", "authorization"))
    renamed = name if name == "Host" else changed_text(draw, name)  # `request.host` says what the Host header says
    headers[at] = draw(st.sampled_from([(name, changed_text(draw, value)), (renamed, value)]))
    return dataclasses.replace(request, headers=tuple(headers))


@pytest.mark.invariant("S1")
@given(st.data())
def test_no_change_to_a_signed_request_survives(data: st.DataObject) -> None:
    request, _ = data.draw(signed_requests())
    changed = data.draw(changes_of(request))
    assume(meaning(changed) != meaning(request))
    with pytest.raises(MantaError):
        verify_now(changed)


@pytest.mark.invariant("S1")
@given(BODIES, BODIES)
def test_no_other_body_survives(body: bytes, other: bytes) -> None:
    assume(body != other)
    payload = verify_now(boto_sign("PUT", "/b/k", None, body)).payload
    with pytest.raises(ContentSHA256Mismatch):
        payload.decode(other)


@pytest.mark.invariant("S1")
@given(signed_requests(), HEADER_NAMES, HEADER_VALUES)
def test_no_amz_header_can_be_added(signed: tuple[SignedRequest, bytes], name: str, value: str) -> None:
    request, _ = signed
    with pytest.raises(MantaError):
        verify_now(dataclasses.replace(request, headers=(*request.headers, (name, value))))


GARBAGE = st.text(max_size=30)
WORDS = st.sampled_from(
    [
        "AWS4-HMAC-SHA256",
        f"Credential={ACCESS_KEY}/20261122/us-east-1/s3/aws4_request",
        "SignedHeaders=host;x-amz-content-sha256;x-amz-date",
        "Signature=" + "0" * 64,
        "X-Amz-Algorithm=AWS4-HMAC-SHA256",
        f"X-Amz-Credential={ACCESS_KEY}%2F20261122%2Fus-east-1%2Fs3%2Faws4_request",
        "X-Amz-Date=20261122T120000Z",
        "X-Amz-Expires=60",
        "X-Amz-SignedHeaders=host",
        "X-Amz-Signature=" + "0" * 64,
        "AWS k:s",
        ",",
        " ",
        "&",
        "%",
        "\udcff",
        "\ud800",
    ]
)
MIXED = st.lists(WORDS | GARBAGE, max_size=10).map("".join) | st.lists(WORDS, max_size=8).map("&".join)
HEADER_FIELDS = st.tuples(
    st.sampled_from(["Authorization", "Host", "x-amz-date", "Date", "x-amz-content-sha256", "x-amz-trailer"]) | GARBAGE,
    st.sampled_from(["20261122T120000Z", HOST, *PayloadKind]) | MIXED,
)


@pytest.mark.invariant("S1")
@given(GARBAGE, GARBAGE, MIXED, st.lists(HEADER_FIELDS, max_size=6), GARBAGE | st.just(HOST))
def test_garbage_raises_only_our_errors(
    method: str, path: str, query: str, headers: list[tuple[str, str]], host: str
) -> None:
    with pytest.raises(MantaError):
        verify_now(SignedRequest(method, path, query, headers, host))


TRICKY = st.lists(
    st.sampled_from(
        ["a", "b", "%41", "%61", "+", "%2B", "%2b", "%20", "%25", "41", "/", "%2F", "%3D", "%26", "ü", "%ff"]
    ),
    max_size=4,
).map("".join)
TRICKY_QUERIES = st.lists(TRICKY | st.tuples(TRICKY, TRICKY).map("=".join), max_size=3).map("&".join)


def query_forms(raw_query: str) -> set[str]:
    pairs = sigv4.split_query(raw_query)
    return {sigv4.as_sent_query(pairs), sigv4.encoded_query(pairs), raw_query}


@pytest.mark.invariant("S1")
@given(TRICKY_QUERIES, TRICKY_QUERIES)
@example("a=%2B", "a=+")
@example("a=%20", "a=+")
def test_queries_that_mean_different_things_share_no_canonical_form(one: str, other: str) -> None:
    if query_forms(one) & query_forms(other):
        assert query_meaning(one) == query_meaning(other)


@pytest.mark.invariant("S1")
@given(TRICKY, TRICKY)
@example("a%2Bb", "a+b")
def test_paths_that_mean_different_things_share_no_canonical_form(one: str, other: str) -> None:
    if {one, sigv4.encoded_path(one)} & {other, sigv4.encoded_path(other)}:
        assert unquote_to_bytes(one) == unquote_to_bytes(other)


@given(st.lists(st.tuples(NAMES, VALUES), max_size=4, unique_by=lambda pair: pair[0]))
def test_order_of_the_query_does_not_matter(pairs: list[tuple[str, str]]) -> None:
    assert sigv4.as_sent_query(pairs) == sigv4.as_sent_query(pairs[::-1])
    assert sigv4.encoded_query(pairs) == sigv4.encoded_query(pairs[::-1])


@given(TEXT)
def test_encoding_is_a_fixed_point(text: str) -> None:
    once = sigv4.encoded_path(quote(text, safe="/"))
    assert sigv4.encoded_path(once) == once
    assert unquote_to_bytes(once) == text.encode()


@given(BODIES)
def test_hash_of_the_body_is_what_is_checked(body: bytes) -> None:
    payload = verify_now(boto_sign("PUT", "/b/k", None, body)).payload
    assert payload.sha256 == hashlib.sha256(body).hexdigest()
