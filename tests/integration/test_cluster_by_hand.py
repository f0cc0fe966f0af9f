"""A cluster as docs/operations.md has it: processes with configuration files, PostgreSQL, the first keys, the nodes."""

import json
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from manta.sdk import connect
from tests.support.storage import free_port
from tests.support.store import START_TIMEOUT_S, clean_environment

PAGE = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
ROOT = {"MANTA_ROOT_ACCESS_KEY": "FIRSTROOT", "MANTA_ROOT_SECRET_KEY": "first-root-secret"}
Start = Callable[[str, dict[str, Any]], str]


def example(name: str) -> dict[str, Any]:
    """The page's own configuration that has that property."""
    found: list[dict[str, Any]] = [
        json.loads(block) for block in re.findall(r"^```json\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    ]
    return next(one for one in found if name in one)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Runs `manta ROLE --config` and gives the address of its `ready` line; all of them end with the test."""
    environment = clean_environment(tmp_path) | ROOT
    with ExitStack() as stack:

        def begin(role: str, config: dict[str, Any]) -> str:
            path = tmp_path / f"{role}-{config.get('node_id', '')}.json"
            path.write_text(json.dumps(config))
            path.chmod(0o600)
            log = stack.enter_context(path.with_suffix(".log").open("wb"))
            process = subprocess.Popen(
                [sys.executable, "-m", "manta.cli.main", role, "--config", str(path)],
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment,
                text=True,
            )
            stack.callback(_end, process)
            return _ready(process, path.with_suffix(".log"))

        yield begin


def _ready(process: "subprocess.Popen[str]", log: Path) -> str:
    assert process.stdout is not None
    timer = threading.Timer(START_TIMEOUT_S, process.kill)
    timer.start()
    try:
        word, _, address = process.stdout.readline().strip().partition(" ")
    finally:
        timer.cancel()
    assert word == "ready", log.read_text(errors="replace")
    return address


def _end(process: "subprocess.Popen[str]") -> None:
    process.send_signal(signal.SIGTERM)
    process.wait(60)
    assert process.stdout is not None
    process.stdout.close()


def test_the_pages_files_make_a_store(tmp_path: Path, postgres_url: str, start: Start) -> None:
    places = {"catalog": postgres_url, "host": "127.0.0.1", "port": 0, "log_dir": str(tmp_path / "log")}
    url = start("gateway", example("catalog") | places)
    with connect(url, "FIRSTROOT", "first-root-secret") as store:
        for number in (1, 2):
            key, address = f"{number:064x}", f"http://127.0.0.1:{free_port()}"
            document = example("url") | {"id": f"node-{number}", "url": address, "key": key}
            store.api("POST", "/nodes", body=document | {"machine_id": f"m-{number}"})
            places = {"data_dir": str(tmp_path / f"node-{number}"), "listen": address, "gateways": [url], "lanes": 1}
            assert start("node", example("node_id") | places | {"node_id": f"node-{number}", "key": key}) == address
        store.make_bucket("books")
        store.write("s3://books/a", b"one two\n")
        assert store.objects("s3://books/a").sh("wc -w").text().strip() == "2"
        nodes = store.api("GET", "/nodes")["nodes"]
    assert [(node["id"], node["alive"], node["status"]["writable"]) for node in nodes] == [
        ("node-1", True, True),
        ("node-2", True, True),
    ]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"data_dir": "/proc/nowhere"}, "/proc/nowhere cannot hold a node's volume"),
        ({"key": "<64 hex digits>"}, "hexadecimal"),
        ({"listen": "http://192.0.2.1:7071"}, "Cannot listen at http://192.0.2.1:7071"),
        ({"listen": "10.0.0.11:7071"}, "A node listens at"),
        ({"lane": 4}, "lane, which means nothing"),
    ],
)
def test_what_is_wrong_with_a_node_is_one_sentence(tmp_path: Path, change: dict[str, object], said: str) -> None:
    path = tmp_path / "node.json"
    sound = {"node_id": "n", "data_dir": str(tmp_path / "n"), "key": "00" * 32, "listen": "http://127.0.0.1:0"}
    path.write_text(json.dumps(sound | change))
    command = [sys.executable, "-m", "manta.cli.main", "node", "--config", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, said in done.stderr) == (2, True), done.stderr
    assert len(done.stderr.splitlines()) == 1
