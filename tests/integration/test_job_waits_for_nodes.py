"""Fewer nodes answer than there are copies: a job that stands still says why, and goes on when they are back."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.support.processes import end
from tests.support.store import RunningStore, running_store
from tests.support.waiting import await_condition

WORDS = "1 of the 2 nodes that copies need answers: no task starts before another one does."


def _waiting(running: RunningStore, job_id: str, said: Path) -> subprocess.Popen[bytes]:
    """`manta job wait`, its stderr in a file."""
    with said.open("wb") as stderr:
        command = [sys.executable, "-m", "manta.cli.main", "job", "wait", job_id]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=stderr, env=running.environment)


def test_a_job_without_nodes_for_its_copies_says_so_and_goes_on_with_them(tmp_path: Path) -> None:
    with running_store(tmp_path, "--nodes", "2", "--copies", "2") as running, running.client() as store:
        store.make_bucket("books")
        store.write("s3://books/moby", b"x")
        stopped = running.children()["node-2"]
        os.kill(stopped, signal.SIGSTOP)
        try:
            await_condition(lambda: store.api("GET", "/nodes")["waits_for"] is not None, "its silence to be noticed")
            job = store.submit([{"type": "map", "exec": "wc -c"}], inputs=["s3://books/"])
            said = tmp_path / "said"
            waiting = _waiting(running, job.id, said)
            try:
                await_condition(lambda: WORDS in said.read_text(), "manta job wait to tell it")
                assert job.status().waits_for == WORDS
                assert f"  {WORDS}\n" in running.manta("job", "get", job.id).stdout.decode()
                nodes = running.manta("nodes").stdout.decode().splitlines()
                assert "silent" in nodes[1]
                assert nodes[2] == f"NO TASKS: {WORDS}"
                os.kill(stopped, signal.SIGCONT)
                assert waiting.wait(60) == 0
            finally:
                if waiting.poll() is None:
                    end(waiting, 10.0)
        finally:
            os.kill(stopped, signal.SIGCONT)
        assert said.read_text().count(WORDS) == 1
        assert job.status().waits_for is None
        assert "NO TASKS" not in running.manta("nodes").stdout.decode()
