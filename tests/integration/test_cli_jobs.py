"""The job commands as a user types them: what they say, and where."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from manta.sdk import Store
from tests.support.shared_store import shared_store, store
from tests.support.store import RunningStore
from tests.support.store_jobs import fill_bucket
from tests.support.terminal import UserTerminal
from tests.support.waiting import await_condition

__all__ = ["store"]

running = shared_store("--nodes", "1", "--lanes", "2")


def test_a_new_jobs_id_is_printed_bare_or_as_json(running: RunningStore, store: Store) -> None:
    bare = running.manta("job", "create", "-m", "cat").stdout.decode().strip()
    told = json.loads(running.manta("job", "create", "--json", "-m", "cat").stdout)
    assert {bare, told["id"]} == {status.id for status in store.jobs(limit=2)}
    for job_id in (bare, told["id"]):
        store.job(job_id).cancel()


@pytest.mark.parametrize(
    ("document", "options"),
    [
        ('{"phases": 5}', ()),
        ('{"phases": ["x"]}', ("--memory", "1M")),
        ('{"inputs": "s3://b/k"}', ("-m", "cat")),
        ('{"inputs": [5]}', ("-m", "cat", "--where", "size>1")),
        ("{}", ("--count", "9" * 5000, "-r", "cat")),
        ("{}", ("--wait", "9" * 400, "-m", "cat")),
    ],
)
def test_what_is_no_job_is_refused_before_anything_is_asked(
    running: RunningStore, tmp_path: Path, document: str, options: tuple[str, ...]
) -> None:
    path = tmp_path / "job.json"
    path.write_text(document)
    refused = running.manta("job", "run", "--file", str(path), *options, "s3://nowhere/a")
    assert (refused.returncode, refused.stderr.count(b"\n")) == (2, 1), refused
    assert len(refused.stderr) < 300, refused


def test_a_job_that_still_runs_is_removed_as_the_help_says(running: RunningStore, store: Store) -> None:
    told = " ".join(running.manta("job", "rm", "--help").stdout.decode().split())
    assert "One that still runs is cancelled" in told
    fill_bucket(store, "endless", {"in": b""})
    job_id = running.manta("job", "create", "-m", "sleep infinity", "s3://endless/in").stdout.decode().strip()
    await_condition(lambda: store.job(job_id).status().phases[0].tasks.running == 1, "the task to run")
    removed = running.manta("job", "rm", job_id)
    assert (removed.returncode, removed.stdout, removed.stderr) == (0, b"", b"")
    assert running.manta("job", "get", job_id).returncode == 6


@pytest.mark.parametrize("command", ["create", "explain"])
def test_what_does_not_wait_takes_no_time_to_wait(running: RunningStore, command: str) -> None:
    refused = running.manta("job", command, "--wait", "5", "-m", "cat", "s3://nowhere/")
    assert (refused.returncode, b"--wait is for `manta job run`" in refused.stderr) == (2, True), refused.stderr


def test_what_a_cancel_left_unfinished_is_told_once(running: RunningStore, store: Store) -> None:
    fill_bucket(store, "left", {f"{number:03}": b"" for number in range(100)})
    failing = 'case "$MANTA_INPUT_OBJECT" in left/000) exit 7;; esac; sleep 3600'
    job_id = running.manta("job", "create", "--retries", "0", "-m", failing, "s3://left/").stdout.decode().strip()
    await_condition(lambda: store.job(job_id).status().errors == 1, "the first to fail")
    running.manta("job", "cancel", job_id)
    waited = running.manta("job", "wait", job_id)
    failed, unfinished, *_ = waited.stderr.decode().splitlines()
    assert (waited.returncode, waited.stderr.count(b"JobCancelled")) == (4, 1), waited.stderr
    assert failed.startswith("UserTaskError: ")
    assert unfinished == (
        "JobCancelled: The job was cancelled by its owner.  "
        f"(99 unfinished inputs: `manta job errors {job_id}` lists them)"
    )
    assert running.manta("job", "errors", job_id).stdout.count(b"JobCancelled: ") == 99


def test_a_key_that_a_stranger_chose_moves_nobodys_cursor(running: RunningStore, store: Store) -> None:
    """Nor does it add a line of its own, or reach a terminal by way of the page."""
    key = "a\x1b[2J\n\u009bgone"
    fill_bucket(store, "strange", {key: b"x"})
    job_id = running.manta("job", "run", "-m", "exit 7", "s3://strange/").stderr.decode().split()[1]
    assert running.manta("job", "inputs", job_id).stdout.decode() == f"s3://strange/{key}\n"
    for command in (("ls", "s3://strange"), ("job", "inputs", job_id)):
        with UserTerminal(running, *command) as user:
            assert user.status() == 0
            assert user.shown.endswith(b"s3://strange/a\\x1b[2J\\x0a\\x9bgone\r\n"), user.shown
            assert user.shown.count(b"\n") == 1, user.shown
    text = running.manta("job", "share", job_id).stdout.decode()
    assert "strange/a\\x1b[2J" in text
    assert text.replace("\n", "").isprintable()


def test_jobs_are_listed_by_the_name_that_objects_are(running: RunningStore) -> None:
    listed = running.manta("job", "list", "--limit", "2")
    assert (running.manta("job", "ls", "--limit", "2").stdout, listed.returncode) == (listed.stdout, 0)


def test_days_the_wrong_way_round_used_nothing_and_are_refused(running: RunningStore) -> None:
    refused = running.manta("account", "usage", "--from", "2026-11-24", "--to", "2026-11-23")
    assert (refused.returncode, refused.stdout) == (1, b""), refused
    assert refused.stderr == b"manta: `from` is a day after `to`: exchange them.\n"
    assert running.manta("account", "usage", "--from", "2026-11-23", "--to", "2026-11-23").returncode == 0


def test_why_a_job_was_cancelled_is_told(running: RunningStore, store: Store) -> None:
    fill_bucket(store, "failing", {f"{number}": b"" for number in range(5)})
    done = running.manta("job", "run", "--max-errors", "1", "-m", "exit 7", "s3://failing/")
    assert done.returncode == 4, done.stderr
    (status,) = store.jobs(limit=1)
    reason = "The job reached its max_errors of 1."
    assert status.cancel_reason == reason
    assert done.stderr.decode().splitlines()[-1] == reason
    assert f"  {reason}" in running.manta("job", "get", status.id).stdout.decode().splitlines()
    assert f'<p class="failed">{reason}</p>' in running.manta("job", "share", status.id).stdout.decode()


def test_ranges_of_a_split_object_are_told_apart(running: RunningStore, store: Store) -> None:
    fill_bucket(store, "cut", {"large": b"0123456\n" * 9000, "small": b"\n"})
    failing = 'case "$MANTA_INPUT_RANGE" in 65*) exit 7;; esac'
    done = running.manta("job", "run", "--split", "64K", "-m", failing, "s3://cut/large", "s3://cut/small")
    (status,) = store.jobs(limit=1)
    told = running.manta("job", "inputs", status.id).stdout.decode().splitlines()
    assert told == ["s3://cut/large  range 0-65536", "s3://cut/large  range 65536-72000", "s3://cut/small"]
    tasks = running.manta("job", "tasks", status.id).stdout.decode().splitlines()
    ends = ["range 0-65536", "range 65536-72000  (failed UserTaskError)", "cut/small"]
    assert [line.endswith(end) for line, end in zip(tasks, ends, strict=True)] == [True] * 3, tasks
    words = "(cut/large  range 65536-72000, task 2)"
    for said in (done.stderr, running.manta("job", "errors", status.id).stdout):
        assert words in said.decode()
    assert "cut/large  range 65536-72000" in running.manta("job", "share", status.id).stdout.decode()


def test_a_job_whose_input_was_interrupted_is_named(running: RunningStore, store: Store) -> None:
    """Its id is nowhere else, and it waits for the rest of its input."""
    before = {status.id for status in store.jobs()}
    command = [sys.executable, "-m", "manta.cli.main", "job", "run", "-m", "cat", "-"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=running.environment
    ) as process:
        await_condition(lambda: len(store.jobs()) > len(before), "the job to be made")
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    (made,) = {status.id for status in store.jobs()} - before
    assert process.returncode == 130, said
    assert f"manta job end {made}" in said.decode().replace("\n", " ")
    store.job(made).cancel()


def test_an_input_that_names_nothing_is_shown_as_it_was_written(running: RunningStore, store: Store) -> None:
    assert running.manta("job", "run", "-m", "cat", "nonsense").returncode == 3
    (status,) = store.jobs(limit=1)
    assert b"(nonsense, task 1)" in running.manta("job", "errors", status.id).stdout
    assert running.manta("job", "tasks", status.id).stdout.split()[-1] == b"nonsense"
    assert running.manta("job", "inputs", status.id).stdout == b"nonsense\n"


def test_an_input_of_a_bucket_that_cannot_be_says_why(running: RunningStore) -> None:
    done = running.manta("job", "run", "-m", "cat", "s3://Books/moby.txt")
    assert b"'s3://Books/moby.txt' names no object: A bucket name has lower-case letters" in done.stderr, done.stderr


def test_a_line_of_stdin_that_no_key_can_be_is_shown(running: RunningStore, store: Store) -> None:
    job_id = running.manta("job", "create", "-m", "cat").stdout.decode().strip()
    for command in (("job", "add", job_id), ("job", "run", "-m", "cat", "-")):
        refused = running.manta(*command, stdin=b"s3://books/\xff\n")
        assert (refused.returncode, rb"no UTF-8, as keys are: b's3://books/\xff" in refused.stderr) == (2, True), (
            refused
        )
    for status in store.jobs(limit=2):
        store.job(status.id).cancel()


def test_a_dash_among_added_inputs_stands_for_stdin(running: RunningStore, store: Store) -> None:
    fill_bucket(store, "added", {"a": b"", "b": b"", "c": b""})
    job_id = running.manta("job", "create", "-m", "cat").stdout.decode().strip()
    running.manta("job", "add", job_id, "s3://added/a", "-", stdin=b"s3://added/b\ns3://added/c\n")
    running.manta("job", "end", job_id)
    assert running.manta("job", "wait", job_id).returncode == 0
    assert running.manta("job", "inputs", job_id).stdout.split() == [b"s3://added/a", b"s3://added/b", b"s3://added/c"]


def test_whoever_stops_waiting_stops_no_job(running: RunningStore, store: Store) -> None:
    fill_bucket(store, "waited", {"a": b""})
    with subprocess.Popen(
        [sys.executable, "-m", "manta.cli.main", "job", "run", "--name", "waited", "-m", "sleep 3600", "s3://waited/a"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=running.environment,
    ) as process:
        await_condition(
            lambda: any(status.phases[0].tasks.running for status in store.jobs(name="waited")), "the task to run"
        )
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    (status,) = store.jobs(name="waited")
    assert (process.returncode, status.state) == (130, "running"), said
    assert f"manta job wait {status.id}" in said.decode().replace("\n", " ")
    store.job(status.id).cancel()
