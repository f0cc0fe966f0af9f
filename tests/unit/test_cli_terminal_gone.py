"""Commands whose terminal was closed under them: an ordinary end, and no trace of a defect."""

import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def closed() -> Iterator[int]:
    """A terminal that nobody shows any more."""
    master, slave = pty.openpty()
    os.close(master)
    yield slave
    os.close(slave)


def _status(closed: int, tmp_path: Path, *arguments: str) -> int:
    """Its exit code. No trace of a defect is left."""
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-m", "manta.cli.main", *arguments]
    ended = subprocess.run(command, stdin=closed, stdout=closed, stderr=closed, env=environment, check=False)
    assert list(tmp_path.iterdir()) == []
    return ended.returncode


def test_data_that_nobody_sees(closed: int, tmp_path: Path) -> None:
    assert _status(closed, tmp_path, "--version") == 1


def test_an_error_that_nobody_sees(closed: int, tmp_path: Path) -> None:
    assert _status(closed, tmp_path, "login", "s3://books/moby.txt") == 2


def test_usage_that_nobody_sees(closed: int, tmp_path: Path) -> None:
    assert _status(closed, tmp_path, "ls", "--no-such-option") == 1
