"""The job document: what is well formed is taken as it is, anything else is refused with one sentence."""

import contextlib
import fnmatch
import re
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.model.document import JobDocument, decode_plan, encode_plan, parse_document, read_document
from jobs.model.globs import compile_glob, literal_prefix
from jobs.model.inputs import InputSpec, parse_input
from jobs.model.units import parse_duration, parse_size
from jobs.model.wire import TaskKind
from manta.catalog.job_chunks import decode_chunk, encode_chunks
from manta.core import limits
from manta.core.errors import BadRequest, InvalidArgument, NotImplementedHere

REFUSALS = (BadRequest, NotImplementedHere)
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20)
PHASE = st.fixed_dictionaries(
    {"type": st.just("map"), "exec": TEXT.filter(str.strip)},
    optional={
        "init": TEXT,
        "memory": st.sampled_from(["256M", "1G", 8 << 20]),
        "disk": st.sampled_from(["1M", "6M"]),
        "timeout": st.sampled_from(["10m", "90s", 5, 0.5, "7d"]),
        "env": st.dictionaries(st.sampled_from(["A", "B_C"]), TEXT),
        "retries": st.integers(0, 100),
        "assets": st.lists(st.sampled_from(["s3://tools/x.sh", "s3://tools/bin/y"]), max_size=3),
        "image": st.just("s3://images/tools.tar"),
        "cpus": st.sampled_from([0.01, 0.5, 2, 256]),
    },
)
DOCUMENT = st.fixed_dictionaries(
    {"phases": st.lists(PHASE, min_size=1, max_size=4)},
    optional={
        "name": TEXT,
        "inputs": st.lists(st.sampled_from(["s3://books/a", "s3://books/", {"bucket": "books", "glob": "*.txt"}])),
        "end": st.booleans(),
        "output": st.just("s3://results/x/"),
        "max_errors": st.integers(1, 9),
    },
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(DOCUMENT)
def test_a_good_document_is_taken_and_its_plan_survives_the_catalog(document: dict[str, Any]) -> None:
    parsed = parse_document(msgspec.json.encode(document))
    assert decode_plan(encode_plan(parsed.plan)) == parsed.plan
    assert parsed.end == document.get("end", "inputs" in document)
    assert [phase.exec for phase in parsed.plan.phases] == [phase["exec"] for phase in document["phases"]]
    assert len(parsed.inputs) == len(document.get("inputs", []))


@given(JSON)
def test_any_json_is_parsed_or_refused(value: object) -> None:
    with contextlib.suppress(*REFUSALS):
        assert isinstance(read_document(value), JobDocument)


@given(st.dictionaries(st.sampled_from(["type", "exec", "phases", "inputs", "count", "env", "memory", "name"]), JSON))
def test_known_names_with_any_value_are_parsed_or_refused(value: dict[str, object]) -> None:
    for document in (
        value,
        {"phases": [value]},
        {"phases": [{"type": "map", "exec": "x", **value}]},
        {"inputs": [value]},
    ):
        with contextlib.suppress(*REFUSALS):
            assert isinstance(read_document(document), JobDocument)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("phases", '{"phases": [], "phases": [{"type": "map", "exec": "x"}]}'),
        ("exec", '{"phases": [{"type": "map", "exec": "rm", "exec": "x"}]}'),
        ("A", '{"phases": [{"type": "map", "exec": "x", "env": {"A": "1", "A": "1"}}]}'),
        (
            "bucket",
            '{"phases": [{"type": "map", "exec": "x"}], "inputs": [{"bucket": "b", "key": "k", "bucket": "c"}]}',
        ),
        ("end", '{"end": true, "phases": [{"type": "map", "exec": "x"}], "e\\u006ed": false}'),
    ],
)
def test_a_property_that_comes_twice_is_named(name: str, text: str) -> None:
    with pytest.raises(BadRequest, match=f"`{name}` comes twice"):
        parse_document(text.encode())


@given(st.binary(max_size=64))
def test_any_bytes_are_parsed_or_refused(body: bytes) -> None:
    with contextlib.suppress(*REFUSALS):
        assert isinstance(parse_document(body), JobDocument)


