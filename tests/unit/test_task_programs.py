"""The in-task programs by themselves, in C and in Python: what they say to an agent, and how they are installed."""

import os
import random
import re
import struct
import subprocess
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from zlib import crc32

import pytest

import manta.core.compiled
from jobs.programs import install, protocol
from jobs.programs.tasks import agent, main, outputs
from tests.support.task_programs import Programs, install_programs, recording_agent


@pytest.fixture(scope="module", params=["c", "python"])
def programs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Programs:
    return Programs(install_programs(tmp_path_factory.mktemp("programs"), request.param), request.param)


def test_both_sides_speak_of_the_same_frames() -> None:
    own = (agent.CALL, agent.DATA, agent.END, agent.DONE, agent.FAILED)
    assert own == tuple(protocol.Kind)
    assert agent.FRAME_MAX == protocol.FRAME_MAX_BYTES
    assert outputs.CALL_FIELDS < protocol.FIELDS_MAX
    assert agent.SOCKET_PATH == protocol.SOCKET_PATH
    assert set(install.NAMES) == set(main.PROGRAMS) == set(main.USAGE)
    header = (Path(install.__file__).with_name("native") / "task.h").read_text()
    assert f"enum {{ {', '.join(f'{kind.name} = {kind.value}' for kind in protocol.Kind)} }};" in header
    assert f"FRAME_MAX = {protocol.FRAME_MAX_BYTES // 1024} * 1024, CALL_FIELDS = {outputs.CALL_FIELDS}," in header


def test_without_a_compiler_python_serves(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert list(install.programs(tmp_path)) == ["/manta/bin/manta-task"]
    monkeypatch.setattr(manta.core.compiled, "COMPILERS", ("no-such-compiler",))
    assert list(install.programs(tmp_path)) == ["/manta/bin/manta-task"], "what was compiled once is kept"
    found = install.programs(tmp_path / "elsewhere")
    assert found == install.python_programs()
    assert found["/manta/bin/manta-task"].startswith(f"#!{install.interpreter()} -IS\n".encode())
    monkeypatch.setattr(install, "_INTERPRETERS", (__file__,))
    assert install.programs(tmp_path / "elsewhere") == {}
    assert all(not Path(target).is_absolute() for target in install.links().values())


def test_the_c_program_is_static(tmp_path: Path) -> None:
    """So that it runs in an image that has no libc, or another one."""
    binary = install.programs(tmp_path)["/manta/bin/manta-task"]
    assert binary.startswith(b"\x7fELF\x02\x01"), "64 bit, little-endian"
    start, size, count = struct.unpack_from("<Q", binary, 32)[0], *struct.unpack_from("<HH", binary, 54)
    kinds = [struct.unpack_from("<I", binary, start + number * size)[0] for number in range(count)]
    load, interpreter = 1, 3
    assert load in kinds
    assert interpreter not in kinds, "nothing has to be found at its start"


def test_aggregates_equal_those_of_python(programs: Programs) -> None:
    rows = [(f"k{number % 7}", number, number * 0.5) for number in range(500)]
    given = "".join(f"{key} {whole}  {half}\n" for key, whole, half in rows).encode()
    columns = ["-k", "1", "-c", "2", "sum", "-c", "2", "count", "-c", "3", "max", "-c", "2", "min", "-c", "3", "mean"]
    done = programs.run("maggr", *columns, given=given)
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
    assert {line[0]: line[5] for line in found} == {
        key: f"{sum(half) / len(half):g}" for key in sums if (half := [row[2] for row in rows if row[0] == key])
    }


@pytest.mark.parametrize(
    ("arguments", "given", "expected"),
    [
        (["-c", "1", "sum"], b"", b"0\n"),
        (["-c", "1", "mean"], b"", b"-\n"),
        (["-k", "1", "-c", "1", "count"], b"\n \n", b""),
        (["-c", "1", "sum"], b"9223372036854775807\n1\n", b"9223372036854775808\n"),
        (["-c", "1", "mean"], b"9007199254740993\n9007199254740993\n", b"9007199254740992.0\n"),
        (["-c", "1", "max", "-c", "1", "min"], b"9007199254740993\n9007199254740992.0\n",
         b"9007199254740993 9007199254740992.0\n"),
        (["-c", "1", "sum"], b"0.1\n0.2\n", b"0.30000000000000004\n"),
        (["-c", "1", "sum"], b"1e300\n", b"1e+300\n"),
        (["-c", "1", "sum"], b"0.00001\n", b"1e-05\n"),
        (["-c", "1", "sum"], b"1e16\n", b"1e+16\n"),
        (["-c", "1", "sum"], b"1.5e15\n", b"1500000000000000.0\n"),
        (["-c", "1", "sum"], b"-3\n+1\n", b"-2\n"),
        (["-c", "1", "max"], b"inf\n7\n", b"inf\n"),
        (["-d", ",", "-k", "2,1", "-c", "3", "sum"], b"a,b,1\na,,2\na,b, 3 \n", b",a,2\nb,a,4\n"),
        (["-d", "::", "-k", "1-2", "-c", "3", "count"], b"a::b::c\nx", b"a::b::1\nx::::1\n"),
        (["-k", "1", "-c", "1", "count"], b"b\nab\na\n\xff\nb", b"a 1\nab 1\nb 2\n\xff 1\n"),
    ],
)  # fmt: skip
def test_aggregates_to_the_byte(programs: Programs, arguments: list[str], given: bytes, expected: bytes) -> None:
    done = programs.run("maggr", *arguments, given=given)
    assert (done.returncode, done.stdout, done.stderr) == (0, expected, b"")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (b"x", b"not a number: x"),
        (b"1_0", b"not a number: 1_0"),
        (b"0x1p3", b"not a number: 0x1p3"),
        (b"1" * 37, b"a whole number has more than 36 digits"),
        (b"9" * 36 + b"\n" + (b"9" * 36 + b"\n") * 400, b"a sum has too many digits"),
    ],
)
def test_numbers_that_are_none(programs: Programs, given: bytes, message: bytes) -> None:
    done = programs.run("maggr", "-c", "1", "sum", given=given)
    assert (done.returncode, done.stdout, done.stderr) == (1, b"", b"maggr: " + message + b"\n")


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
        ("msplit", ["-n", "2", "-f", "1-99999999"], 2),
        ("mtee", [], 2),
        ("mput", [], 2),
        ("mget", [], 2),
        ("mls", [], 2),
        ("maggr", ["-c", "1", "median"], 2),
        ("maggr", ["-c", "1"], 2),
        ("maggr", ["-c", "1", "sum", "file"], 2),
        ("manta-task", [], 2),
    ],
)
def test_misuse_is_told_in_one_line(programs: Programs, name: str, arguments: list[str], status: int) -> None:
    done = programs.run(name, *arguments)
    assert done.returncode == status
    assert done.stderr
    assert b"Traceback" not in done.stderr
    assert done.stdout == b""
    if status == 2 and name != "manta-task":
        assert done.stderr.splitlines()[1:] == [f"usage: {main.USAGE[name]}".encode()]


