"""Jobs of many tasks beside others, on a real store: who waits, what is left after a cancel, and how memory grows."""

import statistics
import time
from collections.abc import Iterator

import pytest

from manta.catalog.sqlite.schema import CACHE_KIB
from manta.sdk import Job, Store
from tests.support.resident import resident_peaks
from tests.support.shared_store import shared_store
from tests.support.sleepers import sleepers
from tests.support.store import RunningStore
from tests.support.waiting import await_condition

OBJECTS = 50
MIB = 1024 * 1024
SLACK_BYTES = 10 * MIB
GROWTH_MAX_BYTES = 100_000_000
MEANWHILE_MAX = 50
"""Tasks of a large job that end between two looks at it, with a small job from submission to its end between them.
They say how long that took without a clock: a busy machine slows both."""


running = shared_store("--nodes", "1")


@pytest.fixture(scope="module")
def clients(running: RunningStore) -> Iterator[dict[str, Store]]:
    """Two accounts, each with a bucket of tiny objects, which jobs name again and again."""
    found: dict[str, Store] = {}
    for name in ("alice", "bobby"):
        found[name] = running.new_account(name)
        found[name].make_bucket(f"{name}-tiny")
        for number in range(OBJECTS):
            found[name].write(f"s3://{name}-tiny/{number:02d}", b"x\n")
    yield found
    for client in found.values():
        client.close()


def _begin(store: Store, name: str, command: str, tasks: int) -> Job:
    return store.submit([{"type": "map", "exec": command}], inputs=[f"s3://{name}-tiny/"] * (tasks // OBJECTS))


def _await_tasks(job: Job, tasks: int) -> None:
    """Until every input is looked up."""
    await_condition(lambda: job.status().inputs == tasks, f"{tasks} inputs", 120.0)


@pytest.mark.invariant("J3", "J6")
def test_a_thousand_tasks_are_cancelled_at_once_and_leave_no_process(
    running: RunningStore, clients: dict[str, Store]
) -> None:
    job = _begin(clients["alice"], "alice", "sleep 8101", 1000)
    _await_tasks(job, 1000)
    await_condition(lambda: len(sleepers(running, 8101)) >= 2, "tasks to run")
    started = time.monotonic()
    job.cancel()
    status = job.wait(timeout_s=60)
    await_condition(lambda: not sleepers(running, 8101), "every process to end", 5.0)
    print(f"cancel of 1,000 tasks: {time.monotonic() - started:.2f} s")
    assert status.state == "cancelled"
    assert status.phases[0].tasks.cancelled == 1000
    assert status.errors == 1000


def _beside(running: RunningStore, clients: dict[str, Store], tasks: int, jobs: int) -> list[float]:
    """Acceptance case 13: how long small jobs take beside another tenant's large one, which goes on."""
    large = _begin(clients["alice"], "alice", "sleep 0.05", tasks)
    await_condition(lambda: large.status().phases[0].tasks.running > 0, "tasks to run")
    times, meanwhile = [], []
    for _ in range(jobs):
        before = large.status().phases[0].tasks.finished
        started = time.monotonic()
        small = clients["bobby"].submit(
            [{"type": "map", "exec": "wc -l"}], inputs=[f"s3://bobby-tiny/{number:02d}" for number in range(3)]
        )
        status = small.wait(timeout_s=60)
        times.append(time.monotonic() - started)
        meanwhile.append(large.status().phases[0].tasks.finished - before)
        assert (status.state, status.outputs, status.errors) == ("done", 3, 0)
    assert max(meanwhile) < MEANWHILE_MAX, "small jobs come before what of the large one is not running yet"
    assert large.status().state == "running", "no small job waited for the large one"
    large.cancel()
    assert large.wait(timeout_s=120).state == "cancelled"
    print(f"3-task jobs beside {tasks:,} tasks: median {statistics.median(times):.3f} s, most {max(times):.3f} s")
    print(f"tasks of the large job meanwhile: {meanwhile}")
    return times


@pytest.mark.invariant("J8")
def test_a_small_job_does_not_wait_for_another_tenants_large_one(
    running: RunningStore, clients: dict[str, Store]
) -> None:
    _beside(running, clients, 5_000, 5)


@pytest.mark.slow
@pytest.mark.invariant("J8")
def test_a_small_job_does_not_wait_for_fifty_thousand_tasks(running: RunningStore, clients: dict[str, Store]) -> None:
    _beside(running, clients, 50_000, 20)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.invariant("J7")
def test_memory_does_not_grow_with_the_number_of_tasks(running: RunningStore, clients: dict[str, Store]) -> None:
    """J7 scaled down; `benchmarks.scale` does 1,000,000. SQLite's page caches fill up, and nothing else grows."""
    children = running.children()
    most: dict[int, dict[str, int]] = {}
    for tasks in (5_000, 50_000):
        with resident_peaks(children) as peaks:
            job = _begin(clients["alice"], "alice", "true", tasks)
            status = job.wait(timeout_s=600)
            assert (status.state, status.outputs, status.errors) == ("done", tasks, 0)
            assert sum(1 for _ in job.outputs()) == tasks
        most[tasks] = dict(peaks)
    grown = {name: most[50_000][name] - most[5_000][name] for name in children}
    print({name: f"{size / MIB:.1f} MiB" for name, size in grown.items()})
    assert grown["node-1"] < SLACK_BYTES
    assert grown["gateway"] < 2 * CACHE_KIB * 1024 + SLACK_BYTES


def _put_out(running: RunningStore, store: Store, size_bytes: int) -> dict[str, int]:
    """The most memory of each process while so many bytes go out of a map, into a reducer, and out of a program."""
    phases = [
        {"type": "map", "exec": f"head -c {size_bytes} /dev/zero"},
        {"type": "reduce", "exec": "mpipe"},
    ]
    with resident_peaks(running.children()) as peaks:
        job = store.submit(phases, inputs=["s3://alice-tiny/00"])
        status = job.wait(timeout_s=600)
        assert (status.state, status.errors) == ("done", 0)
        assert [line["size"] for line in job.outputs()] == [size_bytes]
    job.delete()
    return peaks


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.invariant("J7")
def test_memory_does_not_grow_with_the_size_of_outputs(running: RunningStore, clients: dict[str, Store]) -> None:
    small, large = (_put_out(running, clients["alice"], size) for size in (16 * MIB, 1024 * MIB))
    grown = {name: large[name] - small[name] for name in small}
    print({name: f"{size / MIB:.1f} MiB" for name, size in grown.items()})
    assert {name: size for name, size in grown.items() if size > GROWTH_MAX_BYTES} == {}
