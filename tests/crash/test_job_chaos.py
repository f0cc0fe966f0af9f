"""Gateway and nodes are killed at random while jobs run: exact answers, each input once, nothing left behind."""

import os
import random
import signal
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TypeVar

import apsw
import pytest

from manta.core.errors import MantaError
from manta.sdk import Job, Store
from manta.sdk.jobs import JobStatus, Line
from tests.support.processes import alive, descendants
from tests.support.store import RunningStore, running_store
from tests.support.waiting import await_condition

SEED = 20261123
SUM = "awk '{l+=$1; w+=$2; b+=$3} END {print l+0, w+0, b+0}'"
PATIENCE_S = 120.0
T = TypeVar("T")


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.invariant("J1", "J3", "J4", "J5")
@pytest.mark.parametrize(("objects", "kills", "pause"), [(300, 15, 0.2), (1000, 50, 0.2)], ids=["300", "1000"])
def test_word_counts_are_exact_whatever_is_killed(tmp_path: Path, objects: int, kills: int, pause: float) -> None:
    dice = random.Random(SEED)
    corpus = _corpus(dice, objects)
    with running_store(tmp_path, "--nodes", "3", "--copies", "2") as store, store.client() as client:
        client.make_bucket("corpus")
        for key, data in corpus.items():
            client.write(f"s3://corpus/{key}", data)
        count = {"type": "map", "exec": f"sleep {pause}; wc"}
        total = client.submit(
            [count, {"type": "reduce", "exec": SUM, "count": 3}, {"type": "reduce", "exec": SUM}],
            inputs=["s3://corpus/"],
        )
        each = client.submit([count], inputs=[f"s3://corpus/{key}" for key in corpus])
        _kill_along(store, dice, [total, each], kills, 2 * objects)
        _check_total(client, total, corpus)
        _check_each(client, each, corpus)
        _check_left_while_running(store)
        for job in (total, each):
            patiently(job.delete)
        await_condition(lambda: not any(_has_bucket(client, job) for job in (total, each)), "the jobs to be removed")
        processes = descendants(store.process.pid)
    _await_dead(processes)
    checked = store.manta("fsck", "--data", str(store.data))
    assert checked.returncode == 0, checked.stdout + checked.stderr
    _check_catalog(store.data / "catalog.db", objects)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.invariant("J1", "J3", "J4")
