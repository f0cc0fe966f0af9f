"""Cancel while nodes stand still and gateways die: the job ends, every input is counted, and no process is left."""

import os
import secrets
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from manta.core.limits import HEARTBEAT_S
from manta.sdk import Job, Store
from manta.sdk.transport import Transport
from tests.support.processes import alive
from tests.support.store import RunningStore, running_store
from tests.support.store_jobs import fill_bucket, map_phase, patiently
from tests.support.traces import marked
from tests.support.waiting import await_condition

TASKS = 12
NODES = ("node-1", "node-2")

pytestmark = pytest.mark.invariant("J3", "J4", "J6")


@contextmanager
def stopped(*pids: int) -> Iterator[None]:
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            if alive(pid):
                os.kill(pid, signal.SIGCONT)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStore]:
    with running_store(tmp_path_factory.mktemp("store"), "--nodes", "2", "--copies", "2") as running:
        with running.client() as store:
            fill_bucket(store, "sleepy", {f"{number:02d}": b"" for number in range(TASKS)})
        yield running


@pytest.fixture
def store(running: RunningStore) -> Iterator[Store]:
    with running.client() as store:
        yield store


def _sleeping(running: RunningStore, store: Store) -> tuple[Job, str]:
    """A job with tasks that run on each node, and the word in their processes' environment."""
    mark = secrets.token_hex(8)
    await_condition(lambda: len(running.children()) == 1 + len(NODES), "the whole store")
    job = store.submit([map_phase("echo up >&2; exec sleep 3600", env={"MARK": mark})], inputs=["s3://sleepy/"])
    await_condition(lambda: set(_on_nodes(job)) == set(NODES), "tasks on both nodes")
    await_condition(lambda: all(_among(marked(mark), running.children()[node]) for node in NODES), "their processes")
    return job, mark


def _on_nodes(job: Job) -> list[str]:
    return [str(task["node"]) for task in job.tasks(state="running")]


def _among(pids: list[int], node: int) -> list[int]:
    """Those of them below that process."""
    return [pid for pid in pids if node in _ancestors(pid)]


def _ancestors(pid: int) -> list[int]:
    found = []
    while pid > 1:
        try:
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            break
        found.append(pid)
    return found


def _check_cancelled(job: Job) -> None:
    status = patiently(lambda: job.wait(timeout_s=60))
    assert (status.state, status.inputs, status.errors) == ("cancelled", TASKS, TASKS)
    assert status.phases[0].tasks.cancelled == TASKS
    assert {error["code"] for error in patiently(lambda: list(job.errors()))} == {"JobCancelled"}


def test_a_node_that_stands_still_keeps_no_cancelled_job_open(running: RunningStore, store: Store) -> None:
    """What runs on the other node ends at once; what runs on this one when it goes on, and nothing of it is taken."""
    job, mark = _sleeping(running, store)
    still, other = (running.children()[node] for node in NODES)
    with stopped(still):
        job.cancel()
        _check_cancelled(job)
        await_condition(lambda: not _among(marked(mark), other), "the other node's processes to end", 5.0)
        assert _among(marked(mark), still), "it really stands still"
    await_condition(lambda: not marked(mark), "its processes to end when it goes on")
    assert running.children()[NODES[0]] == still, "it went on, and was not started anew"
    _check_cancelled(job)


@pytest.mark.slow
def test_a_node_that_never_goes_on_is_ended_with_its_processes(running: RunningStore, store: Store) -> None:
    job, mark = _sleeping(running, store)
    still = running.children()[NODES[0]]
    with stopped(still):
        job.cancel()
        _check_cancelled(job)
        await_condition(lambda: not marked(mark), "the supervisor to end a node that says nothing", 90.0)
        assert not alive(still)


def test_what_may_be_asked_twice_is_asked_again_while_the_gateway_is_away(
    running: RunningStore, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    defaults = Transport.ask.__kwdefaults__
    assert defaults is not None
    monkeypatch.setitem(defaults, "patience_s", 60.0)  # a busy machine starts gateways slowly
    before = {one.id for one in store.jobs()}
    running.kill("gateway")
    job = store.submit([map_phase("sleep 3600")], inputs=["s3://sleepy/00"], end=False)
    assert {one.id for one in store.jobs()} - before == {job.id}
    for ask in (job.end, job.cancel):
        running.kill("gateway")
        ask()
    assert job.wait(timeout_s=60).state == "cancelled"
    before = {one.id for one in store.jobs()}
    running.kill("gateway")
    copy = job.clone()
    assert {one.id for one in store.jobs()} - before == {copy.id}
    copy.cancel()


@pytest.mark.parametrize("asked", ["cancel", pytest.param("delete", marks=pytest.mark.slow)])
def test_a_gateway_that_dies_after_a_cancel_was_committed_tells_no_node(
    running: RunningStore, store: Store, asked: str
) -> None:
    """The nodes hear nothing until the next gateway is there: it finds in the catalog what is to be done."""
    job, mark = _sleeping(running, store)
    pids = [running.children()[node] for node in NODES]
    with stopped(*pids):
        began_s = time.monotonic()
        await_condition(lambda: time.monotonic() > began_s + 2 * HEARTBEAT_S + 1, "each poll under way to be answered")
        job.cancel() if asked == "cancel" else job.delete()
        gateway = running.children()["gateway"]
        os.kill(gateway, signal.SIGKILL)
        await_condition(lambda: not alive(gateway), "the gateway to end")
        assert len(marked(mark)) >= len(NODES), "no node has heard of it"
    await_condition(lambda: not marked(mark), "every process to end")
    if asked == "cancel":
        _check_cancelled(job)
    assert [running.children()[node] for node in NODES] == pids, (
        "by what the next gateway said, not by an end of theirs"
    )
