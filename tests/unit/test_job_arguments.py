"""The arguments of `manta job run`: options belong to the phase that follows, mistakes are named."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manta.cli.job_arguments import JobArguments, require_inputs
from manta.cli.job_arguments import parse as parse_arguments
from manta.core.errors import InvalidArgument

words = st.text(alphabet="abc xyz'|*{}$", min_size=1, max_size=12).filter(lambda text: not text.startswith("-"))
phases = st.lists(st.tuples(st.sampled_from(["map", "reduce"]), words, st.booleans()), min_size=1, max_size=4)


_NO_INPUTS = ("5", "null", '"s3://b/k"', '{"bucket": "b"}', "[5]", '["s3://b/k", null]', f'"{"a" * 1000}"')


def parse(arguments: list[str]) -> JobArguments:
    return parse_arguments(arguments, lambda name: Path(name).read_bytes())


@given(phases, st.lists(words, max_size=4))
def test_each_phase_gets_the_options_before_it(wanted: list[tuple[str, str, bool]], inputs: list[str]) -> None:
    arguments: list[str] = []
    for number, (kind, command, limited) in enumerate(wanted):
        arguments += ["--memory", f"{number + 1}M"] if limited else []
        arguments += ["-m" if kind == "map" else "-r", command]
    parsed = parse([*arguments, *inputs])
    assert [(p["type"], p["exec"], p.get("memory")) for p in parsed.phases] == [
        (kind, command, f"{number + 1}M" if limited else None) for number, (kind, command, limited) in enumerate(wanted)
    ]
    assert parsed.inputs == inputs


@pytest.mark.parametrize("cpus", ["two", "nan", "inf"])
def test_cpus_are_a_number(cpus: str) -> None:
    with pytest.raises(InvalidArgument, match="--cpus is a number"):
        parse(["--cpus", cpus, "-m", "wc", "s3://b/"])


def test_everything_at_once() -> None:
    parsed = parse(
        [
            "--name=count",
            "--env",
            "A=1=2",
            "--timeout=5s",
            "-m",
            "wc",
            "--count",
            "3",
            "-r",
            "sort",
            "s3://b/",
            "--json",
        ]
    )
    assert parsed.phases == [
        {"type": "map", "exec": "wc", "env": {"A": "1=2"}, "timeout": "5s"},
        {"type": "reduce", "exec": "sort", "count": 3},
    ]
    assert parsed.properties == {"name": "count"}
    assert parsed.inputs == ["s3://b/"]
    assert parsed.json


def test_what_a_phase_brings_and_takes_stands_before_it() -> None:
    words = [
        "--asset",
        "s3://t/a",
        "--asset",
        "s3://t/b",
        "--image=s3://i/x.tar",
        "-m",
        "x",
        "--cpus",
        "0.5",
        "--disk",
        "1G",
        "-r",
        "y",
        "s3://b/",
    ]
    one, two = parse(words).phases
    assert (one["assets"], one["image"]) == (["s3://t/a", "s3://t/b"], "s3://i/x.tar")
    assert (two["cpus"], two["disk"]) == (0.5, "1G")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "at least one phase"),
        (["s3://b/k"], "at least one phase"),
        (["-m"], "-m needs a value"),
        (["--init", "-m", "cat", "s3://books/emma"], "--init needs a value before -m."),
        (["-m", "wc", "-r", "sort", "--memory", "1M"], "--memory stands behind the last phase"),
        (["--file", "/no/such/file"], "cannot be read"),
        (["--memroy", "1M", "-m", "wc"], "no option --memroy"),
        (["--count", "many", "-r", "wc"], "whole number"),
        (["--wait", "soon", "-m", "wc"], "--wait is a whole number"),
        (["--count", "9" * 5000, "-r", "wc"], "count has at most 12 digits, not 5,000"),
        (["--wait", "9" * 400, "-m", "wc"], "--wait has at most 12 digits"),
        (["--env", "A", "-m", "wc"], "K=V"),
        (["--cpus", "few", "-m", "wc"], "0.5 or 2"),
    ],
)
def test_mistakes_are_named(arguments: list[str], said: str) -> None:
    with pytest.raises(InvalidArgument, match=said):
        parse(arguments)


def test_zeros_before_a_number_say_nothing_however_many() -> None:
    assert parse(["-m", "wc", "--retries", "0" * 5000 + "5"]).phases == [{"type": "map", "exec": "wc", "retries": 5}]


def test_with_one_phase_options_may_follow_it() -> None:
    assert parse(["-m", "wc", "--memory", "1M", "s3://b/"]).phases == [{"type": "map", "exec": "wc", "memory": "1M"}]


def test_a_document_in_a_file_is_taken_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "job.json"
    path.write_text(
        '{"name": "n", "phases": [{"type": "map", "exec": "wc"}], "inputs": [{"bucket": "b", "prefix": ""}]}'
    )
    parsed = parse(["--file", str(path), "s3://c/d", "--max-errors", "3"])
    assert parsed.phases == [{"type": "map", "exec": "wc"}]
    assert parsed.inputs == [{"bucket": "b", "prefix": ""}, "s3://c/d"]
    assert parsed.properties == {"name": "n", "max_errors": 3}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"phases": [{"type": "map", "exec": "wc", "exec": "cat"}]}', "job.json `exec` comes twice"),
        ("{", "job.json is no job document"),
        ("[]", "job.json is no job document"),
        ("[" * 100_000, "job.json is no job document"),
        *((f'{{"phases": {value}}}', "`phases` is a list of objects, not") for value in ("5", "null", '"ab"', '["x"]')),
        *((f'{{"inputs": {value}}}', "`inputs` is a list of strings and objects, not") for value in _NO_INPUTS),
    ],
)
def test_what_is_wrong_with_a_document_in_a_file_is_told(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "job.json"
    path.write_text(text)
    with pytest.raises(InvalidArgument, match=said):
        parse(["--file", str(path), "s3://c/d"])


def test_where_holds_for_every_input() -> None:
    conditions = ["--where", "size>=1M", "--where=metadata.a b=x=y", "--where", "size<2M"]
    where = {"size": {"ge": "1M", "lt": "2M"}, "metadata": {"a b": "x=y"}}
    assert parse(["-m", "wc", "s3://bks/*.txt", *conditions, "s3://bks/"]).inputs == [
        {"bucket": "bks", "glob": "*.txt", "where": where},
        {"bucket": "bks", "where": where},
    ]
    for wrong in ("size=1", "sise>1", "metadata.x>1", "size"):
        with pytest.raises(InvalidArgument, match="--where"):
            parse(["-m", "wc", "s3://bks/", "--where", wrong])
    with pytest.raises(InvalidArgument, match="stdin"):
        parse(["-m", "wc", "-", "--where", "size>1"])


@pytest.mark.parametrize(
    ("properties", "phase", "told"),
    [
        ({"input": ["s3://b/"]}, {}, "did you mean `inputs`?"),
        ({}, {"comand": "wc"}, "`comand` is no property of phase 0"),
        ({"name": "count"}, {}, "at least one INPUT"),
    ],
)
def test_a_misspelt_property_is_told_before_that_inputs_are_missing(
    properties: dict[str, object], phase: dict[str, object], told: str
) -> None:
    phases: list[dict[str, object]] = [{"type": "map", "exec": "wc", **phase}]
    with pytest.raises(InvalidArgument, match=re.escape(told)):
        require_inputs(JobArguments(phases, properties=properties))


def test_a_job_with_inputs_is_left_to_the_store() -> None:
    require_inputs(JobArguments(inputs=["s3://b/"], properties={"newer": 1}))
