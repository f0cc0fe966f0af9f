"""Gateway and nodes are killed at random while jobs run: exact answers, each input once, nothing left behind."""

import os
import random
import secrets
import signal
from collections.abc import Collection, Sequence
from pathlib import Path

import pytest

from jobs.model.states import NODE_LOST
from manta.core.errors import MantaError
from manta.sdk import Job, Store
from manta.sdk.following import Line
from manta.sdk.jobs import JobStatus
from tests.support.job_rows import check_nothing_of_jobs
from tests.support.processes import alive, descendants
from tests.support.store import RunningStore, running_store
from tests.support.store_jobs import PATIENCE_S, await_finished, patiently
from tests.support.traces import abandoned, marked, mounts, traces
from tests.support.waiting import await_condition

SEED = 20261123
SUM = "awk '{l+=$1; w+=$2; b+=$3} END {print l+0, w+0, b+0}'"
PAUSE_S = 0.2
REDUCERS = (12, 4, 1)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.invariant("J1", "J3", "J4", "J5")
@pytest.mark.parametrize(
    ("engine", "objects", "kills"),
    [("sqlite", 300, 15), ("postgres", 300, 15), ("sqlite", 1000, 50)],
    ids=["300", "300 on PostgreSQL", "1000"],
)
def test_word_counts_are_exact_whatever_is_killed(
    tmp_path: Path, request: pytest.FixtureRequest, engine: str, objects: int, kills: int
) -> None:
    dice = random.Random(SEED)
    corpus = _corpus(dice, objects)
    url = str(request.getfixturevalue("postgres_url")) if engine == "postgres" else None
    on = [] if url is None else ["--catalog", url]
    mark = secrets.token_hex(8)
    with running_store(tmp_path, "--nodes", "3", "--copies", "2", *on) as store, store.client() as client:
        _write_corpus(client, corpus)
        count = {"type": "map", "exec": f"sleep {PAUSE_S}; wc", "env": {"MARK": mark}}
        # a reducer waits where its input has ended and nothing is committed yet
        sums = {"type": "reduce", "exec": f"{SUM}; sleep 1", "env": {"MARK": mark, "REDUCES": f"sum-{mark}"}}
        total = client.submit([count, *({**sums, "count": many} for many in REDUCERS)], inputs=["s3://corpus/"])
        each = client.submit([count], inputs=[f"s3://corpus/{key}" for key in corpus])
        _kill_over_maps(store, dice, (total, each), kills, 2 * objects)
        _kill_until_ended(store, dice, total, f"sum-{mark}")
        _check_total(client, total, corpus)
        _check_each(client, each, corpus)
        assert _lost_reducers(total), "no attempt of a reducer was lost: only maps were put to the test"
        _check_left_while_running(store, mark)
        for job in (total, each):
            patiently(job.delete)
            store.kill("gateway")
        await_condition(lambda: not any(_has_bucket(client, job) for job in (total, each)), "the jobs to be removed")
    _check_left_after_end(store, mark)
    checked = store.manta("fsck", *(["--data", str(store.data)] if url is None else ["--catalog", url]))
    assert checked.returncode == 0, checked.stdout + checked.stderr
    check_nothing_of_jobs(url or f"sqlite:{store.data}/catalog.db", "corpus", objects)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.invariant("J1", "J3", "J4")
