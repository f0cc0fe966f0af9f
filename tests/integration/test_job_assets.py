"""Assets as users bring them, on a real store of three nodes with one copy, so that most are fetched from a peer."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from manta.sdk import Job, Store
from tests.support.shared_store import shared_store
from tests.support.store import RunningStore
from tests.support.store_jobs import await_done, outputs_of

SCRIPT = b'#!/bin/bash\nread -r first\necho "$1: $first"\n'


running = shared_store("--nodes", "3")


@pytest.fixture(scope="module")
def store(running: RunningStore) -> Iterator[Store]:
    with running.client() as client:
        client.make_bucket("tools")
        client.make_bucket("words")
        for number in range(12):
            client.write(f"s3://words/{number:02}", f"word {number}\nmore\n".encode())
        yield client


def _map(command: str, *assets: str, **properties: object) -> dict[str, object]:
    return {"type": "map", "exec": command, "assets": list(assets), **properties}


def _run(store: Store, *phases: dict[str, object]) -> Job:
    return await_done(store.submit(list(phases), inputs=["s3://words/"]))


def test_a_script_and_a_binary_are_at_hand_in_every_task(store: Store, running: RunningStore) -> None:
    """Case 8, by the command line; the binary is larger than what travels whole."""
    store.write("s3://tools/bin/first.sh", SCRIPT)
    sort = Path(shutil.which("sort") or "").read_bytes() + bytes(1 << 20)
    store.write("s3://tools/odd name\n%41/sörter", sort)
    done = running.manta(
        "job", "run", "--asset", "s3://tools/bin/first.sh", "-m", "/assets/tools/bin/first.sh said",
        "--asset", "s3://tools/odd name\n%41/sörter", "-r", "'/assets/tools/odd name\n%41/sörter'", "s3://words/",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode().splitlines() == sorted(f"said: word {number}" for number in range(12))


@pytest.mark.invariant("S4")
def test_assets_are_read_only_and_of_their_phase_alone(store: Store) -> None:
    store.write("s3://tools/bin/first.sh", SCRIPT)
    attack = 'for f in "$F" /assets/new; do (echo x > $f; chmod 777 $f; rm $f) 2>/dev/null && echo done; done; cat "$F"'
    job = _run(store, _map(attack, "s3://tools/bin/first.sh", env={"F": "/assets/tools/bin/first.sh"}))
    assert outputs_of(store, job) == [SCRIPT] * 12
    assert store.read("s3://tools/bin/first.sh") == SCRIPT
    job = _run(store, _map("cat", "s3://tools/bin/first.sh"), _map("find / -xdev -name first.sh; ls /assets"))
    assert len(list(job.errors())) == 12  # there is no /assets where a phase has none


def test_a_replaced_asset_is_the_new_one_in_the_next_job(store: Store) -> None:
    for word in (b"one", b"two", b""):
        store.write("s3://tools/word", word)
        job = _run(store, _map("cat /assets/tools/word", "s3://tools/word"))
        assert outputs_of(store, job) == [word] * 12


def test_a_missing_asset_fails_each_task_by_name(store: Store) -> None:
    store.write("s3://tools/here", b"here")
    job = _run(store, _map("true", "s3://tools/here", "s3://tools/nowhere.sh"))
    errors = list(job.errors())
    assert [error["code"] for error in errors] == ["TaskInitError"] * 12
    assert all("s3://tools/nowhere.sh" in error["message"] for error in errors)
    plan = store.explain([_map("true", "s3://tools/here", "s3://tools/nowhere.sh", image="s3://none/x")], inputs=[])
    assert [one["object"] for one in plan["missing"]] == ["s3://tools/nowhere.sh", "s3://none/x"]
    assert sorted(error["input"] for error in errors) == [f"words/{number:02}" for number in range(12)]


@pytest.mark.invariant("S4")
def test_an_asset_is_read_with_the_rights_of_the_jobs_owner(store: Store, running: RunningStore) -> None:
    store.write("s3://tools/secret", b"of the root account")
    with running.new_account("guest") as guest:
        guest.make_bucket("guests")
        guest.write("s3://guests/input", b"x")
        phase = _map("cat /assets/tools/secret", "s3://tools/secret")
        job = guest.submit([phase], inputs=["s3://guests/input"])
        assert job.wait(timeout_s=100).state == "done"
        (error,) = list(job.errors())
    assert error["code"] == "TaskInitError"
    assert "s3://tools/secret" in error["message"]


def test_limits_that_no_node_can_satisfy_fail_each_task_with_the_figures(store: Store, running: RunningStore) -> None:
    done = running.manta("job", "run", "--cpus", "256", "--disk", "1M", "-m", "true", "s3://words/0*")
    assert done.returncode == 3
    (listed,) = store.jobs(limit=1)
    errors = list(store.job(listed.id).errors())
    assert [error["code"] for error in errors] == ["TaskInitError"] * 10
    assert all("256 cpus, and the node has" in error["message"] for error in errors)
