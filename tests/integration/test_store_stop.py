"""The end of a whole store: tasks go back while a gateway is there to take them, and open requests end well."""

import http.client
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from manta.sdk import Store
from manta.sdk.jobs import Job
from tests.support.sleepers import sleepers
from tests.support.store import STOP_TIMEOUT_S, RunningStore, running_store
from tests.support.terminal import at_prompt
from tests.support.waiting import await_condition

_SLEEP_S = 7531
_WAITS = f'if [ "$MANTA_ATTEMPT" = 1 ]; then sleep {_SLEEP_S}; fi; cat'
_INPUTS = 4
_BIG = 48 << 20
"""More than what lies in the sockets on the way to a client that does not read."""
_NODES = ("--nodes", "2", "--copies", "2", "--lanes", str(_INPUTS))


def running_job(running: RunningStore, store: Store) -> Job:
    store.make_bucket("books")
    for number in range(_INPUTS):
        store.write(f"s3://books/{number}", b"x\n")
    job = store.submit([{"type": "map", "exec": _WAITS}], inputs=["s3://books/"])
    await_condition(lambda: len(sleepers(running, _SLEEP_S)) == _INPUTS, "all of its tasks to run")
    return job


def ends(folder: Path, job_id: str) -> list[list[tuple[int, str]]]:
    """How each task's earlier attempts ended, once the store was started again and the job is done."""
    with running_store(folder, *_NODES) as running, running.client() as store:
        job = store.job(job_id)
        assert job.wait(timeout_s=60).errors == 0
        return [[(one["attempt"], one["why"]) for one in task["earlier"]] for task in job.tasks()]


def test_a_stopped_store_gives_running_tasks_back(tmp_path: Path) -> None:
    with running_store(tmp_path, *_NODES) as running:
        with running.client() as store:
            job = running_job(running, store)
        assert running.stop() == 0
    assert ends(tmp_path, job.id) == [[(1, "NodeStopped")]] * _INPUTS


@contextmanager
def request(running: RunningStore, method: str, key: str, size: int) -> Iterator[http.client.HTTPConnection]:
    """Its head is sent."""
    where = urlsplit(running.url)
    assert where.hostname is not None
    with running.client() as store, closing(http.client.HTTPConnection(where.hostname, where.port)) as line:
        line.putrequest(method, store.sign(f"s3://books/{key}", method=method).removeprefix(running.url))
        line.putheader("Content-Length", str(size))
        line.endheaders()
        yield line


def is_refused(running: RunningStore) -> bool:
    """Whether the store takes no new connections: it finishes what it has begun."""
    where = urlsplit(running.url)
    try:
        with socket.create_connection((where.hostname, where.port), 5):
            return False
    except ConnectionError:
        return True


@pytest.mark.invariant("O1")
def test_o1_requests_under_way_end_well_when_the_store_is_stopped(tmp_path: Path) -> None:
    """Its nodes store and read for them, although their tasks have gone back."""
    half = os.urandom(_BIG // 2)
    with running_store(tmp_path, *_NODES) as running:
        with running.client() as store:
            job = running_job(running, store)
            store.write("s3://books/big", half + half)
        with request(running, "GET", "big", 0) as get, request(running, "PUT", "put", _BIG) as put:
            reply = get.getresponse()
            assert reply.read(len(half) // 2) == half[: len(half) // 2]
            put.send(half)
            running.process.send_signal(signal.SIGTERM)
            await_condition(lambda: is_refused(running), "the store to take no new connections")
            assert not sleepers(running, _SLEEP_S), "the tasks have gone back"
            put.send(half)
            assert put.getresponse().status == 200
            assert reply.read() == (half + half)[len(half) // 2 :]
        assert running.process.wait(STOP_TIMEOUT_S) == 0
    assert ends(tmp_path, job.id) == [[(1, "NodeStopped")]] * _INPUTS
    with running_store(tmp_path, *_NODES) as running, running.client() as store:
        assert store.read("s3://books/put") == half + half


@pytest.mark.slow
def test_a_session_is_told_that_the_store_is_stopped(tmp_path: Path) -> None:
    """By its gateway: that tasks have gone back before does not end it."""
    with running_store(tmp_path) as running:
        with running.client() as store:
            store.make_bucket("books")
            store.write("s3://books/in", b"x")
        with at_prompt(running, "s3://books/in") as user:
            running.process.send_signal(signal.SIGTERM)
            user.until("manta: The gateway is being replaced, or stopped: run `manta login` again.")
            assert user.status() == 1
        assert running.process.wait(STOP_TIMEOUT_S) == 0
