"""Arguments that the store could not be told, since they are no UTF-8."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.store import clean_environment


@pytest.mark.parametrize(
    "arguments",
    [
        ("job", "create", "-m", "echo \udcff"),
        ("job", "create", "--name", "\udcff", "-m", "cat"),
        ("job", "create", "--env=A=\udcff", "-m", "cat"),
        ("job", "create", "-m", "cat", "s3://docs/\udcff"),
        ("job", "logs", "\udcff"),
        ("put", "/etc/hostname", "s3://docs/\udcff"),
        ("get", "s3://docs/\udcff"),
        ("ls", "s3://docs/\udcff"),
        ("account", "create", "\udcff"),
        ("login", "\udcff"),
        ("\udcff",),
    ],
)
def test_an_argument_that_is_no_utf8_is_told(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """Before any store is looked for."""
    command = [sys.executable, "-m", "manta.cli.main", *arguments]
    refused = subprocess.run(command, capture_output=True, env=clean_environment(tmp_path), check=False)
    assert (refused.returncode, refused.stderr.count(b"\n")) == (2, 1), refused
    assert rb"no UTF-8, as keys and commands are: b'" in refused.stderr, refused
    assert rb"\xff" in refused.stderr, refused
