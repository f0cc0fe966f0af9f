"""A real `manta serve` for tests and benchmarks: its own folder, a free port, nothing left behind."""

import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from manta.sdk import Store, connect
from tests.support.processes import alive, end
from tests.support.waiting import await_condition

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 90.0


def clean_environment(home: Path) -> dict[str, str]:
    """This environment without anything that could point a client elsewhere."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("AWS_", "MANTA_", "XDG_", "BOTO", "PYTHON", "http_", "https_", "HTTP_", "HTTPS_"))
        and name not in ("COLUMNS", "LINES")  # pytest-xdist sets them; a terminal knows better
    }
    return kept | {"HOME": str(home), "XDG_STATE_HOME": str(home / "state"), "AWS_EC2_METADATA_DISABLED": "true"}


@dataclass
class RunningStore:
    """A started store. `process` is the supervisor."""

    process: subprocess.Popen[str]
    url: str
    data: Path
    access_key: str
    secret_key: str
    environment: dict[str, str]

    def client(self) -> Store:
        return connect(self.url, self.access_key, self.secret_key)

    def manta(
        self, *arguments: str, stdin: bytes | None = None, environment: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        """Run the `manta` command against this store, as a user would; `environment`: what differs in that."""
        command = [sys.executable, "-m", "manta.cli.main", *arguments]
        return subprocess.run(
            command,
            input=stdin,
            capture_output=True,
            env=self.environment | dict(environment or {}),
            timeout=120,
            check=False,
            cwd=self.data.parent,
        )

    def new_account(self, name: str) -> Store:
        """A client of an account that is made for it; the caller closes it."""
        with self.client() as root:
            made = root.api("POST", "/accounts", body={"name": name})
        return connect(self.url, made["access_key"], made["secret_key"])

    def children(self) -> dict[str, int]:
        """Process ids of the gateway and the nodes, by name."""
        found: dict[str, int] = {}
        listing = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        for pid in map(int, listing.split()):
            try:
                words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            except OSError:  # it has just ended
                continue
            for word in words:
                if word.endswith(b".json"):
                    found[Path(os.fsdecode(word)).stem] = pid
        return found

    def kill_one(self, dice: random.Random) -> None:
        """Any of the gateway and the nodes that lives now; the supervisor brings it back by itself."""
        await_condition(lambda: bool(self.children()), "a process to kill")
        self.kill(dice.choice(sorted(self.children())))

    def kill(self, name: str) -> None:
        """As soon as there is one of that name: one that was killed just now may not be back yet."""
        pid = 0

        def lives() -> bool:
            nonlocal pid
            pid = self.children().get(name, 0)
            return alive(pid)

        await_condition(lives, f"{name} to live")
        os.kill(pid, signal.SIGKILL)
        await_condition(lambda: not alive(pid), f"{name} to end")

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_TIMEOUT_S)


@contextmanager
def running_store(
    folder: Path, *options: str, data: Path | None = None, user: int | None = None
) -> Iterator[RunningStore]:
    """`manta serve` in `folder` with further options; its words go to serve.log there.

    As that `user`, by number, if one is given: `folder` must lie where it finds its way.
    """
    folder.mkdir(parents=True, exist_ok=True)
    home = folder / "home"
    home.mkdir(exist_ok=True)
    if user is not None:
        for path in (folder, home):
            os.chown(path, user, user)
    where = data or folder / "data"
    environment = clean_environment(home) | {
        "MANTA_ROOT_ACCESS_KEY": "ROOTACCESSKEY",
        "MANTA_ROOT_SECRET_KEY": "root-secret-for-tests",
    }
    with open(folder / "serve.log", "ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "manta.cli.main", "serve", "--data", str(where), "--port", "0", *options],
            stdout=subprocess.PIPE,
            stderr=log,
            env=environment,
            text=True,
            start_new_session=True,
            user=user,
            group=user,
            extra_groups=None if user is None else (),
        )
    try:
        url = _await_ready(process, folder)
        environment |= {
            "MANTA_URL": url,
            "AWS_ACCESS_KEY_ID": "ROOTACCESSKEY",
            "AWS_SECRET_ACCESS_KEY": "root-secret-for-tests",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        yield RunningStore(process, url, where, "ROOTACCESSKEY", "root-secret-for-tests", environment)
    finally:
        _end(process)


def _await_ready(process: subprocess.Popen[str], folder: Path) -> str:
    """The URL of the `ready` line. A timer ends a store that never says it."""
    timer = threading.Timer(START_TIMEOUT_S, process.kill)
    timer.start()
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("ready "):
                return line.split()[1]
    finally:
        timer.cancel()
    words = (folder / "serve.log").read_text(errors="replace")[-2000:]
    raise AssertionError(f"manta serve did not start:\n{words}")


def _end(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        end(process, STOP_TIMEOUT_S)
    assert process.stdout is not None
    process.stdout.close()