def test_a_line_without_its_number_is_named(programs: Programs) -> None:
    done = programs.run("maggr", "-c", "2", "sum", given=b"a 1\nb\n")
    assert (done.returncode, done.stderr) == (1, b"maggr: a line has no field 2\n")


@pytest.mark.parametrize(
    ("name", "arguments", "fields"),
    [
        ("mpipe", [], [b"output"]),
        ("mpipe", ["-p", "-H", "content-type: a/b", "-H", "x-amz-meta-k: v", "b/k"],
         [b"output", b"name=b/k", b"header=content-type: a/b", b"header=x-amz-meta-k: v"]),
        ("mpipe", ["b/k", "-r007"], [b"output", b"name=b/k", b"reducer=7"]),
        ("mpipe", ["--", "-b/k"], [b"output", b"name=-b/k"]),
        ("mput", ["-pf", "-", "b/k\xe9"], [b"output", b"name=b/k\xc3\xa9", b"side=1"]),
        ("mtee", ["b/\n"], [b"output", b"name=b/\n", b"side=1"]),
    ],
)  # fmt: skip
def test_what_is_put_out(
    programs: Programs, tmp_path: Path, name: str, arguments: list[str], fields: list[bytes]
) -> None:
    given = os.urandom(300_000)
    with recording_agent(tmp_path) as listening:
        done = programs.run(name, *arguments, given=given, socket_path=listening.path)
    assert (done.returncode, done.stderr) == (0, b"")
    (said,) = listening.said
    assert (said.fields, said.data, said.ended) == (fields, given, True)
    assert done.stdout == (given if name == "mtee" else b"")


def test_a_file_is_put_out(programs: Programs, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"in a file")
    with recording_agent(tmp_path) as listening:
        done = programs.run("mpipe", "-f", str(tmp_path / "file"), given=b"not this", socket_path=listening.path)
    assert done.returncode == 0
    assert listening.said[0].data == b"in a file"


def test_references_go_in_frames_that_fit(programs: Programs, tmp_path: Path) -> None:
    names = [f"bucket/{'k' * 90}{number}" for number in range(5000)]
    with recording_agent(tmp_path) as listening:
        done = programs.run("mcat", *names, socket_path=listening.path)
    assert (done.returncode, done.stderr) == (0, b"")
    (said,) = listening.said
    assert [one.decode() for one in said.fields if one != b"refer"] == names
    assert said.fields.count(b"refer") > 2


