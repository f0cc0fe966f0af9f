"""Tasks run on nodes that can begin them now, although another node that would only queue them asks as well."""

import os
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest

from manta.core.limits import HAND_BACK_S
from manta.sdk import Store
from manta.sdk.jobs import Job
from tests.support.store import running_store
from tests.support.waiting import await_condition

_OBJECT = "s3://books/emma"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """With two lanes on each of two nodes, which both have the object."""
    folder = tmp_path_factory.mktemp("store")
    with running_store(folder, "--nodes", "2", "--lanes", "2", "--copies", "2") as running, running.client() as store:
        store.make_bucket("books")
        store.write(_OBJECT, b"x")
        yield store


def _ended(store: Store, command: str, count: int, **properties: Any) -> Job:
    """A job over so many times the object, all of whose tasks have ended well."""
    job = store.submit([{"type": "map", "exec": command, **properties}], inputs=[_OBJECT] * count)
    assert job.wait(timeout_s=60).phases[0].tasks.committed == count
    return job


def _nodes(job: Job) -> Counter[str]:
    return Counter(task["node"] for task in job.tasks())


@pytest.mark.parametrize("before", ["true", "sleep 0.3"])
def test_each_lane_of_two_idle_nodes_gets_one_of_four_tasks_whatever_ran_before(store: Store, before: str) -> None:
    """A node that just ran short tasks would else queue twice as many as it has lanes. The other's poll may be on its
    way when the job begins, once in a while."""
    for _ in range(3):
        _ended(store, before, 4)
        if sorted(_nodes(_ended(store, "sleep 1.5", 4)).values()) == [2, 2]:
            return
    pytest.fail("The nodes never shared the tasks.")


def test_of_tasks_for_two_of_which_no_node_has_room_each_node_runs_one(store: Store) -> None:
    """What finds no room is handed back well before the end of what has it."""
    job = _ended(store, "sleep 3", 2, cpus=0.6 * (os.cpu_count() or 1))
    assert sorted(_nodes(job).values()) == [1, 1]
    first, second = sorted(datetime.fromisoformat(task["started"]) for task in job.tasks())
    assert (second - first).total_seconds() < HAND_BACK_S


def _running(store: Store, command: str, **properties: Any) -> Job:
    """A job of one task, which runs."""
    job = store.submit([{"type": "map", "exec": command, **properties}], inputs=[_OBJECT])
    await_condition(lambda: job.status().phases[0].tasks.running == 1, "the task to run")
    return job


def test_a_task_goes_to_the_node_that_has_room_for_it_although_the_other_has_a_lane(store: Store) -> None:
    """It waited on the full node until the other job's task had ended, beside a node that did nothing."""
    half = {"cpus": 0.6 * (os.cpu_count() or 1)}
    long = _running(store, "sleep 3", **half)
    short = _ended(store, "true", 1, **half)
    assert not long.status().ended
    assert _nodes(short) != _nodes(long)
    assert [task["attempt"] for task in short.tasks()] == [1]
    long.wait(timeout_s=60)


def test_a_task_that_waits_for_room_goes_where_there_is_some_first(store: Store) -> None:
    """Every node was full when it came, and it is not known which will have room first."""
    half = {"cpus": 0.6 * (os.cpu_count() or 1)}
    shorter, longer = _running(store, "sleep 3", **half), _running(store, "sleep 9", **half)
    _ended(store, "true", 1, **half)
    assert shorter.status().ended
    assert not longer.status().ended
    longer.wait(timeout_s=60)


@pytest.mark.invariant("J8")
def test_a_small_job_begins_beside_jobs_that_wait_for_the_room_of_a_whole_node(store: Store) -> None:
    """Each of those in turn kept the free lanes for itself, and the one in reserve was never used."""
    large = {"type": "map", "exec": "sleep 2", "cpus": 0.9 * (os.cpu_count() or 1)}
    crowd = [store.submit([large], inputs=[_OBJECT] * 2) for _ in range(8)]

    def ended() -> int:
        return sum(job.status().phases[0].tasks.committed for job in crowd)

    await_condition(lambda: ended() >= 2, "others to have waited for long")
    before = ended()
    for _ in range(3):
        _ended(store, "true", 1)
    assert ended() <= before + 6
    for job in crowd:
        job.cancel()
        job.wait(timeout_s=60)
