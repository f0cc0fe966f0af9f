"""Images as users bring them, on a real store of three nodes with one copy: archives of this machine's own programs."""

import dataclasses
import tarfile
from collections.abc import Iterator

import pytest

from manta.sdk import Job, Store
from tests.support.oci import Image, by_zstd, entry, file, programs, tar
from tests.support.shared_store import shared_store
from tests.support.store import RunningStore
from tests.support.store_jobs import await_done

TOOLS = tar(
    [
        *programs("cat", "ls", "find", "rm", "touch", "chmod", "grep"),
        file("etc/secret", b"for all to read\n", 0o600),
        file("opt/tools/hello", b'#!/bin/sh\necho "hello from $WHERE, $1"\n', 0o755),
        file("gone", b"x"),
        entry("proc", tarfile.SYMTYPE, "/etc"),
    ]
)
ENV = ["PATH=/opt/tools:/bin", "WHERE=the image", "MANTA_JOB_ID=stolen", "HOME=/root"]
GOOD = Image([TOOLS, tar([file(".wh.gone")])], {"Env": ENV, "WorkingDir": "/opt"})


running = shared_store("--nodes", "3")


@pytest.fixture(scope="module")
def store(running: RunningStore) -> Iterator[Store]:
    with running.client() as client:
        client.make_bucket("images")
        client.make_bucket("words")
        client.write("s3://images/good.tar", GOOD.archive())
        for number in range(12):
            client.write(f"s3://words/{number:02}", f"word {number}\n".encode())
        yield client


def _map(command: str, image: str = "s3://images/good.tar", **properties: object) -> dict[str, object]:
    return {"type": "map", "exec": command, "image": image, **properties}


def _run(store: Store, *phases: dict[str, object], inputs: str = "s3://words/") -> Job:
    return await_done(store.submit(list(phases), inputs=[inputs]))


def _outputs(store: Store, job: Job) -> list[str]:
    assert list(job.errors()) == []
    return [store.read(f"s3://{line['bucket']}/{line['key']}").decode() for line in job.outputs()]


def test_tasks_run_in_the_image_by_the_command_line(store: Store, running: RunningStore) -> None:
    """Its programs and its environment; stdin, the input's file and the next phase, on the host, as everywhere."""
    command = (
        'hello "$(cat "$MANTA_INPUT_FILE")"; cat; ls /usr /gone 2>/dev/null; echo "$PWD $HOME $MANTA_IMAGE_WORKDIR"'
    )
    done = running.manta(
        "job", "run", "--image", "s3://images/good.tar", "-m", command, "-r", "sort -u", "s3://words/0*"
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    expected = {"/scratch /scratch /opt"}
    for number in range(10):
        expected |= {f"hello from the image, word {number}", f"word {number}"}
    assert set(done.stdout.decode().splitlines()) == expected


@pytest.mark.invariant("S4")
def test_an_image_is_read_only_and_brings_nothing_but_itself(store: Store) -> None:
    attack = """
        for f in /new /etc/new /dev/new /run/new /manta/new /assets/new /input/new /proc/new; do
            (touch $f) 2>/dev/null && echo "made $f"
        done
        rm -f /etc/secret 2>/dev/null; chmod 777 /opt/tools/hello 2>/dev/null && echo changed
        (echo x > /opt/tools/hello) 2>/dev/null && echo written
        (touch /tmp/mine) && ls /scratch; cat /etc/secret; ls /; ls /dev
        grep -c . /proc/self/status > /dev/null && echo proc
    """
    job = _run(store, _map(attack), inputs="s3://words/00")
    (said,) = _outputs(store, job)
    root = "assets bin dev etc input lib lib64 manta opt proc run scratch tmp var zone"
    devices = "fd full null random shm stderr stdin stdout urandom zero"
    assert " ".join(said.split()) == f"mine for all to read {root} {devices} proc"


def test_init_and_assets_go_with_an_image(store: Store) -> None:
    store.write("s3://images/asset.sh", b"#!/bin/sh\ncat /zone/note\n")
    phase = _map("/assets/images/asset.sh", init="echo from init > note", assets=["s3://images/asset.sh"])
    assert set(_outputs(store, _run(store, phase))) == {"from init\n"}


def test_the_same_archive_is_unpacked_once_a_node(store: Store, running: RunningStore) -> None:
    store.write("s3://images/again.tar", GOOD.archive())
    for image in ("s3://images/good.tar", "s3://images/again.tar"):
        _outputs(store, _run(store, _map("true", image)))
    folders = list(running.data.glob("nodes/*/cache/images"))
    assert len(folders) == 3
    # None lies on a node whose turn never came, since the others had done all.
    assert max(len(list(folder.iterdir())) for folder in folders) == 1


def test_the_tasks_programs_need_nothing_of_an_image(store: Store) -> None:
    """It has no Python, and no library but its own programs'."""
    store.make_bucket("results")
    put = "mpipe -H 'x-amz-meta-of: image' results/${MANTA_INPUT_OBJECT##*/}"
    job = _run(store, _map(f"mls words > /dev/null && mget $MANTA_INPUT_OBJECT | {put}"), inputs="s3://words/0*")
    assert sorted(_outputs(store, job)) == [f"word {number}\n" for number in range(10)]
    assert store.head("s3://results/03")["Metadata"] == {"of": "image"}


def test_an_archive_of_docker_save_will_do(store: Store) -> None:
    store.write("s3://images/docker.tar", GOOD.docker_archive())
    assert set(_outputs(store, _run(store, _map("hello you", "s3://images/docker.tar")))) == {
        "hello from the image, you\n"
    }


def test_layers_compressed_by_zstd_will_do(store: Store) -> None:
    """The node's own program unpacks them, inside the zone."""
    store.write("s3://images/zstd.tar", dataclasses.replace(GOOD, compress=by_zstd).archive())
    assert set(_outputs(store, _run(store, _map("hello you", "s3://images/zstd.tar")))) == {
        "hello from the image, you\n"
    }


BAD = {
    "text": (b"this is no archive", "damaged"),
    "foreign": (Image([TOOLS], architecture="s390x").archive(), "no image for linux/"),
    "shell-less": (Image([tar([file("a")])]).archive(), "neither /bin/bash nor /bin/sh"),
    "upward": (Image([tar([file("../../x")])]).archive(), "leads out of the image"),
    "empty": (b"", "damaged"),
}


@pytest.mark.invariant("S6")
@pytest.mark.parametrize("name", BAD)
def test_a_bad_archive_fails_each_task_with_the_reason(store: Store, name: str) -> None:
    archive, said = BAD[name]
    uri = f"s3://images/{name}"
    store.write(uri, archive)
    errors = list(_run(store, _map("true", uri)).errors())
    assert [error["code"] for error in errors] == ["TaskInitError"] * 12
    assert all(uri in error["message"] and said in error["message"] for error in errors), errors[0]


def test_a_missing_image_fails_each_task_by_name(store: Store) -> None:
    errors = list(_run(store, _map("true", "s3://images/none")).errors())
    assert [error["code"] for error in errors] == ["TaskInitError"] * 12
    assert all("s3://images/none" in error["message"] for error in errors)
