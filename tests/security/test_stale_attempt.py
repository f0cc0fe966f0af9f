"""An attempt that writes on after its lease was lost: nothing of it is ever seen (J1, J2)."""

import os
import signal
import tempfile
import time
from pathlib import Path

import pytest

from manta.core.limits import LEASE_S
from tests.support.siege import ended, outputs
from tests.support.store import RunningStore, running_store

_COMMAND = """
echo "attempt $MANTA_ATTEMPT"
if [ "$MANTA_ATTEMPT" = 1 ]; then
    while :; do echo late; echo late | mput eve/late; echo late | mpipe; sleep 0.05; done
fi
"""


@pytest.mark.slow
@pytest.mark.invariant("J1", "J2", "S4")
def test_j2_a_stale_attempt_writes_on_and_changes_nothing() -> None:
    """Its node stands still until another has done the task; then it goes on, its task never stopped writing."""
    with (
        tempfile.TemporaryDirectory(prefix="manta-stale-") as folder,
        running_store(Path(folder) / "s", "--nodes", "3", "--copies", "2") as running,
        running.client() as store,
    ):
        store.make_bucket("eve")
        store.write("s3://eve/in", b"x")
        job = store.submit([{"type": "map", "exec": _COMMAND}], inputs=["s3://eve/in"])
        node = _node_of_first_attempt(running)
        os.kill(node, signal.SIGSTOP)
        try:
            ended(job)
        finally:
            os.kill(node, signal.SIGCONT)
        assert outputs(store, job) == [b"attempt 2\n"]
        _await_no_writer()
        assert [entry.key for entry in store.objects("s3://eve/")] == ["in"]
        assert outputs(store, job) == [b"attempt 2\n"]
        assert list(job.errors()) == []


def _writers() -> list[int]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if b"mput eve/late" in words and b"bash" in words:
            found.append(int(folder.name))
    return found


def _node_of_first_attempt(running: RunningStore) -> int:
    """The node process whose zone the writer runs in."""
    deadline = time.monotonic() + 4 * LEASE_S
    nodes = {pid for name, pid in running.children().items() if name.startswith("node")}
    while time.monotonic() < deadline:
        for pid in _writers():
            while pid > 1:
                pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
                if pid in nodes:
                    return pid
        time.sleep(0.02)
    raise AssertionError("the first attempt did not start")


def _await_no_writer() -> None:
    deadline = time.monotonic() + 4 * LEASE_S
    while _writers():
        assert time.monotonic() < deadline, "the stale attempt lives on"
        time.sleep(0.05)