@pytest.mark.parametrize(
    ("phase", "told"),
    [
        ({"exex": "x"}, "`exec`"),
        ({"memroy": "1G"}, "`memory`"),
        ({"timeout": "soon"}, "`timeout`"),
        ({"timeout": 0}, "`timeout`"),
        ({"memory": "1K"}, "`memory`"),
        ({"count": 2}, "`count`"),
        ({"env": {"A=B": "x"}}, "'A=B'"),
        ({"env": {"MANTA_JOB_ID": "x"}}, "MANTA_"),
        ({"exec": " "}, "`exec`"),
        ({"type": "shuffle"}, "map or reduce"),
        ({"retries": -1}, "`retries`"),
        ({"cpus": 0}, "`cpus`"),
        ({"cpus": 257}, "`cpus`"),
        ({"cpus": "2"}, "`cpus`"),
        ({"disk": "65G"}, "`disk`"),
        ({"image": "tools.tar"}, "`image`"),
        ({"image": ["s3://images/x"]}, "`image`"),
        ({"assets": ["s3://tools/a//b"]}, "`assets`"),
        ({"exec": "x" * (limits.EXEC_MAX_BYTES + 1)}, "bytes"),
    ],
)
def test_what_is_wrong_with_a_phase_is_named(phase: dict[str, object], told: str) -> None:
    with pytest.raises(InvalidArgument, match=re.escape(told)):
        read_document({"phases": [{"type": "map", "exec": "wc", **phase}]})


def _scratch(**said: object) -> int:
    return read_document({"phases": [{"type": "map", "exec": "wc", **said}]}).plan.phases[0].scratch_bytes


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"disk": "512M"}, "512M, .* 192M of 256M: "),
        ({"disk": "6145K", "memory": "8M"}, "6.0009765625M, .* 6M of 8M: "),
    ],
    ids=["default memory", "one that is asked for"],
)
def test_more_scratch_than_the_memory_has_room_for_is_refused(said: dict[str, object], told: str) -> None:
    with pytest.raises(InvalidArgument, match=f"`disk` is {told}ask for more `memory`"):
        _scratch(**said)


def test_scratch_has_three_quarters_of_the_memory_at_most() -> None:
    mib = limits.MIB
    assert (_scratch(disk="192M"), _scratch(disk="512M", memory="1G")) == (192 * mib, 512 * mib)
    assert (_scratch(), _scratch(memory="1G"), _scratch(memory="8M")) == (128 * mib, 128 * mib, 6 * mib)


def test_split_is_for_map_phases_and_bounded() -> None:
    def split(value: object, kind: str = "map") -> int | None:
        return read_document({"phases": [{"type": kind, "exec": "wc", "split": value}]}).plan.phases[0].split_bytes

    assert (split("64M"), split(1 << 20), split(None)) == (64 << 20, 1 << 20, None)
    for wrong in ("63K", 0, "6T", "many", True):
        with pytest.raises(InvalidArgument, match=r"`split` is a size (from 64K to 5T,|such as)"):
            split(wrong)
    with pytest.raises(InvalidArgument, match="map phases"):
        split("64M", "reduce")


def test_batch_is_for_map_phases_and_bounded() -> None:
    def batch(value: object, **more: object) -> int:
        return read_document({"phases": [{"type": "map", "exec": "wc", "batch": value, **more}]}).plan.phases[0].batch

    assert (batch(1), batch(limits.BATCH_INPUTS_MAX), batch(None)) == (1, limits.BATCH_INPUTS_MAX, 1)
    for wrong in (0, limits.BATCH_INPUTS_MAX + 1, "10", True):
        with pytest.raises(InvalidArgument, match="`batch`"):
            batch(wrong)
    with pytest.raises(InvalidArgument, match="map phases"):
        batch(2, type="reduce")
    with pytest.raises(InvalidArgument, match="more than 7d"):
        batch(10, timeout="1d")


def test_bounds_of_a_document() -> None:
    phase = {"type": "reduce", "exec": "x", "count": limits.REDUCERS_MAX}
    assert read_document({"phases": [phase] * limits.PHASES_MAX}).plan.phases[0].count == limits.REDUCERS_MAX
    with pytest.raises(InvalidArgument):
        read_document({"phases": [phase] * (limits.PHASES_MAX + 1)})
    with pytest.raises(InvalidArgument):
        read_document({"phases": [{**phase, "count": limits.REDUCERS_MAX + 1}]})
    with pytest.raises(BadRequest, match="bytes"):
        read_document({"phases": [{**phase, "exec": "x" * limits.EXEC_MAX_BYTES}] * 8})
    assert read_document({"phases": [phase]}).plan.phases[0].kind is TaskKind.REDUCE