def test_a_job_goes_on_after_everything_died_at_once(tmp_path: Path) -> None:
    """The whole store, supervisor included, four times over; each time some more of the job is done."""
    corpus = _corpus(random.Random(SEED + 1), 120)
    job_id = ""
    mark = secrets.token_hex(8)
    for life in range(4):
        with running_store(tmp_path, "--nodes", "2", "--copies", "2") as store, store.client() as client:
            if not job_id:
                _write_corpus(client, corpus)
                count = {"type": "map", "exec": "sleep 0.2; wc", "env": {"MARK": mark}}
                reduce = {"type": "reduce", "exec": f"{SUM}; sleep 1", "env": {"MARK": mark}}
                job_id = client.submit([count, reduce], inputs=["s3://corpus/"]).id
            await_finished([client.job(job_id)], phases=slice(1), goal=len(corpus) * (life + 1) // 5)
            assert not abandoned(store.data), "what the killed nodes left is gone since the next began"
            children = list(store.children().values())
            for pid in [store.process.pid, *children]:
                os.kill(pid, signal.SIGKILL)
            store.process.wait()
        _await_dead(children)
        await_condition(lambda: not marked(mark, _home(store)), "every process of the store and its tasks to end")
    with running_store(tmp_path) as store, store.client() as client:
        _check_total(client, client.job(job_id), corpus)
        _check_left_while_running(store, mark)
    _check_left_after_end(store, mark)


def _await_dead(pids: Collection[int]) -> None:
    await_condition(lambda: not any(map(alive, pids)), "every process to end")


def _home(store: RunningStore) -> str:
    """In the environment of each process that the store starts outside of zones."""
    return f"HOME={store.environment['HOME']}"


def _corpus(dice: random.Random, objects: int) -> dict[str, bytes]:
    words = ["aleph", "beth", "gimel", "daleth", "he", "waw"]
    corpus = {}
    for number in range(objects):
        lines = [" ".join(dice.choices(words, k=dice.randrange(9))) for _ in range(dice.randrange(200))]
        corpus[f"part/{number:05d}"] = "".join(line + "\n" for line in lines).encode()
    return corpus


def _write_corpus(client: Store, corpus: dict[str, bytes]) -> None:
    client.make_bucket("corpus")
    for key, data in corpus.items():
        client.write(f"s3://corpus/{key}", data)


def _wc(data: bytes) -> list[int]:
    return [data.count(b"\n"), len(data.split()), len(data)]


def _kill_over_maps(store: RunningStore, dice: random.Random, jobs: Sequence[Job], kills: int, maps: int) -> None:
    """Spread evenly: each once its share of the maps of both jobs has ended."""
    for kill in range(kills):
        await_finished(jobs, phases=slice(1), goal=maps * (kill + 1) // (kills + 2))
        store.kill_one(dice)


def _kill_until_ended(store: RunningStore, dice: random.Random, job: Job, mark: str) -> None:
    """Each time that more reducers have ended, until all have: a node where one is at work, or perhaps the gateway."""
    await_condition(lambda: bool(marked(mark)), "a reducer to be at work", PATIENCE_S)
    ended = 0
    while ended < sum(REDUCERS):
        nodes = sorted({name for name, pid in store.children().items() if set(descendants(pid)) & set(marked(mark))})
        if nodes:
            store.kill(dice.choice(nodes))
        elif dice.random() < 0.5:
            store.kill("gateway")
        ended = await_finished([job], phases=slice(1, None), goal=ended + 1)


def _lost_reducers(job: Job) -> list[Line]:
    reducers = [task for task in patiently(lambda: list(job.tasks())) if task["phase"] > 0]
    return [task for task in reducers if any(one["why"] == NODE_LOST for one in task["earlier"])]


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
        patiently(lambda: list(client.list_objects(f"s3://job-{job.id}/")))
    except MantaError as error:
        if error.code != "NoSuchBucket":
            raise
        return False
    return True


def _check_left_while_running(store: RunningStore, mark: str) -> None:
    """The jobs have ended: no process of theirs is left anywhere, nor what killed nodes leave until the next start."""
    await_condition(lambda: not marked(mark), "the tasks' processes to end")
    await_condition(lambda: len(store.children()) > 1, "the nodes to be back")
    await_condition(lambda: not abandoned(store.data), "what killed nodes left to be removed by the next ones")
    if os.geteuid() == 0:
        assert traces(store.data), "of those that run there is something: this looks at the right places"


def _check_left_after_end(store: RunningStore, mark: str) -> None:
    assert marked(mark, _home(store)) == []
    assert traces(store.data) == []
    assert mounts(store.data) == []
