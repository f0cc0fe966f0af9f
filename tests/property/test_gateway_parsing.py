"""Target, query, headers, conditions, ranges and XML: what is parsed once must mean one thing."""

import calendar
from urllib.parse import quote, quote_plus
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manta.core.conditions import Outcome, Span, evaluate_read, parse_date_s, parse_etags, parse_range
from manta.core.errors import BadRequest, InvalidArgument, InvalidRange, InvalidURI, MalformedXML, MantaError
from manta.gateway.attributes import read_attributes
from manta.gateway.http import xml
from manta.gateway.http.access_log import redact_query
from manta.gateway.http.known_headers import METADATA, check_headers
from manta.gateway.http.request import (
    bucket_and_key,
    decode_component,
    host_bucket,
    parse_headers,
    parse_query,
    split_target,
)
from manta.gateway.http.responses import Response, encode_head, http_date
from manta.gateway.ops.list import decode_token, encode_token, url_encode

keys = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), min_size=1, max_size=60)
etags = st.text("0123456789abcdef", min_size=1, max_size=8)


@pytest.mark.invariant("S2")
@given(keys)
def test_a_key_survives_its_encoding_whatever_it_holds(key: str) -> None:
    for safe in ("/", "", "/~!*'()"):
        raw = "/bkt/" + quote(key, safe=safe)
        assert bucket_and_key(split_target(raw).path, "") == ("bkt", key)
        assert bucket_and_key("/" + quote(key, safe=safe), "bkt") == ("bkt", key)


@given(st.text(max_size=60))
def test_decoding_a_path_ends_in_text_or_in_invalid_uri(raw: str) -> None:
    try:
        text = decode_component(raw)
    except InvalidURI:
        return
    assert "\0" not in text
    text.encode("utf-8")


@given(st.dictionaries(keys, keys, max_size=5))
def test_a_query_survives_its_encoding(parameters: dict[str, str]) -> None:
    for encode in (quote, quote_plus):
        raw = "&".join(f"{encode(name, safe='')}={encode(value, safe='')}" for name, value in parameters.items())
        assert parse_query(raw) == parameters


def test_a_flag_in_a_query_has_no_value() -> None:
    assert parse_query("uploads&x=1&&y=") == {"uploads": "", "x": "1", "y": ""}
    with pytest.raises(InvalidArgument):
        parse_query("a=1&%61=2")


@pytest.mark.parametrize("raw", ["*", "host:80", "ftp://x/", "", "//"])
def test_other_forms_of_a_target_are_refused(raw: str) -> None:
    if raw == "//":
        assert split_target(raw).path == "//"
        return
    with pytest.raises(InvalidURI):
        split_target(raw)


def test_an_absolute_target_is_taken_apart() -> None:
    target = split_target("http://host:1/a?b")
    assert (target.authority, target.path, target.query) == ("host:1", "/a", "b")
    target = split_target("HTTPS://host?b")
    assert (target.authority, target.path, target.query) == ("host", "/", "b")


@pytest.mark.parametrize(
    ("host", "bucket"),
    [
        ("bkt.s3.example", "bkt"),
        ("BKT.S3.example:7070", "bkt"),
        ("a.b.s3.example", "a.b"),
        ("s3.example", ""),
        ("xs3.example", ""),
        ("other", ""),
        ("[::1]", ""),
    ],
)
def test_virtual_hosts(host: str, bucket: str) -> None:
    assert host_bucket(host, "s3.example") == bucket
    assert host_bucket(host, None) == ""


def test_headers_that_matter_come_once() -> None:
    assert parse_headers([("Accept", "a"), ("accept", "b"), ("Range", "r")]) == {"accept": "a,b", "range": "r"}
    for name in ("range", "x-amz-date", "content-md5", "x-amz-meta-a", "authorization"):
        with pytest.raises(BadRequest):
            parse_headers([(name, "1"), (name.title(), "1")])