@given(st.integers(0, 1 << 40))
def test_sizes(number: int) -> None:
    assert parse_size(number, "x") == parse_size(str(number), "x") == parse_size(f"{number}B", "x") == number
    assert (
        parse_size(f"{number}M", "x")
        == parse_size(f"{number} MiB", "x")
        == parse_size(f"{number}mb", "x")
        == number << 20
    )


@given(st.integers(0, 100_000))
def test_durations(number: int) -> None:
    assert parse_duration(number, "x") == parse_duration(f"{number}s", "x") == number
    assert parse_duration(f"{number}m", "x") == number * 60
    assert parse_duration(f"{number}ms", "x") == pytest.approx(number / 1000)


@pytest.mark.parametrize("bad", ["", "x", "-1", "1X", "1.2.3M", None, [], True, -1, float("inf")])
def test_what_is_no_quantity(bad: object) -> None:
    with pytest.raises(InvalidArgument):
        parse_size(bad, "x")
    with pytest.raises(InvalidArgument):
        parse_duration(bad, "x")


def test_a_number_that_no_float_holds_is_no_duration() -> None:
    with pytest.raises(InvalidArgument):
        parse_document(b'{"phases":[{"type":"map","exec":"wc","timeout":1%s}]}' % (b"0" * 400))


@pytest.mark.parametrize(
    ("written", "spec"),
    [
        ("s3://books/a/b.txt", InputSpec("books", key="a/b.txt")),
        ("s3://books/a/", InputSpec("books", prefix="a/")),
        ("s3://books", InputSpec("books")),
        ("s3://books/", InputSpec("books")),
        ("s3://books/*.txt", InputSpec("books", glob="*.txt")),
        ({"bucket": "books", "key": "a*"}, InputSpec("books", key="a*")),
        ({"bucket": "books", "prefix": "p/", "glob": "*"}, InputSpec("books", prefix="p/", glob="*")),
        ("books/a", InputSpec("", malformed="books/a")),
        ("s3://X/a", InputSpec("", malformed="s3://X/a")),
        ("s3://books/a\0", InputSpec("", malformed="s3://books/a\ufffd")),
        ("s3://books/\0*", InputSpec("", malformed="s3://books/\ufffd*")),
        ({"bucket": "books", "glob": "\ud800*"}, InputSpec("", malformed="s3://books/")),
    ],
)
def test_inputs(written: object, spec: InputSpec) -> None:
    assert parse_input(written) == spec


@given(st.lists(st.builds(InputSpec, TEXT, key=st.none() | TEXT, prefix=TEXT, glob=st.none() | TEXT), max_size=5))
def test_inputs_survive_the_catalog(specs: list[InputSpec]) -> None:
    chunks = list(encode_chunks(specs))
    assert [spec for data, _ in chunks for spec in decode_chunk(data)] == specs
    assert sum(total for _, total in chunks) == len(specs)


FLAT = st.text("ab.-[]!?*", max_size=8)


@given(FLAT.filter(lambda glob: "**" not in glob and "-" not in glob), st.text("ab.[]!", max_size=8))
def test_without_slashes_a_glob_is_that_of_shells(glob: str, key: str) -> None:
    assert compile_glob(glob).matches(key) == fnmatch.fnmatchcase(key, glob)


@given(st.lists(st.sampled_from(["a", "b", "/", "*", "**", "?"]), max_size=8), st.text("ab/", max_size=10))
def test_one_star_stays_within_a_folder_and_two_do_not(pieces: list[str], key: str) -> None:
    glob = "".join(pieces)
    pattern = "".join(
        {"?": "[^/]"}.get(piece, ".*" if piece.startswith("**") else "[^/]*" if piece == "*" else piece)
        for piece in re.findall(r"\*+|.", glob)
    )
    assert compile_glob(glob).matches(key) == (re.fullmatch(pattern, key) is not None)


@given(FLAT, st.text("ab.[]!/", max_size=8))
def test_every_match_has_the_literal_prefix(glob: str, key: str) -> None:
    spec = InputSpec("books", glob=glob)
    assert not spec.matches(key) or key.startswith(literal_prefix(glob))
    assert literal_prefix(glob) == spec.listing_prefix


def test_sets_of_characters() -> None:
    assert compile_glob("a[0-9].txt").matches("a7.txt")
    assert not compile_glob("a[!0-9].txt").matches("a7.txt")
    assert not compile_glob("a[!x]b").matches("a/b")


@pytest.mark.invariant("S3")
def test_a_hostile_glob_takes_no_longer_than_its_key_is_long() -> None:
    glob = compile_glob("*a" * 500 + "b")
    assert not glob.matches("a" * 1024)
