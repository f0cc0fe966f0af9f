"""A task's stderr, read and followed on a real store."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.model.questions import StderrTail
from manta.cli.job_tasks import prefixed
from manta.core import limits
from manta.core.errors import InvalidArgument, NoSuchJob
from manta.gateway.ops.job_stderr import Place
from manta.sdk import Job, Store
from tests.support.processes import alive
from tests.support.shared_store import shared_store
from tests.support.store import RunningStore
from tests.support.waiting import await_condition

running = shared_store("--nodes", "1")


@pytest.fixture(scope="module")
def store(running: RunningStore) -> Iterator[Store]:
    with running.client() as client:
        client.make_bucket("things")
        client.write("s3://things/one", b"1")
        yield client


def test_stderr_is_followed_from_before_the_task_runs_to_its_end(running: RunningStore, store: Store) -> None:
    command = "for n in 1 2 3 4 5; do echo line $n >&2; sleep 0.3; done; exit 3"
    job = store.submit([{"type": "map", "exec": command}], inputs=["s3://things/one"])
    for status in job.watch(interval_s=0.2):
        if status.phases[0].tasks.total:
            break
    pieces = list(job.follow_stderr(1))
    said = b"".join(f"line {number}\n".encode() for number in range(1, 6))
    assert b"".join(pieces) == said
    assert len(pieces) > 1, "it came while the task ran"
    shown = running.manta("job", "logs", job.id, "1")
    assert (shown.returncode, shown.stdout) == (0, said)
    assert running.manta("job", "logs", "-f", job.id, "1").stdout == said
    failures = running.manta("job", "logs", job.id).stdout.decode()
    assert failures.startswith("UserTaskError: ")
    assert "    line 5\n" in failures
    assert running.manta("job", "logs", "-f", job.id).stdout == b"".join(
        b"1: " + line + b"\n" for line in said.split(b"\n")[:-1]
    )


def test_all_tasks_of_a_job_are_followed_at_once(running: RunningStore, store: Store) -> None:
    """Slow ones while they run, quick ones though they are gone before anybody looks, letters whole."""
    command = (
        'n=${MANTA_INPUT_OBJECT##*-}; echo "grüße $n" >&2; '
        "[ $n -gt 3 ] || for i in 1 2 3; do sleep 0.3; printf 'ü%.0s' 1 2 3 >&2; printf '\\n' >&2; done"
    )
    for number in range(40):
        store.write(f"s3://things/all-{number}", b"1")
    job = store.submit([{"type": "map", "exec": command}], inputs=["s3://things/all-*"])
    lines: dict[int, str] = {}
    times: list[float] = []
    for piece in job.follow_all_stderr():
        lines[piece["task"]] = lines.get(piece["task"], "") + piece["text"]
        times.append(time.monotonic())
    assert job.status().finished
    inputs = {task["task"]: int(task["input"].rpartition("-")[2]) for task in job.tasks()}
    expected = {task: f"grüße {n}\n" + ("üüü\n" * 3 if n <= 3 else "") for task, n in inputs.items()}
    assert lines.keys() == expected.keys()
    # A busy machine may lose an attempt: what it had said by then was followed too.
    assert all(text.endswith(expected[task]) for task, text in lines.items())
    assert times[-1] - times[0] > 0.3, "it came while they ran"
    again = running.manta("job", "logs", "-f", job.id).stdout.decode().splitlines()
    assert sorted(again) == sorted(f"{task}: {line}" for task, text in expected.items() for line in text.splitlines())
    assert store.api("GET", f"/jobs/{job.id}")["state"] == "done"
    with pytest.raises(InvalidArgument, match="follow=1"):
        store.api("GET", f"/jobs/{job.id}/stderr")


def test_of_many_jobs_an_account_follows_a_few_at_a_time(store: Store) -> None:
    """The one too many is told so."""
    jobs = [
        store.submit([{"type": "map", "exec": "echo said >&2; sleep 600"}], inputs=["s3://things/one"])
        for _ in range(limits.FEEDS_ACCOUNT_MAX + 1)
    ]
    refused = threading.Event()

    def follow(job: Job) -> list[dict[str, Any]]:
        pieces = []
        for piece in job.follow_all_stderr():
            pieces.append(piece)
            if "refused" in piece:
                refused.set()
        return pieces

    with ThreadPoolExecutor(len(jobs)) as pool:
        following = [pool.submit(follow, job) for job in jobs]
        assert refused.wait(60)
        for job in jobs:
            job.cancel()
        pieces = [one.result() for one in following]
    told = [piece["message"] for one in pieces for piece in one if "refused" in piece]
    assert set(told) == {
        f"{limits.FEEDS_ACCOUNT_MAX} jobs of the account are followed there already: stop following one."
    }


def test_lines_of_tasks_stand_behind_their_numbers() -> None:
    pieces: list[dict[str, Any]] = [
        {"task": 1, "text": "a", "ended": False},
        {"task": 2, "text": "x\ny", "ended": False},
        {"task": 1, "text": "b\n\x1b[2J\n", "ended": False},
        {"missing": "n1"},
        {"refused": "n2", "message": "Too many."},
        {"task": 2, "text": "", "ended": True},
        {"task": 3, "text": "z" * 5000, "ended": False},
        {"task": 3, "text": "end", "ended": False},
    ]
    assert list(prefixed(pieces)) == [
        "2: x", "1: ab", "1: \\x1b[2J",
        "(lines of n1 may be missing: they came too fast, or it was restarted or is away)",
        "(what tasks say on n2 is not shown: Too many.)", "2: y",
        f"3: {'z' * 5000}", "3: end",
    ]  # fmt: skip


def test_a_task_that_does_not_exist_is_named(store: Store) -> None:
    job = store.submit([{"type": "map", "exec": "true"}], inputs=["s3://things/one"])
    job.wait(timeout_s=60)
    with pytest.raises(NoSuchJob, match="no task 99"):
        list(job.follow_stderr(99))


@contextmanager
def _followed(running: RunningStore, job: Job, *task: str) -> Iterator[tuple[subprocess.Popen[bytes], bytes]]:
    """`manta job logs -f`, and the first line that it showed."""
    words = [sys.executable, "-m", "manta.cli.main", "job", "logs", "-f", job.id, *task]
    with subprocess.Popen(words, bufsize=0, stdout=subprocess.PIPE, env=running.environment) as following:
        assert following.stdout is not None
        yield following, following.stdout.readline()


@pytest.mark.parametrize("task", [(), ("1",)], ids=["all", "one"])
@pytest.mark.parametrize("replaced", [True, False], ids=["replaced", "killed"])
def test_logs_are_followed_across_a_gateway_that_goes(
    running: RunningStore, store: Store, replaced: bool, task: tuple[str, ...]
) -> None:
    """Every line, and none twice."""
    command = 'for n in 1 2 3 4 5 6 7 8 9 10 11 12; do echo "grüße $n" >&2; sleep 0.25; done'
    job = store.submit([{"type": "map", "exec": command}], inputs=["s3://things/one"])
    for status in job.watch(interval_s=0.2):
        if status.phases[0].tasks.running:
            break
    with _followed(running, job, *task) as (following, begun):
        gateway = running.children()["gateway"]
        if replaced:
            running.process.send_signal(signal.SIGHUP)
        else:
            os.kill(gateway, signal.SIGKILL)
        await_condition(lambda: not alive(gateway), "the gateway to go")
        rest, _ = following.communicate(timeout=60)
    prefix = "" if task else "1: "
    assert (begun + rest).decode() == "".join(f"{prefix}grüße {number}\n" for number in range(1, 13))
    assert following.returncode == 0


@pytest.mark.parametrize("alone", [False, True], ids=["all", "one"])
def test_the_end_of_each_attempt_is_heard(store: Store, *, alone: bool) -> None:
    """Where a task says why it failed; the next attempt follows at once."""
    command = "for n in 1 2 3 4 5 6 7 8; do echo $MANTA_ATTEMPT: $n >&2; sleep 0.1; done; exit 1"
    job = store.submit([{"type": "map", "exec": command, "retries": 2}], inputs=["s3://things/one"])
    for status in job.watch(interval_s=0.2):
        if status.phases[0].tasks.total:
            break
    if alone:
        lines = b"".join(job.follow_stderr(1)).decode().splitlines()
    else:
        lines = "".join(piece["text"] for piece in job.follow_all_stderr()).splitlines()
    attempts = dict.fromkeys(line.rpartition(" ")[0] for line in lines)
    assert lines == [f"{one} {number}" for one in attempts for number in range(1, 9)]
    assert len(attempts) == 3


@pytest.mark.parametrize("task", [(), ("1",)], ids=["all", "one"])
def test_a_node_that_is_killed_as_its_task_ends_costs_no_line_unsaid(
    running: RunningStore, store: Store, task: tuple[str, ...]
) -> None:
    """One task is heard to its end once the node is back; of all tasks it is said that lines may be missing."""
    command = "for n in 1 2 3 4 5 6 7 8; do echo $n >&2; sleep 0.1; done"
    job = store.submit([{"type": "map", "exec": command}], inputs=["s3://things/one"])
    for status in job.watch(interval_s=0.2):
        if status.phases[0].tasks.total:
            break
    with _followed(running, job, *task) as (following, begun):
        job.wait(timeout_s=60)
        running.kill("node-1")
        rest, _ = following.communicate(timeout=90)
    lines = (begun + rest).decode().splitlines()
    assert following.returncode == 0
    if task:
        assert lines == [str(number) for number in range(1, 9)]
    else:
        assert lines[-1] == "1: 8" or "may be missing" in lines[-1]


def test_what_a_call_answers_is_decoded_where_it_is_json(store: Store) -> None:
    job = store.submit([{"type": "map", "exec": "echo said >&2"}], inputs=["s3://things/one"])
    job.wait(timeout_s=60)
    assert store.api("GET", f"/jobs/{job.id}")["state"] == "done"
    assert [line["key"] for line in store.api("GET", f"/jobs/{job.id}/inputs")] == ["one"]
    assert store.api("GET", f"/jobs/{job.id}/errors") == []
    assert store.api("GET", f"/jobs/{job.id}/tasks/1/stderr") == b"said\n"


def test_a_place_is_what_a_gateway_named(store: Store) -> None:
    job = store.submit([{"type": "map", "exec": "echo said >&2"}], inputs=["s3://things/one"])
    job.wait(timeout_s=60)
    for path in (f"/jobs/{job.id}/tasks/1/stderr?wait=1", f"/jobs/{job.id}/stderr?follow=1"):
        with pytest.raises(InvalidArgument, match="not 'nowhere'"):
            store.api("GET", f"{path}&after=nowhere")


TAILS = st.integers(1, 40)


@given(st.binary(max_size=60), st.binary(max_size=60), TAILS)
def test_what_was_said_since_is_beyond_a_place(before: bytes, more: bytes, kept: int) -> None:
    """As much of it as is kept."""
    first, place = Place().beyond(StderrTail(1, len(before), before[-kept:]))
    assert first == before[-kept:]
    said = before + more
    news, behind = place.beyond(StderrTail(1, len(said), said[-kept:]))
    assert news == (more[-kept:] if more else b"")
    assert behind.beyond(StderrTail(1, len(said), said[-kept:])) == (b"", behind)


def test_a_further_attempt_begins_anew_and_a_node_that_forgot_which_it_was_goes_on() -> None:
    _, place = Place().beyond(StderrTail(1, 5, b"first"))
    assert str(place) == "1:5"
    assert place.beyond(StderrTail(0, 0, b"")) == (b"", place)
    assert place.beyond(StderrTail(0, 8, b"first, a")) == (b", a", Place(1, 8))
    assert place.beyond(StderrTail(2, 3, b"sec")) == (b"sec", Place(2, 3))
