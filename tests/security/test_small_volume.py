"""A store on a small disk of its own: tasks that write without end, beside PUTs and a job that know nothing of it."""

import re
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from manta.core.limits import MIB
from manta.sdk import Job, Store, connect
from tests.support.loop_disk import loop_disk, needs_disk
from tests.support.store import RunningStore, running_store

pytestmark = [
    needs_disk,
    pytest.mark.invariant("S5"),
    pytest.mark.timeout(600),
]
DISK_BYTES = 256 * MIB
LANES = 3
INPUTS = 2
_PAUSE_S = 0.02
TIMEOUT_S = 300
"""Far beyond the test's own: what ends these tasks is their output."""
ENDLESS = {
    "stdout": "cat /dev/zero",
    "a named output": "cat /dev/zero | mput s3://eve/much",
    "an output of its own beside stdout": "cat /dev/zero | mpipe & cat /dev/zero",
    "many named outputs": "n=0; while head -c 3000000 /dev/zero | mput s3://eve/n$n; do n=$((n+1)); done; sleep 3600",
    "many small ones": "n=0; while head -c 200000 /dev/zero | mput s3://eve/s$n; do n=$((n+1)); done; sleep 3600",
}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[RunningStore]:
    with ExitStack() as stack:
        disk = stack.enter_context(loop_disk(tmp_path, DISK_BYTES))
        yield stack.enter_context(running_store(tmp_path / "s", "--lanes", str(LANES), data=disk.folder / "data"))


class Putting:
    """Writes objects, small and not so small, again and again until it is told to stop, each once: a retry would hide.

    What it replaces stays a minute on the disk, so it takes its time.
    """

    def __init__(self, store: RunningStore) -> None:
        self._client = boto3.Session(store.access_key, store.secret_key, region_name="us-east-1").client(
            "s3", endpoint_url=store.url, config=Config(retries={"total_max_attempts": 1})
        )
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.done = 0
        self.refusals: list[ClientError] = []

    def __enter__(self) -> "Putting":
        self._client.create_bucket(Bucket="putting")
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._client.close()

    def _run(self) -> None:
        while not self._stop.wait(_PAUSE_S):
            body = bytes(MIB if self.done % 40 == 0 else 10_000)
            try:
                self._client.put_object(Bucket="putting", Key=f"{self.done % 5}", Body=body)
            except ClientError as error:
                self.refusals.append(error)
            self.done += 1


def account(store: RunningStore, root: Store, name: str, stack: ExitStack) -> Store:
    made = root.api("POST", "/accounts", body={"name": name})
    own = stack.enter_context(connect(store.url, made["access_key"], made["secret_key"]))
    own.make_bucket(name)
    return own


def endless(eve: Store, command: str) -> Job:
    phase = {"type": "map", "exec": command, "timeout": TIMEOUT_S, "memory": "128M"}
    return eve.submit([phase], inputs=["s3://eve/in"] * INPUTS)


def test_s5_endless_output_on_a_small_disk_is_noticed_by_nobody_else(store: RunningStore) -> None:
    with ExitStack() as stack:
        root = stack.enter_context(store.client())
        eve, alice = (account(store, root, name, stack) for name in ("eve", "alice"))
        for one, bucket in ((eve, "eve"), (alice, "alice")):
            one.write(f"s3://{bucket}/in", b"in\n")
        free_before = node(root)["free_bytes"]
        putting = stack.enter_context(Putting(store))
        jobs = {name: endless(eve, command) for name, command in ENDLESS.items()}
        good = alice.submit([{"type": "map", "exec": "cat; head -c 1000000 /dev/zero"}], inputs=["s3://alice/in"])
        assert good.wait(timeout_s=180).errors == 0
        for name, job in jobs.items():
            assert job.wait(timeout_s=180).outputs == 0, name
            errors = list(job.errors())
            assert len(errors) == INPUTS, name
            for error in errors:
                assert error["code"] == "UserTaskError", (name, error)
                assert "output limit of" in error["message"], (name, error)
                assert "its share of what is free on the node's disk" in error["message"], (name, error)
        before = putting.done
        while putting.done == before:
            assert alice.read("s3://alice/in") == b"in\n"
        assert putting.refusals == []
        assert node(root)["writable"]
        assert free_before > 100 * MIB


def test_s5_no_account_pins_a_small_cache(store: RunningStore) -> None:
    """An account's task, or session, that needs more than its share is told; another's beside it has what it needs."""
    with ExitStack() as stack:
        root = stack.enter_context(store.client())
        eve, alice = (account(store, root, name, stack) for name in ("eve", "alice"))
        for one, bucket, size in ((eve, "eve", 14), (alice, "alice", 4)):
            one.write(f"s3://{bucket}/in", b"in\n")
            one.write(f"s3://{bucket}/tool", bytes(size * MIB))
        eve.write("s3://eve/other", bytes(14 * MIB))
        pinning = eve.submit([with_assets("echo on >&2; sleep 600", "eve/tool")], inputs=["s3://eve/in"])
        assert next(iter(pinning.follow_all_stderr()))["text"] == "on\n"
        more = eve.submit([with_assets("true", "eve/tool", "eve/other")], inputs=["s3://eve/in"])
        good = alice.submit([with_assets("stat -c %s /assets/alice/tool", "alice/tool")], inputs=["s3://alice/in"])
        assert good.wait(timeout_s=180).errors == 0
        more.wait(timeout_s=180)
        (error,) = more.errors()
        assert error["code"] == "TaskInitError"
        assert re.search(r"of one account may take \d+ MiB of this node's cache at a time", error["message"])
        session = store.manta("login", "--reduce", "-c", "true", "s3://eve/tool", "s3://eve/other")
        assert session.returncode == 1
        assert b"of this node's cache at a time" in session.stderr
        pinning.cancel()


def with_assets(command: str, *names: str) -> dict[str, Any]:
    return {"type": "map", "exec": command, "assets": [f"s3://{name}" for name in names]}


def node(root: Store) -> dict[str, Any]:
    (found,) = root.api("GET", "/nodes")["nodes"]
    status: dict[str, Any] = found["status"]
    return status
