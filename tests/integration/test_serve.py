"""`manta serve` as an operator sees it: it starts, survives, replaces its gateway, keeps evidence, and ends."""

import json
import os
import re
import signal
import urllib.request
from pathlib import Path

import pytest

from benchmarks.load import Target
from tests.conftest import Serve
from tests.support.load import Load
from tests.support.processes import alive, descendants
from tests.support.store import RunningStore, running_store
from tests.support.waiting import await_condition


def test_starts_answers_and_ends_without_leaving_a_process(serve: Serve) -> None:
    store = serve("--nodes", "2", "--copies", "2")
    with store.client() as client:
        client.make_bucket("first")
        client.write("s3://first/a", b"hello")
        assert client.read("s3://first/a") == b"hello"
    processes = descendants(store.process.pid)
    assert len(processes) >= 3
    assert store.stop() == 0
    await_condition(lambda: not any(alive(pid) for pid in processes), "all processes to end")


def test_a_second_serve_on_the_same_folder_is_refused(serve: Serve) -> None:
    store = serve()
    again = store.manta("serve", "--data", str(store.data), "--port", "0")
    assert again.returncode == 1
    assert b"Another `manta serve` uses" in again.stderr


def test_objects_and_keys_survive_a_restart(tmp_path: Path) -> None:
    with running_store(tmp_path) as store, store.client() as client:
        client.make_bucket("kept")
        client.write("s3://kept/a", b"still here")
        credentials = (store.data / "credentials").read_text()
        assert (store.data / "credentials").stat().st_mode & 0o777 == 0o600
    with running_store(tmp_path, "--nodes", "2") as store, store.client() as client:
        assert client.read("s3://kept/a") == b"still here"
        assert (store.data / "credentials").read_text() == credentials


def test_taking_nodes_away_is_refused_with_the_reason(tmp_path: Path) -> None:
    with running_store(tmp_path, "--nodes", "2") as store:
        data = store.data
    again = store.manta("serve", "--data", str(data), "--nodes", "1", "--port", "0")
    assert again.returncode == 2
    assert b"removing nodes is not supported" in again.stderr


def test_a_sandbox_that_cannot_be_built_is_told_at_the_start_and_objects_are_served(tmp_path: Path) -> None:
    with (
        running_store(tmp_path, "--sandbox", "oci", "--runtime", "/no/such/runtime") as store,
        store.client() as client,
    ):
        said = (tmp_path / "serve.log").read_text()
        assert said.startswith("warning: objects are served, but no job runs here: No sandbox can be built: ")
        assert "/no/such/runtime" in said
        client.make_bucket("books")
        client.write("s3://books/a", b"served")
        assert client.read("s3://books/a") == b"served"


def test_nothing_is_said_of_a_sandbox_that_can_be_built(serve: Serve) -> None:
    assert b"warning" not in (serve().data.parent / "serve.log").read_bytes()


@pytest.mark.invariant("O3")
def test_the_log_of_a_process_says_when(serve: Serve) -> None:
    store = serve()
    log = store.data / "logs" / "gateway.log"
    line = r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d+ INFO manta\.gateway\.main: This gateway accepts calls"
    await_condition(
        lambda: log.exists() and re.search(line, log.read_text(), re.M) is not None, "the gateway to log its start"
    )


@pytest.mark.invariant("O3")
@pytest.mark.parametrize("name", ["gateway", "node-1"])
def test_a_killed_process_comes_back_and_leaves_evidence(serve: Serve, name: str) -> None:
    store = serve()
    with store.client() as client:
        client.make_bucket("kept")
        client.write("s3://kept/a", b"x")
    old = store.children()[name]
    os.kill(old, signal.SIGKILL)
    await_condition(lambda: store.children().get(name, old) != old, f"{name} to come back")
    await_condition(lambda: _evidence(store) != [], "a post-mortem")
    record = _evidence(store)[0]
    assert record["process"] == name
    assert record["cause"] == "ended by SIGKILL"
    with store.client() as client:
        await_condition(lambda: client.exists("s3://kept/a"), "the object to be served again")


@pytest.mark.invariant("O3")
def test_a_fatal_signal_leaves_the_stacks(serve: Serve) -> None:
    store = serve()
    os.kill(store.children()["gateway"], signal.SIGABRT)
    await_condition(lambda: _evidence(store) != [], "a post-mortem")
    assert "run_gateway" in str(_evidence(store)[0]["log"]) or "Fatal Python error" in str(_evidence(store)[0]["log"])


def _evidence(store: RunningStore) -> list[dict[str, object]]:
    found = []
    for path in sorted((store.data / "evidence").glob("*.json")):
        text = path.read_text()
        if text.endswith("}"):
            found.append(json.loads(text))
    return found


@pytest.mark.invariant("O1")
def test_the_gateway_is_replaced_under_load_without_one_failed_request(serve: Serve) -> None:
    store = serve()
    with store.client() as client:
        client.make_bucket("load")
    target = Target(store.url, store.access_key, store.secret_key)
    with Load(target, "load") as load:
        for _ in range(3):
            load.await_progress(50)
            old = store.children()["gateway"]
            store.process.send_signal(signal.SIGHUP)
            _await_end_of(old)
        load.await_progress(50)
    assert load.failures == []


def _await_end_of(gateway: int) -> None:
    await_condition(lambda: not alive(gateway), "the old gateway to finish")


@pytest.mark.invariant("S7")
def test_no_secret_is_in_a_log_or_a_command_line(serve: Serve) -> None:
    store = serve()
    with store.client() as client:
        client.make_bucket("secret")
        client.write("s3://secret/a", b"x")
        signed = client.sign("s3://secret/a")
    signature = signed.partition("X-Amz-Signature=")[2].partition("&")[0]
    with urllib.request.urlopen(signed) as answer:
        assert answer.read() == b"x"
    keys = [store.secret_key, signature, *json.loads((store.data / "store.json").read_text())["nodes"].values()]
    lines = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in descendants(store.process.pid)]
    store.stop()
    written = [path.read_bytes() for path in (store.data / "logs").rglob("*") if path.is_file()]
    for key in keys:
        assert not any(key.encode() in text for text in lines + written)
