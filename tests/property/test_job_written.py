"""A job's document as it is shown means what was posted, and says every property."""

import base64
from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from jobs.model.document import read_document
from jobs.model.inputs import InputSpec, parse_input
from jobs.model.where import NUMBER_MAX, Where
from jobs.model.written import written_input, written_plan
from tests.property.test_job_document import DOCUMENT

EVERYTHING: dict[str, Any] = {
    "name": "all of it",
    "phases": [
        {
            "type": "map", "exec": "wc -l", "init": "true", "assets": ["s3://tools/bin/wc"], "image": "s3://images/a.tar",
            "memory": "96M", "disk": "72M", "cpus": 0.5, "timeout": "90s", "env": {"A": "b <c>"}, "split": "64M",
            "batch": 7, "retries": 3,
        },
        {"type": "reduce", "exec": "cat", "memory": "256M", "disk": "192M", "timeout": "10m", "count": 4},
    ],
    "inputs": [
        "s3://books/moby.txt",
        {
            "bucket": "books", "prefix": "a/", "glob": "*.txt",
            "where": {
                "size": {"ge": 10, "le": 99}, "modified": {"ge": "2026-01-31T00:00:00+00:00"},
                "metadata": {"project": "apollo"},
            },
        },
    ],
    "end": False,
    "output": "s3://results/words/",
    "max_errors": 9,
}  # fmt: skip
KEYS = st.text("ab/*?[%é ", max_size=6)
MOMENTS = st.integers(-62_135_596_800_000, 253_402_300_799_999)
WHERE = st.builds(
    Where,
    st.integers(0, NUMBER_MAX),
    st.integers(-1, NUMBER_MAX),  # -1 is of `{"lt": 0}`
    MOMENTS | st.just(-NUMBER_MAX),
    MOMENTS | st.just(NUMBER_MAX),
    st.sampled_from([(), (("project", "apollo"),)]),
)
SPECS = st.builds(InputSpec, st.just("books"), key=KEYS.filter(bool)) | st.builds(
    InputSpec, st.just("books"), prefix=KEYS, glob=st.none() | KEYS.filter(bool), where=st.none() | WHERE
)


def _written(document: object) -> dict[str, object]:
    parsed = read_document(document)
    return written_plan(parsed.plan) | {"inputs": [written_input(spec) for spec in parsed.inputs], "end": parsed.end}


def test_every_property_is_told_as_people_write_it() -> None:
    assert _written(EVERYTHING) == EVERYTHING


def test_the_limits_that_hold_are_told_where_nothing_was_said() -> None:
    shown = _written({"phases": [{"type": "map", "exec": "wc"}]})
    limits = {"memory": "256M", "disk": "128M", "timeout": "10m"}
    assert shown == {"name": "", "phases": [{"type": "map", "exec": "wc"} | limits], "inputs": [], "end": False}


def test_the_scratch_that_holds_is_told_of_a_job_that_was_taken_with_more() -> None:
    plan = read_document({"phases": [{"type": "map", "exec": "wc", "memory": "8M"}]}).plan
    older = structs.replace(plan, phases=(structs.replace(plan.phases[0], scratch_bytes=1 << 30),))
    assert written_plan(older) == written_plan(plan)


def test_a_function_is_told_by_its_name_and_size() -> None:
    program = {"name": "count_words", "python": "3.11", "code": base64.b64encode(b"x" * 100).decode()}
    shown: Any = _written({"phases": [{"type": "map", "program": program}]})
    assert shown["phases"][0]["program"] == {"name": "count_words", "python": "3.11", "bytes": 100}


@given(DOCUMENT)
def test_a_shown_document_is_the_posted_one(document: dict[str, Any]) -> None:
    assert read_document(_written(document)) == read_document(document)


@given(SPECS)
def test_a_shown_input_is_the_written_one(spec: InputSpec) -> None:
    assert parse_input(written_input(spec)) == spec


def test_what_names_nothing_is_shown_as_it_was_written() -> None:
    for written in ("books/moby.txt", "s3://Bad_Bucket/x", "s3://"):
        assert written_input(parse_input(written)) == written


def test_a_moment_beyond_all_dates_is_the_last_one() -> None:
    shown: Any = written_input(InputSpec("books", where=Where(modified_max_ms=NUMBER_MAX - 1)))
    assert shown["where"] == {"modified": {"le": datetime.max.replace(microsecond=999_000, tzinfo=UTC).isoformat()}}


def test_what_names_nothing_is_never_shown_as_what_names_something() -> None:
    """Its text alone may be that of a whole bucket."""
    for written in ({"bucket": "books", "key": ""}, {"bucket": "books", "prefix": "x" * 1025}):
        spec = parse_input(written)
        assert spec.malformed is not None
        assert parse_input(written_input(spec)) == spec


def test_sizes_below_0_are_shown_as_they_can_be_written() -> None:
    spec = parse_input({"bucket": "books", "prefix": "", "where": {"size": {"lt": 0}}})
    assert parse_input(written_input(spec)) == spec