@given(st.integers(0, 1000), st.integers(0, 1200), st.integers(0, 1200))
def test_a_range_is_cut_to_the_object(size: int, first: int, last: int) -> None:
    data = bytes(size % 251 for size in range(size))
    expected = data[first : last + 1]
    try:
        span = parse_range(f"bytes={first}-{last}", size)
    except InvalidRange:
        assert first >= size
        return
    if last < first:
        assert span is None
        return
    assert span is not None
    assert data[span.start : span.start + span.length] == expected


@given(st.integers(0, 1000), st.integers(0, 1200))
def test_a_suffix_range_is_the_end_of_the_object(size: int, length: int) -> None:
    try:
        span = parse_range(f"bytes=-{length}", size)
    except InvalidRange:
        assert length == 0 or size == 0
        return
    assert span == Span(size - min(size, length), min(size, length))


@pytest.mark.parametrize(
    "header",
    ["bytes=0-1,3-4", "bytes=", "bytes=-", "bytes=a-b", "items=0-1", "0-1", "bytes=5-2", "bytes=+1-2", "bytes 0-1"],
)
def test_a_range_that_is_not_understood_is_ignored(header: str) -> None:
    assert parse_range(header, 100) is None


@given(etags, st.lists(etags, min_size=1), st.booleans())
def test_etags_are_compared_without_quotes_and_weakness(etag: str, others: list[str], quoted: bool) -> None:
    written = ", ".join(f'W/"{tag}"' if quoted else tag for tag in others)
    assert parse_etags(written) == tuple(others)
    hit = etag in others
    assert evaluate_read({"if-match": written}, etag, 0) is (Outcome.PROCEED if hit else Outcome.FAILED)
    assert evaluate_read({"if-none-match": written}, etag, 0) is (Outcome.NOT_MODIFIED if hit else Outcome.PROCEED)


def test_precedence_of_conditions() -> None:
    """RFC 9110 §13.2.2: If-Match beats If-Unmodified-Since, If-None-Match beats If-Modified-Since."""
    early, late = http_date(100), http_date(300)
    assert evaluate_read({"if-match": '"e"', "if-unmodified-since": early}, "e", 200) is Outcome.PROCEED
    assert evaluate_read({"if-unmodified-since": early}, "e", 200) is Outcome.FAILED
    assert evaluate_read({"if-unmodified-since": late}, "e", 200) is Outcome.PROCEED
    assert evaluate_read({"if-none-match": '"x"', "if-modified-since": late}, "e", 200) is Outcome.PROCEED
    assert evaluate_read({"if-modified-since": late}, "e", 200) is Outcome.NOT_MODIFIED
    assert evaluate_read({"if-modified-since": early}, "e", 200) is Outcome.PROCEED
    assert evaluate_read({"if-modified-since": "soon"}, "e", 200) is Outcome.PROCEED
    assert evaluate_read({"if-match": "*", "if-none-match": "*"}, "e", 200) is Outcome.NOT_MODIFIED
    with pytest.raises(InvalidArgument):
        evaluate_read({"if-match": ""}, "e", 0)


@given(st.integers(0, 4_000_000_000))
def test_dates_survive(epoch_s: int) -> None:
    assert parse_date_s(http_date(epoch_s)) == epoch_s
    stamp = xml.timestamp(epoch_s * 1000 + 7)
    assert stamp.endswith(".007Z")
    year, month, day = map(int, stamp[:10].split("-"))
    hour, minute, second = map(int, stamp[11:19].split(":"))
    assert calendar.timegm((year, month, day, hour, minute, second)) == epoch_s


xml_text = st.text(st.characters(blacklist_categories=["Cs", "Cc"], blacklist_characters="\ufffe\uffff"), max_size=60)


@given(xml_text)
def test_text_survives_xml(text: str) -> None:
    document = xml.document("Root", f"<Key>{xml.escape(text)}</Key>").encode()
    assert (ElementTree.fromstring(document).findtext(f"{{{xml.NAMESPACE}}}Key") or "") == text
    assert (xml.parse(document, "Root").findtext("Key") or "") == text


@given(st.binary(max_size=200))
def test_any_bytes_are_xml_or_malformed(body: bytes) -> None:
    with pytest.raises(MalformedXML):
        xml.parse(body, "Delete")