@pytest.mark.parametrize(
    ("options", "chosen"), [([], None), (["-f", "2"], [1]), (["-f", "3,1-2", "-d", "::"], [2, 0, 1])]
)
def test_lines_are_dealt_by_a_hash_that_never_changes(
    programs: Programs, tmp_path: Path, options: list[str], chosen: Sequence[int] | None
) -> None:
    dice = random.Random(5)
    separator = b"::" if "-d" in options else b"\t"
    lines = [separator.join(b"%d" % dice.randrange(99) for _ in range(dice.randrange(5))) for _ in range(20_000)]
    lines += [b"", b"x" * 700_000, b"end"]
    with recording_agent(tmp_path) as listening:
        done = programs.run("msplit", "-n", "11", *options, given=b"\n".join(lines), socket_path=listening.path)
    assert (done.returncode, done.stderr) == (0, b"")
    shares: list[list[bytes]] = [[] for _ in range(11)]
    for line in lines:
        parts = line.split(separator)
        key = line if chosen is None else separator.join(parts[one] for one in chosen if one < len(parts))
        shares[crc32(key) % 11].append(line + b"\n")
    found = {said.fields[1]: said.data for said in listening.said}
    assert found == {b"reducer=%d" % number: b"".join(share) for number, share in enumerate(shares)}


def test_objects_are_read(programs: Programs, tmp_path: Path) -> None:
    blocks = {b"b/one": [b"1" * 60_000, b"2"], b"b/two": []}
    with recording_agent(tmp_path, {b"get": lambda fields: blocks[fields[1]]}) as listening:
        done = programs.run("mget", "b/one", "b/two", "b/one", socket_path=listening.path)
        saved = programs.run("mget", "-o", str(tmp_path / "got"), "b/one", socket_path=listening.path)
    assert (done.returncode, done.stdout) == (0, b"".join(blocks[b"b/one"]) * 2)
    assert (saved.returncode, saved.stdout, (tmp_path / "got").read_bytes()) == (0, b"", b"".join(blocks[b"b/one"]))


def test_listings_go_page_by_page(programs: Programs, tmp_path: Path) -> None:
    keys = [b"p/%05d" % number for number in range(3000)]
    keys[5] = b"p/\xff \n"

    def page(fields: Sequence[bytes]) -> list[bytes]:
        start = int(fields[2] or 0)
        after = b"%d" % (start + 1000) if start + 1000 < len(keys) else b""
        text = b"\0".join([after, *(part for key in keys[start : start + 1000] for part in (key, b"%d" % len(key)))])
        return [text[at : at + 9_999] for at in range(0, len(text), 9_999)]

    with recording_agent(tmp_path, {b"list": page}) as listening:
        plain = programs.run("mls", "s3://bucket/p/", socket_path=listening.path)
        long = programs.run("mls", "-l0", "/bucket/p/", socket_path=listening.path)
    assert plain.stdout == b"".join(b"bucket/" + key + b"\n" for key in keys)
    assert long.stdout == b"".join(b"%14d bucket/%s\0" % (len(key), key) for key in keys)
    assert [said.fields[1:] for said in listening.said[:2]] == [[b"s3://bucket/p/", b""], [b"s3://bucket/p/", b"1000"]]
    with recording_agent(tmp_path, {b"list": lambda _: [b""]}) as listening:
        assert programs.run("mls", "empty", socket_path=listening.path).stdout == b""


@pytest.mark.parametrize(
    ("name", "arguments"), [("mpipe", ["a/b"]), ("mcat", ["a/b"]), ("mget", ["a/b"]), ("mls", ["a"])]
)
def test_the_agents_refusal_is_told(programs: Programs, tmp_path: Path, name: str, arguments: list[str]) -> None:
    def refuse(_: Sequence[bytes]) -> bytes:
        return b"AccessDenied\0Not yours: \xc3\xa9."

    verbs = (b"output", b"refer", b"get", b"list")
    with recording_agent(tmp_path, dict.fromkeys(verbs, refuse)) as listening:
        done = programs.run(name, *arguments, given=b"x" * 1_000_000, socket_path=listening.path)
    assert done.returncode == 1
    assert done.stderr.decode() == f"{name}: AccessDenied: Not yours: é.\n"


def test_an_agent_that_is_gone_is_told(programs: Programs, tmp_path: Path) -> None:
    done = programs.run("mcat", "a/b", socket_path=str(tmp_path / "nothing"))
    assert (done.returncode, done.stderr) == (
        1, b"mcat: the node's agent cannot be reached: No such file or directory\n"
    )  # fmt: skip


def test_a_reader_that_goes_away_ends_a_program_as_in_any_pipe(programs: Programs, tmp_path: Path) -> None:
    with recording_agent(tmp_path, {b"get": lambda _: [b"x" * 60_000] * 50}) as listening:
        command = f"{programs.folder}/mget a/b | head -c 1; echo ${{PIPESTATUS[0]}}"
        done = subprocess.run(
            ["bash", "-c", command], capture_output=True, check=False, env={"MANTA_SOCKET": listening.path}
        )
    assert re.fullmatch(rb"x141\n", done.stdout), done
