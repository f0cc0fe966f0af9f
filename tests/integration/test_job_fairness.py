"""Accounts side by side on a real store: who waits for whom. The large job's tasks end late or never."""

from collections.abc import Iterator

import pytest

from manta.sdk import Job, Store
from tests.support.shared_store import shared_store
from tests.support.sleepers import sleepers
from tests.support.store import RunningStore
from tests.support.waiting import await_condition

running = shared_store("--nodes", "1")


@pytest.fixture(scope="module")
def clients(running: RunningStore) -> Iterator[dict[str, Store]]:
    """Two accounts, each with a bucket of 30 objects."""
    found: dict[str, Store] = {}
    for name in ("alice", "bobby"):
        found[name] = running.new_account(name)
        found[name].make_bucket(f"{name}-data")
        for number in range(30):
            found[name].write(f"s3://{name}-data/{number:02d}", b"x" * number)
    yield found
    for client in found.values():
        client.close()


def _map(store: Store, command: str, *inputs: str) -> Job:
    return store.submit([{"type": "map", "exec": command}], inputs=inputs)


def _fill(store: Store, name: str) -> Job:
    """A job that keeps every lane for good; it runs on all of them when this returns."""
    job = _map(store, "sleep 3600", f"s3://{name}-data/*")
    ran = -1
    for status in job.watch(interval_s=1.5):
        if status.phases[0].tasks.running == ran > 0:
            return job
        ran = status.phases[0].tasks.running
    raise AssertionError("the large job ended")


@pytest.mark.invariant("J8")
def test_a_small_job_runs_on_a_node_whose_lanes_are_all_taken(clients: dict[str, Store]) -> None:
    large = _fill(clients["alice"], "alice")
    try:
        small = _map(clients["bobby"], "wc -c", *(f"s3://bobby-data/{number:02d}" for number in (1, 2, 3)))
        status = small.wait(timeout_s=60)
        assert (status.state, status.outputs, status.errors) == ("done", 3, 0)
        after = large.status().phases[0].tasks
        assert (after.committed, after.failed) == (0, 0), "nothing had to end for it"
    finally:
        large.cancel()
        large.wait(timeout_s=60)


@pytest.mark.invariant("J8")
def test_a_second_job_of_the_same_account_starts_too(clients: dict[str, Store]) -> None:
    large = _fill(clients["alice"], "alice")
    try:
        status = _map(clients["alice"], "wc -c", "s3://alice-data/01").wait(timeout_s=60)
        assert (status.state, status.outputs) == ("done", 1)
    finally:
        large.cancel()
        large.wait(timeout_s=60)


@pytest.mark.invariant("J8")
def test_lanes_that_come_free_go_to_the_account_with_fewer_tasks(clients: dict[str, Store]) -> None:
    alice, bobby = clients["alice"], clients["bobby"]
    large = _map(alice, "sleep 0.3", "s3://alice-data/*", "s3://alice-data/*", "s3://alice-data/*")
    for status in large.watch(interval_s=0.2):
        if status.phases[0].tasks.running:
            break
    small = _map(bobby, "sleep 0.3", *(f"s3://bobby-data/{number:02d}" for number in range(3)))
    assert small.wait(timeout_s=60).outputs == 3
    left = large.status()
    assert left.state == "running", "three tasks did not wait for ninety"
    large.cancel()
    large.wait(timeout_s=60)


@pytest.mark.invariant("J8")
def test_a_job_whose_zone_is_slow_to_build_holds_no_other_up(running: RunningStore, clients: dict[str, Store]) -> None:
    """Its tasks fill no queue of the node, of whichever account the others are."""
    alice, bobby = clients["alice"], clients["bobby"]
    slow = alice.submit(
        [{"type": "map", "exec": "cat", "init": "sleep 8200"}], inputs=["s3://alice-data/*"] * 10
    )  # fmt: skip
    await_condition(lambda: bool(sleepers(running, 8200)), "its init to begin")
    for client, name in ((bobby, "bobby"), (alice, "alice")):
        quick = _map(client, "wc -c", f"s3://{name}-data/*").wait(timeout_s=60)
        assert (quick.state, quick.outputs, quick.errors) == ("done", 30, 0)
    assert slow.status().phases[0].tasks.committed == 0
    assert slow.status().phases[0].tasks.running == 0, "its tasks wait for a zone"
    few = "the node to keep few tasks for a zone that is not there yet"
    await_condition(lambda: 0 < sum(1 for _ in slow.tasks(state="running")) < 10, few)
    slow.cancel()
    assert slow.wait(timeout_s=60).state == "cancelled"
    await_condition(lambda: not sleepers(running, 8200), "its init to end", 5.0)
