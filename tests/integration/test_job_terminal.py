"""What `manta job run` draws: on terminals of several widths, without colour, and where there is no terminal."""

import fcntl
import os
import pty
import re
import struct
import sys
import termios
from collections.abc import Iterator

import pytest

from tests.support.store import RunningStore, running_store

_COLOUR = re.compile(rb"\x1b\[(?:\d+;)*(?:3\d|4\d|9\d|10\d)[;m]")
_ESCAPE = re.compile(rb"\x1b\[[0-9;?]*[A-Za-z]")
_RUN = [
    "job",
    "run",
    "-m",
    'sleep 0.3; n=${MANTA_INPUT_OBJECT##*-}; [ "$n" != 2 ] || { echo no >&2; exit 3; }',
    "-r",
    "wc -l",
]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStore]:
    with running_store(tmp_path_factory.mktemp("terminal"), "--nodes", "1") as store:
        with store.client() as client:
            client.make_bucket("things")
            for number in range(6):
                client.write(f"s3://things/a-name-{number}", b"1")
        yield store


def _on_terminal(store: RunningStore, columns: int, **environment: str) -> tuple[bytes, int]:
    """Everything that was drawn, and the exit code."""
    arguments = [sys.executable, "-m", "manta.cli.main", *_RUN, "s3://things/*"]
    child, terminal = pty.fork()
    if child == 0:
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        os.execve(sys.executable, arguments, store.environment | {"TERM": "xterm-256color"} | environment)
    drawn = b""
    try:
        while data := os.read(terminal, 65_536):
            drawn += data
    except OSError:  # how the end of a terminal is told
        pass
    os.close(terminal)
    return drawn, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_rows_fit_the_terminal(running: RunningStore, columns: int) -> None:
    drawn, code = _on_terminal(running, columns)
    assert code == 3
    assert _COLOUR.search(drawn)
    rows = [
        row.decode() for row in re.split(rb"[\r\n]+", _ESCAPE.sub(b"", drawn)) if re.match(rb"[01] (map|reduce)", row)
    ]
    assert rows
    assert all(len(row) <= columns for row in rows)
    finished = [int(row[1]) for row in re.finditer(r"0 map +[━·]* ?(\d+) of", "\n".join(rows))]
    assert finished == sorted(finished), "counts never go back"
    assert finished[-1] == 6
    assert "UserTaskError: The task ended with exit status 3." in _ESCAPE.sub(b"", drawn).decode()
    assert b"\x1b[2K0\r\n" in drawn, "the answer, where the rows were"


def test_no_colour_where_none_is_wanted(running: RunningStore) -> None:
    drawn, code = _on_terminal(running, 80, NO_COLOR="1")
    assert code == 3
    assert _COLOUR.search(drawn) is None
    assert "━".encode() in drawn


def test_where_there_is_no_terminal_nothing_moves(running: RunningStore) -> None:
    done = running.manta(*_RUN, "s3://things/*")
    assert (done.returncode, done.stdout) == (3, b"0\n")
    assert b"\x1b" not in done.stderr
    lines = done.stderr.decode().splitlines()
    assert lines[1:3] == ["UserTaskError: The task ended with exit status 3.  (things/a-name-2, task 3)", "    no"]
    assert lines[3].startswith("done: 6 inputs, 1 output, 1 error; ")
    assert running.manta(*_RUN, "--json", "s3://things/*").stdout.startswith(b'{"seq":1,')
