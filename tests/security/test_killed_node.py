"""What a node leaves that is killed -9 while tasks run, on stores run by root and by an ordinary user, on both drivers.

The supervisor stands still meanwhile: no next start of the node can have cleaned up.
"""

import os
import secrets
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from manta.sdk import Job
from tests.support.processes import alive
from tests.support.siege import Siege, besieged_as
from tests.support.traces import abandoned, marked, mounts
from tests.support.waiting import await_condition

_SLOW = [pytest.param(kind, marks=pytest.mark.slow) for kind in ("user", "root-oci", "user-oci")]
_LEAVES_MUCH = "setsid sleep 3600 & (trap '' TERM HUP INT; sleep 3600) & echo up >&2; sleep 3600"


@pytest.fixture(scope="module", params=["root", *_SLOW])
def siege(request: pytest.FixtureRequest) -> Iterator[Siege]:
    with besieged_as(request.param, "--lanes", "4") as siege:
        yield siege


def _running_job(siege: Siege, mark: str) -> Job:
    phase = {"type": "map", "exec": _LEAVES_MUCH, "init": "sleep 3600 &", "env": {"MARK": mark}}
    job = siege.eve.submit([phase], inputs=["s3://eve/in"])
    await_condition(lambda: len(marked(mark)) >= 3, "the task and its children")
    return job


@pytest.mark.invariant("S4", "J6")
def test_s4_tasks_die_with_a_killed_node_and_the_rest_goes_when_it_starts_again(siege: Siege) -> None:
    mark = secrets.token_hex(8)
    job = _running_job(siege, mark)
    running = siege.running
    supervisor, node = running.process.pid, running.children()["node-1"]
    os.kill(supervisor, signal.SIGSTOP)
    try:
        os.kill(node, signal.SIGKILL)
        await_condition(lambda: not marked(mark), "every process of the task to end")
        left = abandoned(running.data)
        await_condition(lambda: not _members(left), "every process of its zones to end")
        assert mounts(running.data) == []
    finally:
        os.kill(supervisor, signal.SIGCONT)
    await_condition(lambda: alive(running.children().get("node-1", node)), "the node to be started again")
    await_condition(lambda: len(marked(mark)) >= 3, "the task to be started again")
    assert abandoned(running.data) == [], "what it left went when it started"
    assert bool(left) is (os.geteuid() == 0 and running_as_root(siege)), "there was something to remove"
    job.cancel()
    assert job.wait(timeout_s=60).state == "cancelled"
    await_condition(lambda: not marked(mark), "every process to end")


def running_as_root(siege: Siege) -> bool:
    return siege.running.data.stat().st_uid == 0


def _members(groups: list[Path]) -> list[int]:
    """Processes in these control groups, those that nobody has waited for apart."""
    found = []
    for group in groups:
        for file in group.rglob("cgroup.procs"):
            found += [int(line) for line in file.read_text().split()]
    return [pid for pid in found if alive(pid)]
