"""A node that stands still (SIGSTOP) while its task ends: another does the task; when it goes on it is too late."""

import os
import signal
import time
from pathlib import Path

import msgspec
import pytest

from manta.core.limits import HEARTBEAT_S
from tests.integration.test_job_attempts import running_node
from tests.support.store import RunningStore, running_store
from tests.support.waiting import await_condition

_ENDS_MEANWHILE = """
case "$MANTA_INPUT_OBJECT/$MANTA_ATTEMPT" in */slow/1) echo begun >&2; sleep 6 ;; esac
echo "$MANTA_INPUT_OBJECT $MANTA_ATTEMPT"
"""


def ended_on(running: RunningStore, node: str) -> int:
    """How many tasks have ended or were lost on that node, once nothing of them is left there; 0 before."""
    for line in running.manta("nodes", "--json").stdout.splitlines():
        told = msgspec.json.decode(line)
        if told["id"] == node and told["alive"] and told["status"]:
            agent = told["status"]["agent"]
            left = agent["running"] + agent["waiting"] + agent["unreported"]
            return 0 if left else int(agent["tasks_done"] + agent["tasks_failed"] + agent["tasks_lost"])
    return 0


@pytest.mark.slow
@pytest.mark.invariant("J1", "J2", "J4")
@pytest.mark.parametrize("others", [8, 0], ids=["a second attempt", "the lease ends"])
def test_j2_an_attempt_that_ends_on_a_stopped_node_is_not_committed(tmp_path: Path, others: int) -> None:
    """With the tasks of others to compare it with it is a straggler; without, its node's lease ends first."""
    with running_store(tmp_path, "--nodes", "3", "--copies", "2") as running, running.client() as store:
        store.make_bucket("books")
        for number in range(others):
            store.write(f"s3://books/{number}", b"x")
        store.write("s3://books/slow", b"x")
        job = store.submit([{"type": "map", "exec": _ENDS_MEANWHILE}], inputs=["s3://books/"])
        node, pid = running_node(job, running, others + 1)
        await_condition(lambda: job.status().phases[0].tasks.committed == others, "the others")
        began_s = time.monotonic()
        await_condition(lambda: time.monotonic() > began_s + 2 * HEARTBEAT_S, "its node to have told that it runs")
        os.kill(pid, signal.SIGSTOP)
        try:
            assert job.wait(timeout_s=90).errors == 0
            done_there = sum(task["node"] == node for task in job.tasks())
        finally:
            os.kill(pid, signal.SIGCONT)
        await_condition(lambda: ended_on(running, node) > done_there, "the stale attempt to end", 60.0)
        assert running.children()[node] == pid, "it went on, and was not started anew"
        (slow,) = [task for task in job.tasks() if task["input"] == "books/slow"]
        (stale,) = slow["earlier"]
        assert (stale["attempt"], stale["node"]) == (1, node)
        assert stale["why"] in ("NodeLost", "Overtaken"), "whichever came first"
        assert (slow["leased"] < stale["ended"]) is (others > 0), "the second attempt began beside the first"
        assert (slow["state"], slow["node"] != node) == ("committed", True)
        said = sorted(store.read(f"s3://{one['bucket']}/{one['key']}").decode() for one in job.outputs())
        assert len(said) == others + 1, "each input once"
        assert [line for line in said if "slow" in line] == [f"books/slow {slow['attempt']}\n"]
