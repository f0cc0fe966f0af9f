"""Buckets and keys are completed in a real bash, where `:` and `=` part words."""

import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.store import RunningStore, running_store

_KEYS = ("shelf/one.txt", "shelf/with space", "shelf/year=2024/x", "other:colon")
_PATIENCE_S = 20.0


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStore]:
    with running_store(tmp_path_factory.mktemp("completion"), "--nodes", "1") as store:
        with store.client() as client:
            client.make_bucket("books")
            client.make_bucket("boots")
            for key in _KEYS:
                client.write(f"s3://books/{key}", b"x")
        yield store


class Bash:
    """An interactive one with our completion; `until` reads what it shows."""

    def __init__(self, store: RunningStore, script: Path) -> None:
        self._pid, self._terminal = pty.fork()
        if self._pid == 0:
            path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
            environment = store.environment | {"PATH": path, "TERM": "dumb", "PS1": "$ "}
            os.execve("/bin/bash", ["bash", "--norc", "--noprofile", "-i"], environment)
        self.type(f"source {script}; echo re''ady\n")
        self.until("ready\r\n")

    def type(self, keys: str) -> None:
        os.write(self._terminal, keys.encode())

    def until(self, end: str) -> str:
        shown, deadline = "", time.monotonic() + _PATIENCE_S
        while end not in shown:
            ready, _, _ = select.select([self._terminal], [], [], deadline - time.monotonic())
            assert ready, shown
            shown += os.read(self._terminal, 65_536).decode()
        return shown

    def close(self) -> None:
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        os.close(self._terminal)


@pytest.fixture(scope="module")
def bash(running: RunningStore, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bash]:
    script = tmp_path_factory.mktemp("script") / "manta.bash"
    program = Path(sys.executable).parent / "manta"
    command = ["bash", "-c", f"'{program}' --show-completion bash || exit 1"]  # which shell runs it is looked up
    environment = running.environment | {"SHELL": "/bin/bash"}
    shown = subprocess.run(command, capture_output=True, env=environment, check=True).stdout.decode()
    script.write_text(shown)
    shell = Bash(running, script)
    yield shell
    shell.close()


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("manta cat s3://books/sh", "s3://books/shelf/"),
        ("manta cat s3://books/shelf/on", "s3://books/shelf/one.txt "),
        ("manta stat s3://books/shelf/wi", "s3://books/shelf/with\\ space "),
        ("manta ls s3://books/shelf/year=20", "s3://books/shelf/year=2024/"),
        ("manta ls s3://books/other:co", "s3://books/other:colon "),
        ("manta job run -m wc s3://boot", "s3://boots/"),
        ("manta job expl", "manta job explain "),
    ],
)
def test_what_was_begun_is_completed(bash: Bash, typed: str, completed: str) -> None:
    bash.type(f"{typed}\t")
    assert bash.until(completed).endswith(completed), "once, and without a blank behind a folder"
    bash.type("\x15")  # the line is taken back


def test_buckets_are_offered(bash: Bash) -> None:
    bash.type("manta ls s3://boo\t\t")
    bash.until("//books/  //boots/")
    bash.type("\x15")  # the line is taken back
