"""`manta get` and `put` that a signal ends, whatever they wait for."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.support.terminal import UserTerminal
from tests.support.waiting import await_condition

_HAS_ENDED = os.WEXITED | os.WNOWAIT | os.WNOHANG
_SIDE_BY_SIDE = 8
_KEYS = [f"film{number:02}" for number in range(20)]
_OBJECT = (
    "<Contents><Key>{}</Key><Size>9</Size><ETag>e</ETag><LastModified>1970-01-01T00:00:00Z</LastModified></Contents>"
)
_LIST = f"<ListBucketResult><IsTruncated>false</IsTruncated>{''.join(map(_OBJECT.format, _KEYS))}</ListBucketResult>"


class _Hanging(BaseHTTPRequestHandler):
    """A store that begins to send an object, and goes no further; it takes none."""

    server: "_Server"

    def do_PUT(self) -> None:
        self.server.sent.release()
        self.server.over.wait()

    def do_POST(self) -> None:
        self.do_PUT()

    def do_HEAD(self) -> None:
        self._begin(9_000_000)

    def do_GET(self) -> None:
        if "list-type" in self.path:
            self._begin(len(_LIST))
            self.wfile.write(_LIST.encode())
            return
        self.do_HEAD()
        self.wfile.write(b"begun")
        self.server.sent.release()
        self.server.over.wait()

    def _begin(self, size_bytes: int) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(size_bytes))
        self.send_header("ETag", '"e"')
        self.send_header("Last-Modified", "Thu, 01 Jan 1970 00:00:00 GMT")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


class _Server(ThreadingHTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Hanging)
        self.sent = threading.Semaphore(0)
        self.over = threading.Event()


@dataclass
class _Store:
    server: _Server
    folder: Path

    @property
    def environment(self) -> Mapping[str, str]:
        url = f"http://127.0.0.1:{self.server.server_port}"
        keys = {"AWS_ACCESS_KEY_ID": "A", "AWS_SECRET_ACCESS_KEY": "S"}
        return {"PATH": os.environ["PATH"], "HOME": str(self.folder / "home"), "MANTA_URL": url, **keys}

    @contextmanager
    def manta(self, *arguments: str, under: tuple[str, ...] = ()) -> Iterator[subprocess.Popen[bytes]]:
        command = ["env", "--default-signal", *under, sys.executable, "-m", "manta.cli.main", *arguments]
        with subprocess.Popen(command, env=self.environment, cwd=self.folder, stderr=subprocess.PIPE) as process:
            try:
                yield process
            finally:
                process.kill()

    def await_begun(self, transfers: int) -> None:
        for _ in range(transfers):
            assert self.server.sent.acquire(timeout=60), "a transfer was not begun"

    def names(self) -> list[str]:
        return [path.name for path in (self.folder / "got").iterdir()]


@pytest.fixture
def hanging(tmp_path: Path) -> Iterator[_Store]:
    (tmp_path / "got").mkdir()
    with _Server() as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        try:
            yield _Store(server, tmp_path)
        finally:
            server.over.set()
            server.shutdown()
            serving.join()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize(
    ("selected", "begun"), [(["s3://films/film00"], 1), (["-r", "s3://films/"], _SIDE_BY_SIDE)], ids=["one", "all"]
)
def test_one_signal_ends_downloads_that_hang(
    hanging: _Store, number: signal.Signals, selected: list[str], begun: int
) -> None:
    """Each run of one under `timeout` would else leave another file, which nobody sees."""
    with hanging.manta("get", *selected, "got") as process:
        hanging.await_begun(begun)
        await_condition(lambda: len(hanging.names()) == begun, "a file for each download that was begun")
        process.send_signal(number)
        assert (process.wait(60), process.communicate()[1]) == (128 + number, b"")
    assert hanging.names() == []


@pytest.mark.parametrize("files", [["large"], ["-r", "many"]], ids=["one", "all"])
def test_a_second_ctrl_c_ends_uploads_that_hang(hanging: _Store, files: list[str]) -> None:
    """After the first, what is begun is given up in order."""
    (hanging.folder / "many").mkdir()
    for number in range(20):
        (hanging.folder / "many" / str(number)).write_bytes(b"x")
    with open(hanging.folder / "large", "wb") as large:
        large.truncate(30_000_000)

    def press() -> bool:
        process.send_signal(signal.SIGINT)
        return process.poll() is not None

    with hanging.manta("put", *files, "s3://films/new") as process:
        hanging.await_begun(1)
        await_condition(press, "the end")
        assert (process.wait(), process.communicate()[1]) == (128 + signal.SIGINT, b"")


def test_what_a_user_had_ignored_ends_none(hanging: _Store) -> None:
    with hanging.manta("get", "s3://films/film00", "got", under=("nohup",)) as process:
        hanging.await_begun(1)
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 128 + signal.SIGTERM
    assert hanging.names() == []


def test_a_terminal_has_its_cursor_again(hanging: _Store) -> None:
    with UserTerminal(hanging, "get", "s3://films/film00", str(hanging.folder / "got")) as user:
        user.until("\x1b[?25l")
        hanging.await_begun(1)
        user.type("\x03")
        assert user.status() == 128 + signal.SIGINT
        assert user.shown.endswith(b"\x1b[?25h\r\n")


def test_nobody_waits_for_a_terminal_that_is_stopped(hanging: _Store) -> None:
    with UserTerminal(hanging, "get", "s3://films/film00", str(hanging.folder / "got")) as user:
        user.until("\x1b[?25l")
        hanging.await_begun(1)
        user.type("\x13")
        os.kill(user.pid, signal.SIGTERM)
        await_condition(lambda: os.waitid(os.P_PID, user.pid, _HAS_ENDED) is not None, "the end")
        assert user.status() == 128 + signal.SIGTERM


def test_a_program_that_tells_the_keys_can_be_ended_as_ever(hanging: _Store) -> None:
    """It inherits which signals are blocked."""
    (hanging.folder / "keys").write_text(
        "#!/bin/sh\n"
        f"grep SigBlk /proc/self/status > '{hanging.folder}/blocked'\n"
        'echo \'{"Version": 1, "AccessKeyId": "A", "SecretAccessKey": "S"}\'\n'
    )
    (hanging.folder / "keys").chmod(0o755)
    (hanging.folder / "config").write_text(f"[default]\ncredential_process = {hanging.folder}/keys\n")
    environment = {name: value for name, value in hanging.environment.items() if not name.startswith("AWS_")}
    environment["AWS_CONFIG_FILE"] = str(hanging.folder / "config")
    command = [sys.executable, "-m", "manta.cli.main", "get", "s3://films/film00", "got"]
    with subprocess.Popen(command, env=environment, cwd=hanging.folder) as process:
        hanging.await_begun(1)
        process.terminate()
    assert int((hanging.folder / "blocked").read_text().split()[1], 16) == 0


_BEGINNING = """
import sys, threading
from pathlib import Path
from manta.cli.unfinished import becoming, sweep_at_signals

def begin(thread):
    for number in range(100_000):
        with becoming(Path("got", f"{thread}-{number}")) as file:
            file.write(b"whole")

sweep_at_signals()
for thread in range(8):
    threading.Thread(target=begin, args=(thread,)).start()
"""


@pytest.mark.parametrize("turn", range(5))
def test_files_that_begin_and_end_meanwhile_are_whole_or_none(tmp_path: Path, turn: int) -> None:
    (tmp_path / "got").mkdir()
    with subprocess.Popen([sys.executable, "-c", _BEGINNING], cwd=tmp_path, stderr=subprocess.PIPE) as process:
        await_condition(lambda: (tmp_path / "got" / "0-20").exists(), "files that end")
        process.terminate()
        assert (process.wait(60), process.communicate()[1]) == (128 + signal.SIGTERM, b"")
    left = [*(tmp_path / "got").iterdir()]
    assert {path.read_bytes() for path in left} == {b"whole"}
    assert [path.name for path in left if path.name.startswith(".")] == []
