"""A job's tasks that a node holds ahead of its lanes are told as ready, to whoever asks or watches the bar."""

import contextlib
import math
import os
from collections import Counter
from collections.abc import Iterator
from itertools import dropwhile
from pathlib import Path

import pytest

from manta.core.limits import HAND_BACK_S, REPORT_DELAY_S
from manta.sdk import Store
from manta.sdk.jobs import Job
from tests.support.store import running_store

_TASKS = 30
_TRIES = 5


def leased(job: Job) -> int:
    return sum(1 for _ in job.tasks(state="running"))


def told_while_they_wait(store: Store) -> int | None:
    """How many were told as ready beside the one that runs; None when they were handed back before that was told."""
    job = store.submit([{"type": "map", "exec": "sleep 600"}], inputs=["s3://books/"])
    try:
        most = 0
        while most < _TASKS or leased(job) == _TASKS:
            most = max(most, leased(job))
            counts = job.status().phases[0].tasks
            if most == _TASKS and counts.running == 1 and leased(job) == _TASKS:
                return counts.ready
        return None
    finally:
        job.cancel()
        job.wait(timeout_s=60)


def test_what_waits_on_a_node_for_a_lane_is_not_told_as_running(tmp_path: Path) -> None:
    """A node with one lane that has learnt that tasks are quick holds all of them, for HAND_BACK_S at most."""
    with running_store(tmp_path, "--lanes", "1") as running, running.client() as store:
        store.make_bucket("books")
        for number in range(_TASKS):
            store.write(f"s3://books/{number:02d}", b"")
        for _ in range(_TRIES):
            quick = store.submit([{"type": "map", "exec": "true"}], inputs=["s3://books/"])
            assert quick.wait(timeout_s=60).errors == 0
            told = told_while_they_wait(store)
            if told is not None:
                assert told == _TASKS - 1
                return
        pytest.fail(f"within {_TRIES} times {HAND_BACK_S} s nobody was told of the tasks that wait")


def told_as_running(store: Store, task_s: float, **options: object) -> list[int]:
    """How many were told as running, at each look from the first that found some to the job's end."""
    told: list[int] = []
    job = store.submit([{"type": "map", "exec": f"sleep {task_s}", **options}], inputs=["s3://books/"])
    while (status := job.status()).ended is None:
        told.append(status.phases[0].tasks.running)
    assert status.errors == 0
    return list(dropwhile(lambda count: not count, told))


def on_their_way(at_once: int, task_s: float) -> int:
    """How many results of tasks that have left their lanes there may be at a time."""
    return at_once * math.ceil(REPORT_DELAY_S / task_s) + at_once


def test_no_more_tasks_are_told_as_running_than_there_are_lanes(tmp_path: Path) -> None:
    """One that has left its lane, and whose result is on its way, still counts. Looks without a pause find some in the
    midst of a lease, which the catalog has and the scheduler has not noted: hardly one of a hundred.
    """
    lanes, task_s = 2, 0.2
    with running_store(tmp_path, "--lanes", f"{lanes}") as running, running.client() as store:
        store.make_bucket("books")
        for number in range(_TASKS):
            store.write(f"s3://books/{number:02d}", b"")
        quick = store.submit([{"type": "map", "exec": "true"}], inputs=["s3://books/"])
        assert quick.wait(timeout_s=60).errors == 0
        begun = told_as_running(store, task_s)
        assert lanes in begun
        odd = [count for count in begun if not 0 < count <= lanes + on_their_way(lanes, task_s)]
        assert len(odd) <= len(begun) // 100, Counter(begun)


def test_no_more_tasks_are_told_as_running_than_there_are_cpus_for(tmp_path: Path) -> None:
    """With lanes to spare: a task that has one, and finds no room beside the one that runs, waits."""
    task_s = 0.3
    with running_store(tmp_path, "--lanes", "8") as running, running.client() as store:
        store.make_bucket("books")
        for number in range(_TASKS // 2):
            store.write(f"s3://books/{number:02d}", b"")
        begun = told_as_running(store, task_s, cpus=os.cpu_count() or 1)
        assert 1 in begun
        odd = [count for count in begun if count > 1 + on_their_way(1, task_s)]
        assert len(odd) <= len(begun) // 100, Counter(begun)


def running_sleeps() -> Counter[str]:
    """How many processes sleep on this machine, by how long."""
    sleeps: Counter[str] = Counter()
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            command, _, rest = file.read_text().partition("\0")
            if command == "sleep":
                sleeps[rest.rstrip("\0")] += 1
    return sleeps


def how_far_off(jobs: dict[str, Job]) -> Iterator[int]:
    """By how many each job, named by how long its tasks sleep, is told as running that do not, or the other way round;
    what begins or ends while we look is as it may be."""
    while any(job.status().ended is None for job in jobs.values()):
        for sleep_s, job in jobs.items():
            before = running_sleeps()[sleep_s]
            told = job.status().phases[0].tasks.running
            least, most = sorted((before, running_sleeps()[sleep_s]))
            yield max(least - told, told - most, 0)


def test_counts_are_exact_where_large_and_small_tasks_want_the_same_room(tmp_path: Path) -> None:
    """Small ones leave the large ones no room; then the node keeps room for those and has lanes without a task. A task
    that ended, or is leased, in the very moment of the look may be in it or not."""
    cpus, me = os.cpu_count() or 1, os.getpid()
    with running_store(tmp_path, "--lanes", "3") as running, running.client() as store:
        store.make_bucket("books")
        for number in range(10):
            store.write(f"s3://books/{number:02d}", b"")
        jobs: dict[str, Job] = {}
        for sleep_s, share, inputs in (
            (f"0.71{me}", cpus / 2, "s3://books/"),
            (f"0.83{me}", cpus, "s3://books/0[0-3]"),
        ):
            exec_ = f"exec sleep {sleep_s}"
            jobs[sleep_s] = store.submit([{"type": "map", "exec": exec_, "cpus": share}], inputs=[inputs])
        off = Counter(how_far_off(jobs))
        assert all(job.status().errors == 0 for job in jobs.values())
        assert off[0] >= 0.95 * off.total(), off
