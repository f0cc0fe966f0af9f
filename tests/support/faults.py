"""System calls of a process that fail as told, by strace."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

needs_strace = pytest.mark.skipif(
    shutil.which("strace") is None or os.geteuid() != 0, reason="failing system calls needs strace and root"
)


@contextmanager
def failing(pid: int, calls: str, error: str, when: str, path: Path | None = None) -> Iterator[None]:
    """Those calls, on that file if one is named; `when` counts them in each thread by itself."""
    only = () if path is None else ("-P", str(path))
    inject = f"inject={calls}:error={error}:when={when}"
    command = ["strace", "-f", "-p", str(pid), "-o", os.devnull, *only, "-e", inject]
    tracer = subprocess.Popen(command, stderr=subprocess.PIPE)
    try:
        assert tracer.stderr is not None
        while b"attached" not in (line := tracer.stderr.readline()):
            assert line, "strace ended"
        yield
    finally:
        tracer.terminate()
        tracer.communicate()
