"""What `manta put -` reads: a large file as a file, whose size is known, and anything else so that Ctrl-C ends it."""

import os
import sys
from pathlib import Path

import pytest

from manta.cli.interruptible import interruptible_stdin
from manta.core.limits import GIB


def test_a_large_file_on_stdin_is_still_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "large"
    with path.open("w+") as file:
        file.truncate(GIB)
        monkeypatch.setattr(sys, "stdin", file)
        source = interruptible_stdin()
        assert source.seek(0, os.SEEK_END) == GIB
