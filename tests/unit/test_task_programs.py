"""The in-task programs by themselves: what needs no agent, and how they are installed."""

import subprocess
from collections import Counter
from pathlib import Path

import pytest

import jobs.programs.task_programs
from jobs.programs import install, protocol, task_programs


def _run(name: str, *arguments: str, given: bytes = b"") -> "subprocess.CompletedProcess[bytes]":
    """As a zone runs it, by that name."""
    source = jobs.programs.task_programs.__file__
    code = f"import sys; sys.argv[0] = '/manta/bin/{name}'; exec(open({source!r}).read())"
    command = [install.interpreter(), "-IS", "-c", code, *arguments]
    return subprocess.run(
        command, input=given, capture_output=True, check=False, env={"MANTA_SOCKET": "/none", "LANG": "C.UTF-8"}
    )


def test_both_sides_speak_of_the_same_frames() -> None:
    own = (task_programs.CALL, task_programs.DATA, task_programs.END, task_programs.DONE, task_programs.FAILED)
    assert own == tuple(protocol.Kind)
    assert task_programs.FRAME_MAX == protocol.FRAME_MAX_BYTES
    assert task_programs.CALL_FIELDS < protocol.FIELDS_MAX
    assert task_programs.SOCKET_PATH == protocol.SOCKET_PATH
    assert set(install.NAMES) == set(task_programs.PROGRAMS) == set(task_programs.USAGE)


def test_programs_are_compiled_once_where_they_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    files = install.programs()
    assert len(files) == 2
    assert all(content for content in files.values())
    monkeypatch.setattr(install, "_INTERPRETERS", (__file__,))
    assert [content.splitlines()[0] for content in install.programs().values()] == [f"#!{__file__} -IS".encode()]
    assert all(not Path(target).is_absolute() for target in install.links().values())


def test_aggregates_equal_those_of_python() -> None:
    rows = [(f"k{number % 7}", number, number * 0.5) for number in range(500)]
    given = "".join(f"{key} {whole}  {half}\n" for key, whole, half in rows).encode()
    done = _run(
        "maggr", *["-k", "1", "-c", "2", "sum", "-c", "2", "count", "-c", "3", "max", "-c", "2", "min"], given=given
    )
    assert done.returncode == 0, done.stderr
    sums: Counter[str] = Counter()
    for key, whole, _ in rows:
        sums[key] += whole
    found = [line.split() for line in done.stdout.decode().splitlines()]
    assert {line[0]: int(line[1]) for line in found} == sums
    assert [line[0] for line in found] == sorted(sums)
    assert sum(int(line[2]) for line in found) == 500
    assert max(float(line[3]) for line in found) == 249.5
    assert min(int(line[4]) for line in found) == 0


@pytest.mark.parametrize(
    ("name", "arguments", "status"),
    [
        ("mpipe", ["a/b", "c/d"], 2),
        ("mpipe", ["-r", "x"], 2),
        ("mpipe", ["-z"], 2),
        ("mpipe", ["-f"], 2),
        ("mpipe", ["-f", "/does/not/exist"], 1),
        ("mpipe", [], 1),
        ("mcat", [], 2),
        ("msplit", ["-n", "0"], 2),
        ("msplit", ["-n", "129"], 2),
        ("msplit", ["-n", "2", "-f", "0"], 2),
        ("mtee", [], 2),
        ("mput", [], 2),
        ("mget", [], 2),
        ("mls", [], 2),
        ("maggr", ["-c", "1", "median"], 2),
        ("nothing", [], 2),
    ],
)
def test_misuse_is_told_in_one_line(name: str, arguments: list[str], status: int) -> None:
    done = _run(name, *arguments)
    assert done.returncode == status
    assert done.stderr
    assert b"Traceback" not in done.stderr
    assert done.stdout == b""


def test_a_line_without_its_number_is_named() -> None:
    done = _run("maggr", "-c", "2", "sum", given=b"a 1\nb\n")
    assert (done.returncode, done.stderr) == (1, b"maggr: a line has no field 2\n")