def test_a_job_goes_on_after_everything_died_at_once(tmp_path: Path) -> None:
    """The whole store, supervisor included, four times over; each time some more of the job is done."""
    corpus = _corpus(random.Random(SEED + 1), 120)
    job_id = ""
    for life in range(4):
        with running_store(tmp_path, "--nodes", "2", "--copies", "2") as store, store.client() as client:
            if not job_id:
                client.make_bucket("corpus")
                for key, data in corpus.items():
                    client.write(f"s3://corpus/{key}", data)
                reduce = {"type": "reduce", "exec": SUM}
                job_id = client.submit([{"type": "map", "exec": "sleep 0.2; wc"}, reduce], inputs=["s3://corpus/"]).id
            _await_tasks(client.job(job_id), goal=len(corpus) * (life + 1) // 5)
            children = list(store.children().values())
            for pid in [store.process.pid, *children]:
                os.kill(pid, signal.SIGKILL)
            store.process.wait()
        _await_dead(children)
    with running_store(tmp_path) as store, store.client() as client:
        _check_total(client, client.job(job_id), corpus)


def _await_dead(pids: Collection[int]) -> None:
    await_condition(lambda: not any(map(alive, pids)), "every process to end")


def patiently(call: Callable[[], T], give_up: float = PATIENCE_S) -> T:
    """What a retrying client gets: the gateway may be on its way back."""
    deadline = time.monotonic() + give_up
    while True:
        try:
            return call()
        except MantaError as error:
            if not error.retryable or time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def _corpus(dice: random.Random, objects: int) -> dict[str, bytes]:
    words = ["aleph", "beth", "gimel", "daleth", "he", "waw"]
    corpus = {}
    for number in range(objects):
        lines = [" ".join(dice.choices(words, k=dice.randrange(9))) for _ in range(dice.randrange(200))]
        corpus[f"part/{number:05d}"] = "".join(line + "\n" for line in lines).encode()
    return corpus


def _wc(data: bytes) -> list[int]:
    return [data.count(b"\n"), len(data.split()), len(data)]


def _kill_along(store: RunningStore, dice: random.Random, jobs: list[Job], kills: int, tasks: int) -> None:
    """The kills are spread evenly over the work: each waits until its share of the map tasks has ended."""
    for kill in range(kills):
        _await_tasks(*jobs, goal=tasks * (kill + 1) // (kills + 2))
        store.kill_one(dice)


def _await_tasks(*jobs: Job, goal: int) -> None:
    """Until that many map tasks of these jobs have ended."""
    deadline = time.monotonic() + PATIENCE_S
    while (done := sum(patiently(job.status).phases[0].tasks.finished for job in jobs)) < goal:
        assert time.monotonic() < deadline, f"no progress: {done} of {goal}"
        time.sleep(0.02)


def _ended(job: Job) -> JobStatus:
    status = patiently(lambda: job.wait(timeout_s=PATIENCE_S))
    errors = patiently(lambda: list(job.errors()))
    assert (status.state, status.errors, errors) == ("done", 0, [])
    for phase in status.phases:
        assert phase.tasks.committed == phase.tasks.total
    assert status.inputs == status.phases[0].tasks.total
    assert status.input_bytes_moved == 0
    return status


def _check_total(client: Store, job: Job, corpus: dict[str, bytes]) -> None:
    status = _ended(job)
    assert status.inputs == len(corpus)
    (line,) = patiently(lambda: list(job.outputs()))
    sums = [sum(column) for column in zip(*map(_wc, corpus.values()), strict=True)]
    assert list(map(int, _read(client, line).split())) == sums
    _check_bucket(client, job, [line["key"]])


def _check_each(client: Store, job: Job, corpus: dict[str, bytes]) -> None:
    """One output of each input, with that input's own counts."""
    status = _ended(job)
    assert status.inputs == status.outputs == len(corpus)
    inputs = {line["seq"]: line["key"] for line in patiently(lambda: list(job.inputs()))}
    assert sorted(inputs.values()) == sorted(corpus)
    lines = patiently(lambda: list(job.outputs()))
    assert sorted(line["task"] for line in lines) == sorted(inputs)
    for line in lines:
        found = _read(client, line)
        assert list(map(int, found.split())) == _wc(corpus[inputs[line["task"]]])
    _check_bucket(client, job, [line["key"] for line in lines])


def _read(client: Store, line: Line) -> bytes:
    return patiently(lambda: client.read(f"s3://{line['bucket']}/{line['key']}"))


def _check_bucket(client: Store, job: Job, keys: list[str]) -> None:
    found = patiently(lambda: [item.key for item in client.list_objects(f"s3://job-{job.id}/")])
    assert found == sorted(keys)


def _has_bucket(client: Store, job: Job) -> bool:
    """A deleted job's bucket goes in one transaction with the last of the job."""
    try:
        list(client.list_objects(f"s3://job-{job.id}/"))
    except MantaError as error:
        if error.code != "NoSuchBucket":
            raise
        return False
    return True


def _check_left_while_running(store: RunningStore) -> None:
    """The jobs have ended: no process of theirs is left. (`sleep` is in every task of theirs.)"""

    def sleeping() -> list[int]:
        return [pid for pid in descendants(store.process.pid) if _name(pid) in ("sleep", "wc", "awk")]

    await_condition(lambda: not sleeping(), "the tasks' processes to end")


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def _check_catalog(path: Path, objects: int) -> None:
    """Of deleted jobs no row is left, and each blob has the one reference of its object."""
    catalog = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        for table in ("jobs", "job_phases", "job_chunks", "tasks", "ready", "shuffle", "job_outputs", "job_errors"):
            assert catalog.execute(f"SELECT count(*) FROM {table}").get == 0, table
        assert catalog.execute("SELECT name FROM buckets").fetchall() == [("corpus",)]
        assert catalog.execute("SELECT count(*) FROM objects").get == objects
        rows = catalog.execute("SELECT refs, count(*) FROM blobs GROUP BY refs").fetchall()
        assert rows == [(1, catalog.execute("SELECT count(blob_id) FROM objects").get)]
    finally:
        catalog.close()
