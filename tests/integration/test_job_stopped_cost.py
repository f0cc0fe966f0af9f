"""What tasks had used when their job stopped them is in its cost and in its account's: nobody computes for nothing."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from manta.core.errors import MantaError
from manta.sdk import Job, Store
from tests.support.shared_store import shared_store
from tests.support.store import RunningStore
from tests.support.store_jobs import Phase, fill_bucket, map_phase, reduce_phase
from tests.support.waiting import await_condition

running = shared_store("--lanes", "2", "--nodes", "1", "--copies", "1")

RAN_S = 0.5
FAILS_AFTER_S = 2
ENDLESS = "echo begun >&2; while :; do :; done"
FAILS_SECOND = f'if [ "$MANTA_INPUT_OBJECT" = errs/b ]; then sleep {FAILS_AFTER_S}; exit 1; fi; {ENDLESS}'


def _command(phase: Phase) -> Callable[[Store, str], Job]:
    return lambda store, bucket: store.submit([phase], inputs=[f"s3://{bucket}/a"])


def _batch(store: Store, bucket: str) -> Job:
    return store.submit([map_phase(ENDLESS, batch=4)], inputs=[f"s3://{bucket}/"])


def _python_batch(store: Store, bucket: str) -> Job:
    def endless(_: Any) -> None:
        import sys

        print("begun", file=sys.stderr, flush=True)
        while True:
            pass

    return store.objects(f"s3://{bucket}/**").map(endless, batch=4).submit()


def _begin(job: Job) -> None:
    """To the time when it has run for RAN_S."""
    await_condition(lambda: any(_says_begun(job, number) for number in range(1, 8)), "it has begun")
    began_s = time.monotonic()
    await_condition(lambda: time.monotonic() - began_s > RAN_S, "it has run for a while")


def _says_begun(job: Job, number: int) -> bool:
    try:
        return b"begun" in job.stderr(number)
    except MantaError:  # no such task, or none that said anything yet
        return False


def _cost(store: Store) -> tuple[int, float, float]:
    total = store.api("GET", "/usage")["total"]
    return total["attempts"], total["task_seconds"], total["byte_seconds"]


@pytest.mark.parametrize(
    "submit",
    [_command(map_phase(ENDLESS)), _command(reduce_phase(ENDLESS)), _batch, _python_batch],
    ids=["map", "reduce", "batch", "program"],
)
def test_what_a_cancelled_job_had_used_is_charged(
    running: RunningStore, submit: Callable[[Store, str], Job], request: pytest.FixtureRequest
) -> None:
    name = request.node.callspec.id
    with running.new_account(f"cancels-{name}") as store:
        fill_bucket(store, f"cancelled-{name}", {"a": b"a\n", "b": b"b\n"})
        began_s = time.monotonic()
        job = submit(store, f"cancelled-{name}")
        _begin(job)
        assert _cost(store) == (0, 0, 0)
        job.cancel()
        assert job.wait(timeout_s=20).state == "cancelled"
        await_condition(lambda: _cost(store)[0] > 0, "its node has told")
        attempts, task_seconds, byte_seconds = _cost(store)
        assert attempts == 1
        assert RAN_S <= task_seconds <= time.monotonic() - began_s
        assert byte_seconds == pytest.approx(task_seconds * (256 << 20), rel=0.01)
        status = job.status()
        assert (status.task_seconds, status.byte_seconds) == (task_seconds, byte_seconds)


def test_what_max_errors_stopped_is_charged(running: RunningStore) -> None:
    with running.new_account("errs") as store:
        fill_bucket(store, "errs", {"a": b"a\n", "b": b"b\n"})
        phase = map_phase(FAILS_SECOND)
        job = store.submit({"phases": [phase], "inputs": ["s3://errs/"], "max_errors": 1})
        assert job.wait(timeout_s=20).state == "cancelled"
        await_condition(lambda: _cost(store)[0] == 2, "the one that failed and the one that was stopped are told")
        assert job.status().task_seconds > FAILS_AFTER_S


def test_a_program_that_says_too_early_that_it_has_ended_an_input_pays_for_what_it_does_then(
    running: RunningStore,
) -> None:
    def early(_: Any) -> None:
        import os
        import socket
        import time

        for number in range(3, 64):
            try:
                channel = socket.socket(fileno=os.dup(number))
            except OSError:
                continue
            if channel.type == socket.SOCK_SEQPACKET:
                channel.send(b".")
                break
        time.sleep(1)
        os._exit(0)

    with running.new_account("early") as store:
        fill_bucket(store, "early", {"a": b"a\n", "b": b"b\n", "c": b"c\n"})
        job = store.objects("s3://early/**").map(early, batch=3).submit()
        assert job.wait(timeout_s=30).state == "done"
        assert job.status().task_seconds >= 1.5, "all but the last of three were waited for"


def test_what_a_job_had_used_that_is_removed_is_charged(running: RunningStore) -> None:
    with running.new_account("removes") as store:
        fill_bucket(store, "removed", {"a": b"a\n"})
        job = store.submit([map_phase(ENDLESS)], inputs=["s3://removed/"])
        _begin(job)
        job.delete()
        await_condition(lambda: _cost(store)[0] == 1, "its node has told")
        assert _cost(store)[1] >= RAN_S
