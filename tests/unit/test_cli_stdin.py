"""What `manta put -` reads: a file as a file, whose size is known, and anything else so that Ctrl-C ends it."""

import os
import sys
from pathlib import Path

import pytest

from manta.cli.interruptible import interruptible_stdin


def test_a_file_on_stdin_is_still_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "large"
    path.write_bytes(b"12345")
    with path.open() as file:
        monkeypatch.setattr(sys, "stdin", file)
        source = interruptible_stdin()
        assert source.seek(0, os.SEEK_END) == 5
