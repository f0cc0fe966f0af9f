"""Which limits hold by what means is told to whoever asks: `manta doctor`, and for each node `GET /nodes`."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.sandbox.cgroups import survey
from tests.support.ordinary_user import user_of
from tests.support.store import RunningStore, running_store

KINDS = {"memory": "memory", "processes": "pids", "cpu": "cpu"}


@pytest.fixture(params=["root", "user"])
def running(request: pytest.FixtureRequest) -> Iterator[tuple[RunningStore, int | None]]:
    """A store, and the user that it runs as where that is not who runs the tests."""
    user = user_of(request.param)
    with tempfile.TemporaryDirectory(prefix="manta-limits-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        with running_store(folder / "s", "--nodes", "1", user=user) as store:
            yield store, user


def _by_groups(user: int | None) -> set[str]:
    """The limits that cgroups hold for who runs the store: none for an ordinary user, whom no tree here belongs to."""
    holds = survey().holds if user is None else frozenset[str]()
    return {limit for limit, controller in KINDS.items() if controller in holds}


@pytest.mark.invariant("S5")
def test_s5_the_means_of_each_limit_are_told(running: tuple[RunningStore, int | None]) -> None:
    store, user = running
    told = _doctor(store, user)
    with store.client() as client:
        (node,) = client.api("GET", "/nodes")["nodes"]
    limits = node["status"]["agent"]["sandbox"]["limits"]
    assert {limit for limit in KINDS if limits[limit].startswith("cgroup ")} == _by_groups(user)
    if "memory" not in _by_groups(user):
        assert "per process; not the sum of a task's processes" in limits["memory"]
    assert {limit: told[f"limit of a task's {limit}"] for limit in KINDS} == {limit: limits[limit] for limit in KINDS}
    assert all(limits[name] for name in ("timeout", "scratch", "open files", "cpu time"))


def _doctor(store: RunningStore, user: int | None) -> dict[str, str]:
    """What was seen, by what was looked at, as the store's own user sees it."""
    done = subprocess.run(
        [sys.executable, "-m", "manta.cli.main", "doctor", "--json", "--data", str(store.data)],
        capture_output=True,
        env=store.environment,
        cwd=store.data.parent,
        user=user,
        group=user,
        extra_groups=None if user is None else (),
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return {line["what"]: line["seen"] for line in map(json.loads, done.stdout.splitlines())}
