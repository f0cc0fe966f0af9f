"""Names: what may be a bucket, a key or an id, and that none of them can name a path."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manta.core import names
from manta.core.errors import InvalidArgument, InvalidBucketName, InvalidURI, KeyTooLong, MantaError

LABEL = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?", fullmatch=True)
TIMES = st.integers(0, 2**48 - 1)


@given(st.lists(LABEL, min_size=1, max_size=4).map(".".join))
def test_good_bucket_names(name: str) -> None:
    bad_length = not 3 <= len(name) <= 63
    address = name.count(".") == 3 and name.replace(".", "").isdigit()
    if bad_length or address:
        with pytest.raises(InvalidBucketName):
            names.check_bucket(name)
    else:
        assert names.check_bucket(name) == name


@pytest.mark.invariant("S2")
@given(st.text(max_size=70))
def test_any_accepted_bucket_name_is_one_plain_word(name: str) -> None:
    try:
        names.check_bucket(name)
    except InvalidBucketName:
        return
    assert name.isascii()
    assert name == name.lower()
    assert not set(name) & set("/\\\0 _%")
    assert ".." not in name
    assert name[0] not in ".-"
    assert name[-1] not in ".-"


@pytest.mark.parametrize(
    "name",
    ["", "ab", "a" * 64, "Abc", "a_b", "-abc", "abc-", ".abc", "a..b", "a/b", "127.0.0.1", "_manta", "abc\n", "übc"],
)
def test_bad_bucket_names(name: str) -> None:
    with pytest.raises(InvalidBucketName):
        names.check_bucket(name)


@pytest.mark.parametrize("name", ["job-1234", "xn--abc", "sthree-x"])
def test_reserved_names_are_not_for_new_buckets(name: str) -> None:
    assert names.check_bucket(name) == name
    with pytest.raises(InvalidBucketName, match="reserved"):
        names.check_new_bucket(name)


@given(st.text(max_size=1100))
def test_keys(key: str) -> None:
    try:
        assert names.check_key(key) == key
    except MantaError:
        encodable = not any(0xD800 <= ord(character) <= 0xDFFF for character in key)
        assert not key or "\0" in key or not encodable or len(key.encode()) > 1024


def test_keys_at_their_limits() -> None:
    assert names.check_key("ü" * 512)
    with pytest.raises(KeyTooLong):
        names.check_key("ü" * 512 + "a")
    for bad in ("", "a\0b", "\udcff"):
        with pytest.raises(InvalidURI):
            names.check_key(bad)


@given(TIMES)
def test_ids_carry_their_birth(now_ms: int) -> None:
    identity, job = names.new_id(now_ms), names.new_job_id(now_ms)
    assert names.check_id(identity) == identity
    assert names.check_job_id(job) == job
    assert names.birth_ms(identity) == names.birth_ms(job) == now_ms
    assert names.check_bucket(names.job_bucket(job)) == "job-" + job


@given(TIMES, TIMES)
def test_ids_sort_by_birth(one: int, other: int) -> None:
    if one < other:
        assert names.new_id(one) < names.new_id(other)


@pytest.mark.invariant("S2")
@given(st.text(max_size=40))
def test_no_checked_id_is_a_path(text: str) -> None:
    for check in (names.check_id, names.check_job_id, names.check_node_id):
        try:
            check(text)
        except InvalidArgument:
            continue
        assert text not in (os.curdir, os.pardir)
        assert not set(text) & {os.sep, "\0", "\n"}


@pytest.mark.invariant("S2")
@pytest.mark.parametrize(
    "text", ["..", "../x", "a" * 31, "a" * 33, "A" * 32, "a" * 31 + "\n", "a" * 32 + "\n", "/", ""]
)
def test_bad_ids(text: str) -> None:
    for check in (names.check_id, names.check_job_id):
        with pytest.raises(InvalidArgument):
            check(text)


@given(st.text(max_size=20))
def test_split_uri(key: str) -> None:
    assert names.split_uri(f"s3://bucket/{key}") == ("bucket", key)


@pytest.mark.parametrize("uri", ["", "bucket/key", "http://bucket/key", "s3:/bucket", "s3://", "S3://bucket/key"])
def test_other_uris_are_refused(uri: str) -> None:
    with pytest.raises(InvalidArgument):
        names.split_uri(uri)