@pytest.mark.invariant("S3")
@pytest.mark.parametrize(
    "body",
    [
        b'<!DOCTYPE Delete [<!ENTITY a "b">]><Delete>&a;</Delete>',
        b'<!DOCTYPE Delete SYSTEM "file:///etc/passwd"><Delete/>',
        b"<Delete>" + b"<a>" * 40 + b"</a>" * 40 + b"</Delete>",
        b"<Other/>",
        b"",
        b"<Delete>",
        b"<Delete>&nbsp;</Delete>",
    ],
)
def test_doctype_depth_and_other_roots_are_refused(body: bytes) -> None:
    with pytest.raises(MalformedXML):
        xml.parse(body, "Delete")


@given(keys)
def test_list_tokens_and_url_encoding(key: str) -> None:
    assert decode_component(url_encode(key)) == key
    assert url_encode(key).isascii()
    if len(key.encode()) <= 1024:
        assert decode_token(encode_token(key)) == key


@given(st.text(max_size=40))
def test_any_token_is_valid_or_refused(token: str) -> None:
    try:
        decode_token(token)
    except InvalidArgument:
        return


@given(st.dictionaries(st.sampled_from(["content-type", "expires", "x-amz-meta-a", "range"]), st.text(max_size=30)))
def test_attributes_keep_what_is_to_be_kept(headers: dict[str, str]) -> None:
    try:
        attributes = read_attributes(headers)
    except MantaError:
        return
    assert attributes.headers == {name: headers[name] for name in ("content-type", "expires") if headers.get(name)}
    assert attributes.metadata == ({"a": headers["x-amz-meta-a"]} if "x-amz-meta-a" in headers else {})


@pytest.mark.parametrize(
    ("sent", "kept"),
    [("aws-chunked", None), ("gzip,aws-chunked", "gzip"), ("aws-chunked, gzip", "gzip"), ("gzip", "gzip"), ("", None)],
)
def test_aws_chunked_is_not_an_encoding_of_the_object(sent: str, kept: str | None) -> None:
    assert read_attributes({"content-encoding": sent}).headers.get("content-encoding") == kept


def test_no_amz_header_is_silently_ignored() -> None:
    fine = {
        "x-amz-acl": "private",
        "x-amz-storage-class": "STANDARD",
        "x-amz-date": "d",
        "range": "r",
        "x-amz-meta-a": "b",
    }
    check_headers("PutObject", frozenset({METADATA}), fine)
    for name, value in [
        ("x-amz-acl", "public-read"),
        ("x-amz-storage-class", "GLACIER"),
        ("x-amz-server-side-encryption", "AES256"),
        ("x-amz-tagging", "a=b"),
        ("x-amz-invented", "1"),
        ("x-amz-grant-read", "id=1"),
        ("x-amz-meta-a", "b"),
    ]:
        with pytest.raises(MantaError) as refused:
            check_headers("GetObject", frozenset(), {name: value})
        assert refused.value.status == 501


@given(st.text(max_size=20), st.text(max_size=20))
def test_a_reply_header_never_breaks_out_of_its_line(name: str, value: str) -> None:
    response = Response(200, {f"x-amz-meta-{name}": value})
    try:
        head = encode_head(response, "ID", keep_alive=True)
    except InvalidArgument:
        assert "\r" in name + value or "\n" in name + value
        return
    assert head.endswith(b"\r\n\r\n")
    assert head.count(b"\r\n") == len(head.split(b"\r\n")) - 1 == 7


@pytest.mark.invariant("S7")
def test_presigned_secrets_are_redacted() -> None:
    query = "X-Amz-Signature=abc&prefix=a%20b&x-amz-credential=AK%2F2026&%58-Amz-Signature=abc&Signature=s&uploads"
    assert redact_query(query) == (
        "X-Amz-Signature=REDACTED&prefix=a%20b&x-amz-credential=REDACTED&%58-Amz-Signature=REDACTED"
        "&Signature=REDACTED&uploads"
    )
