"""A Python function on batches: one process takes the inputs one after another, and each is as it would be alone."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from manta.core.limits import SMALL_BLOB_BYTES
from manta.sdk import Job, Store
from tests.support.oci import Image, python, tar
from tests.support.sleepers import sleepers
from tests.support.store import RunningStore, running_store
from tests.support.waiting import await_condition

COUNT = 8
URIS = [f"s3://small/{folder}/same.txt" for folder in range(COUNT)]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStore]:
    with running_store(tmp_path_factory.mktemp("python-batch"), "--nodes", "1", "--copies", "1") as store:
        yield store


@pytest.fixture(scope="module")
def store(running: RunningStore) -> Iterator[Store]:
    with running.client() as client:
        client.make_bucket("small")
        for number, uri in enumerate(URIS):
            client.write(uri, b"x" * number)
        yield client


def _run(store: Store, function: Any, **options: Any) -> Job:
    job = store.objects("s3://small/**").map(function, batch=COUNT, **options).submit()
    job.wait(timeout_s=60)
    return job


def _errors(job: Job) -> dict[str, dict[str, Any]]:
    return {error["input"]: error for error in job.errors()}


def test_one_process_takes_them_all(store: Store) -> None:
    def nth(o: Any) -> list[int]:
        import string  # any module will do to remember something

        string.taken = getattr(string, "taken", 0) + 1  # type: ignore[attr-defined]
        return [o.size, len(o.bytes()), string.taken]  # type: ignore[attr-defined]

    found = sorted(store.values(_run(store, nth)))
    assert [one[:2] for one in found] == [[size, size] for size in range(COUNT)]
    assert sorted(taken for size, _, taken in found if size) == list(range(1, COUNT))  # empty ones lie on no node


def test_each_finds_what_it_would_find_alone(store: Store) -> None:
    def look(o: Any) -> dict[str, Any]:
        own = str(os.getpid())
        found = {
            "stdin": len(sys.stdin.buffer.read()), "size": o.size, "left": os.environ.get("LEFT"),
            "cwd": str(Path.cwd()), "umask": os.umask(0o077), "arguments": sys.argv[1:],
            "files": [path.name for path in Path("/scratch").iterdir()],
            "processes": [path.name for path in Path("/proc").glob("[0-9]*") if path.name not in ("1", own)],
            "key": o.path.endswith(f"/{o.name}") and os.environ["MANTA_INPUT_OBJECT"] == f"{o.bucket}/{o.key}",
            "base": os.environ["MANTA_OUTPUT_BASE"],
        }  # fmt: skip
        os.environ["LEFT"] = "behind"
        Path("deep/er").mkdir(parents=True)
        Path("deep/er/file").write_text("scratch")
        Path("deep").chmod(0)
        Path("link").symlink_to("/usr")
        os.chdir("/usr")
        sys.stdin.close()
        sys.stdout = None
        subprocess.Popen(["sh", "-c", "sleep 600 & exec sleep 600"], start_new_session=True)
        return found

    found = list(store.values(_run(store, look)))
    assert len(found) == COUNT
    assert all(one["stdin"] == one["size"] for one in found)
    assert all(one["key"] for one in found)
    assert len({one["base"] for one in found}) == COUNT
    same = [(one["left"], one["cwd"], one["files"], one["umask"], one["arguments"], one["processes"]) for one in found]
    assert same == [(None, "/scratch", [], 0o022, [], [])] * COUNT


@pytest.mark.invariant("J1")
def test_one_that_fails_takes_no_other_with_it_however_it_does(store: Store) -> None:
    def fall(o: Any) -> int:
        print(f"I have {o.size}")
        match o.size:
            case 1:
                raise ValueError("one is none")
            case 2:
                os._exit(7)
            case 3:
                os.abort()
            case 4:
                time.sleep(60)
            case 5:
                return len(bytearray(1 << 30))
            case 6:
                os._exit(0)
        return int(o.size)

    job = _run(store, fall, timeout="3s", memory="128M")
    assert job.status().phases[0].tasks.committed == 3
    assert sorted(store.values(job, partial=True)) == [0, 7]
    told = {uri[0]: error for uri, error in ((o.split("/")[1], e) for o, e in _errors(job).items())}
    assert sorted(told) == ["1", "2", "3", "4", "5"]
    words = {"1": "exit status 1", "2": "exit status 7", "3": "SIGABRT", "4": "timeout of 3 s", "5": "memory limit"}
    for number, error in told.items():
        assert (error["code"], words[number] in error["message"]) == ("UserTaskError", True), error
        assert error["stderr"].startswith(f"I have {number}\n"), error
        assert error["stderr"].count("I have") == 1
    assert "ValueError: one is none" in told["1"]["stderr"]


def test_output_and_stderr_of_each_are_its_own(store: Store) -> None:
    large = 3 * SMALL_BLOB_BYTES

    def talk(o: Any) -> Any:
        print(f"about {o.key}")
        os.system(f"echo child of {o.key} >&2")
        return o.key, b"y" * (large if o.size % 2 else o.size)

    job = _run(store, talk)
    values = dict(store.values(job))
    assert {key: len(value) for key, value in values.items()} == {
        f"{number}/same.txt": large if number % 2 else number for number in range(COUNT)
    }
    for line in job.inputs():
        said = [f"about {line['key']}", f"child of {line['key']}"]
        assert sorted(job.stderr(line["seq"]).decode().splitlines()) == sorted(said)


def test_its_programs_are_those_of_their_input(store: Store) -> None:
    def put(o: Any) -> None:
        subprocess.run(["mpipe", f"small-out/{o.size}"], input=b"z" * o.size, check=True)

    store.make_bucket("small-out", exist_ok=True)
    job = _run(store, put)
    outputs = {line["key"]: (line["size"], line["task"]) for line in job.outputs()}
    assert {key: size for key, (size, _) in outputs.items()} == {str(number): number for number in range(COUNT)}
    tasks = {line["key"].split("/")[0]: line["seq"] for line in job.inputs()}
    assert {key: task for key, (_, task) in outputs.items()} == tasks


@pytest.mark.invariant("J6")
def test_cancel_ends_the_process_and_names_every_input(store: Store, running: RunningStore) -> None:
    job = store.objects("s3://small/**").map(lambda o: subprocess.run(["sleep", "3601"]), batch=COUNT).submit()
    await_condition(lambda: bool(sleepers(running, 3601)), "a process to run")
    job.cancel()
    await_condition(lambda: not sleepers(running, 3601), "every process to end", 5.0)
    assert job.wait(timeout_s=20).state == "cancelled"
    assert [error["code"] for error in job.errors()] == ["JobCancelled"] * COUNT


@pytest.mark.invariant("J1", "J4")
def test_a_node_that_is_killed_loses_no_input_and_repeats_no_output(store: Store, running: RunningStore) -> None:
    def slowly(o: Any) -> int:
        if o.size == COUNT // 2 and os.environ["MANTA_ATTEMPT"] == "1":
            subprocess.run(["sleep", "3602"])
        return int(o.size)

    job = store.objects("s3://small/**").map(slowly, batch=COUNT).submit()
    await_condition(lambda: bool(sleepers(running, 3602)), "a process to run")
    os.kill(running.children()["node-1"], signal.SIGKILL)
    assert job.wait(timeout_s=120).errors == 0
    assert sorted(store.values(job)) == list(range(COUNT))


def test_in_an_image_too(store: Store) -> None:
    store.make_bucket("images", exist_ok=True)
    store.write("s3://images/python.tar", Image([tar(python())], compress=lambda layer: layer).archive())
    job = _run(store, lambda o: Counter(o.text()), image="s3://images/python.tar", memory="512M")
    assert sum(store.values(job), Counter()) == Counter("x" * sum(range(COUNT)))
