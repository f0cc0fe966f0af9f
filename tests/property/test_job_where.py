"""`where` of an input: what is taken means what it says, anything else is refused with a sentence."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.model.inputs import as_object, parse_input
from jobs.model.where import Where, parse_where
from manta.catalog.job_chunks import decode_chunk, encode_chunks
from manta.core.errors import BadRequest, InvalidArgument, NotImplementedHere
from manta.core.limits import METADATA_MAX_BYTES, WHERE_METADATA_MAX

DAY_MS = 86_400_000
COMPARE = {
    "lt": lambda value, bound: value < bound,
    "le": lambda value, bound: value <= bound,
    "gt": lambda value, bound: value > bound,
    "ge": lambda value, bound: value >= bound,
}
BOUNDS = st.dictionaries(st.sampled_from(sorted(COMPARE)), st.integers(0, 20), min_size=1)


def _iso(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat()


@given(BOUNDS, BOUNDS, st.integers(0, 21), st.integers(0, 21))
def test_bounds_mean_what_they_say(size: dict[str, int], modified: dict[str, int], has: int, at_ms: int) -> None:
    where = parse_where({"size": size, "modified": {name: _iso(bound) for name, bound in modified.items()}})
    expected = all(COMPARE[name](has, bound) for name, bound in size.items())
    expected &= all(COMPARE[name](at_ms, bound) for name, bound in modified.items())
    assert where.matches(has, at_ms, dict) == expected


@pytest.mark.parametrize("bound", [10**30, "999999999999999999T"])
@pytest.mark.parametrize("name", sorted(COMPARE))
def test_a_bound_beyond_all_sizes_is_kept(name: str, bound: object) -> None:
    where = parse_where({"size": {name: bound}})
    assert where.matches(1 << 50, 0, dict) is (name in ("lt", "le"))
    spec = parse_input({"bucket": "books", "prefix": "", "where": {"size": {name: bound}}})
    assert decode_chunk(next(encode_chunks([spec]))[0]) == [spec]


def test_dates_are_utc_unless_they_say_otherwise() -> None:
    for text, expected in (
        ("1970-01-02", DAY_MS),
        ("1970-01-02T00:00:00Z", DAY_MS),
        ("1970-01-02T02:00:00+02:00", DAY_MS),
        ("1970-01-02 00:00:01.5", DAY_MS + 1500),
    ):
        assert parse_where({"modified": {"ge": text}}).modified_min_ms == expected


def test_metadata_must_be_equal_and_is_asked_for_only_then() -> None:
    where = parse_where({"metadata": {"X-Amz-Meta-Project": "apollo", "run": ""}})
    assert where.matches(1, 1, lambda: {"project": "apollo", "run": "", "more": "x"})
    assert not where.matches(1, 1, lambda: {"project": "Apollo", "run": ""})
    assert not where.matches(1, 1, lambda: {"project": "apollo"})
    unasked: Any = None
    assert Where().matches(1, 1, unasked)


@pytest.mark.parametrize(
    ("where", "told"),
    [
        ({"sise": {}}, "did you mean `size`?"),
        ({"size": {"gte": 1}}, "did you mean `gt`?"),
        ({"size": {}}, "bounds"),
        ({"size": "1M"}, "bounds"),
        ({"size": {"ge": "big"}}, "size such as"),
        ({"modified": {"ge": "yesterday"}}, "date such as"),
        ({"modified": {"ge": 5}}, "date such as"),
        ({"metadata": {"a": 1}}, "names and texts"),
        ({"metadata": {"a": "x" * METADATA_MAX_BYTES}}, "bytes in all"),
        ({"metadata": {str(number): "" for number in range(WHERE_METADATA_MAX + 1)}}, "at most"),
        ("size>1", "an object with"),
    ],
)
def test_what_is_wrong_is_named(where: object, told: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        parse_input({"bucket": "books", "where": where})
    assert told in refused.value.message


def test_tags_are_not_here_and_a_key_needs_no_choice() -> None:
    with pytest.raises(NotImplementedHere, match="tags"):
        parse_where({"tags": {"a": "b"}})
    with pytest.raises(InvalidArgument, match="prefix"):
        parse_input({"bucket": "books", "key": "a", "where": {"size": {"ge": 1}}})


@given(st.recursive(st.none() | st.text(max_size=5) | st.integers(), lambda inner: st.dictionaries(
    st.sampled_from(["size", "modified", "metadata", "ge", "lt", "x"]), inner, max_size=3), max_leaves=6))  # fmt: skip
def test_any_value_is_taken_or_refused(value: object) -> None:
    try:
        where = parse_where(value)
    except BadRequest:
        return
    (spec,) = decode_chunk(next(encode_chunks([parse_input({"bucket": "books", "where": value})]))[0])
    assert spec.where == where


@pytest.mark.parametrize("uri", ["s3://books/a", "s3://books/", "s3://books", "s3://books/x/", "s3://books/*.txt"])
def test_an_object_says_what_its_uri_says(uri: str) -> None:
    assert parse_input(as_object(uri)) == parse_input(uri)
