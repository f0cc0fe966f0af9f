"""In-task programs as users run them, on a real store of three nodes with two copies."""

import hashlib
import os
import random
from collections import Counter
from typing import Any

import pytest

from manta.core.errors import AccessDenied, MantaError
from manta.sdk import Job, Store
from tests.support.shared_store import shared_store, store
from tests.support.store import RunningStore
from tests.support.store_jobs import await_done, fill_bucket, map_phase, reduce_phase

__all__ = ["store"]


running = shared_store("--nodes", "3", "--copies", "2")


def _clean(job: Job) -> Job:
    assert list(await_done(job).errors()) == []
    return job


def _names(job: Job) -> list[str]:
    return [f"{line['bucket']}/{line['key']}" for line in job.outputs()]


def _outputs(store: Store, job: Job) -> list[bytes]:
    return [store.read(f"s3://{name}") for name in _names(job)]


def _error(job: Job) -> dict[str, Any]:
    (error,) = list(await_done(job).errors())
    return error


def _keys(store: Store, bucket: str) -> list[str]:
    return [entry.key for entry in store.objects(f"s3://{bucket}/")]


def test_named_outputs_lie_beside_their_inputs(store: Store) -> None:
    """Case 5: conversion with named outputs and their content type; stdout is no output then."""
    pictures = {f"album/{number}.ppm": os.urandom(2000 + number) for number in range(8)}
    fill_bucket(store, "pictures", pictures)
    command = (
        "echo chatter; name=${MANTA_INPUT_OBJECT%.ppm}; "
        "od -An -v -tx1 | mpipe -p -H 'content-type: text/x-hex' -H 'x-amz-meta-from: ppm' \"$name.hex\" && "
        'sha256sum < "$MANTA_INPUT_FILE" | mpipe "/$name.sum"'
    )
    job = _clean(store.submit([map_phase(command)], inputs=["s3://pictures/album/*.ppm"]))
    assert sorted(_names(job)) == sorted(f"pictures/{key[:-4]}.{kind}" for key in pictures for kind in ("hex", "sum"))
    for key, data in pictures.items():
        shown = store.read(f"s3://pictures/{key[:-4]}.hex")
        assert bytes.fromhex(shown.decode()) == data
        assert store.read(f"s3://pictures/{key[:-4]}.sum").split()[0].decode() == hashlib.sha256(data).hexdigest()
    head = store.head("s3://pictures/album/3.hex")
    assert (head["ContentType"], head["Metadata"]) == ("text/x-hex", {"from": "ppm"})


def test_msplit_into_four_reducers_equals_the_unsplit_answer(store: Store) -> None:
    """Case 6: words counted by four reducers, then put together by one."""
    dice = random.Random(6)
    words = [f"word{dice.randrange(400)}" for _ in range(20_000)]
    parts = {f"part{number}": "\n".join(words[number::7]).encode() for number in range(7)}
    fill_bucket(store, "split", parts)
    job = store.submit(
        [
            map_phase("msplit -n 4"),
            reduce_phase("sort | uniq -c | awk '{print $2, $1}' | mtee ${MANTA_OUTPUT_BASE}part", count=4),
            reduce_phase("sort"),
        ],
        inputs=["s3://split/"],
    )
    (answer,) = _outputs(store, _clean(job))
    assert answer.decode().splitlines() == sorted(f"{word} {count}" for word, count in Counter(words).items())
    bucket = f"job-{job.id}"
    kept = [store.read(f"s3://{bucket}/{key}") for key in _keys(store, bucket) if key.endswith(".part")]
    assert len(kept) == 4, "each reducer's share, kept beside by mtee"
    shares = [{line.split()[0] for line in share.splitlines()} for share in kept]
    assert sum(map(len, shares)) == len(set(words)), "no word reached two reducers"
    assert all(shares)


def test_a_manifest_by_reference(store: Store) -> None:
    """Case 7: `xargs mcat` names objects; the next phase reads each where it lies, and nothing was copied."""
    contents = {f"data/{number:04d}": os.urandom(300) for number in range(1200)}
    fill_bucket(store, "manifest", {**contents, "list": "\n".join(f"manifest/{key}" for key in contents).encode()})
    job = store.submit(
        [
            map_phase("xargs mcat"),
            map_phase('echo "$MANTA_INPUT_OBJECT $(sha256sum < "$MANTA_INPUT_FILE")"'),
            reduce_phase("sort"),
        ],
        inputs=["s3://manifest/list"],
    )
    (answer,) = _outputs(store, _clean(job))
    expected = [f"manifest/{key} {hashlib.sha256(data).hexdigest()}  -" for key, data in sorted(contents.items())]
    assert answer.decode().splitlines() == expected
    status = job.status()
    assert status.input_bytes_moved == 0
    assert status.phases[1].tasks.committed == len(contents)
    assert store.read("s3://manifest/data/0007") == contents["data/0007"]


def test_references_are_the_outputs_of_a_last_phase(store: Store) -> None:
    fill_bucket(store, "refer", {"a": b"A", "b": b"", "in": b"x"})
    job = _clean(store.submit([map_phase("mcat refer/a s3://refer/b /refer/a")], inputs=["s3://refer/in"]))
    assert _names(job) == ["refer/a", "refer/b", "refer/a"]


def test_an_intermediate_input_by_reference(store: Store) -> None:
    """What has no name outside the job is passed on by reference too, but not out of the job."""
    fill_bucket(store, "between", {"in": b"x"})
    again = map_phase('mcat "$MANTA_INPUT_OBJECT" "$MANTA_INPUT_OBJECT"')
    job = _clean(store.submit([map_phase("echo hi"), again, reduce_phase("cat")], inputs=["s3://between/in"]))
    assert _outputs(store, job) == [b"hi\nhi\n"]
    error = _error(store.submit([map_phase("echo hi"), again], inputs=["s3://between/in"]))
    assert error["code"] == "ResourceNotFound"
    assert "mpipe" in error["message"]


def test_a_retry_meets_nothing_of_the_try_before(store: Store) -> None:
    """J1: the first attempt put out the same name, and failed."""
    fill_bucket(store, "retried", {"in": b"x"})
    command = 'echo "attempt $MANTA_ATTEMPT" | mpipe retried/out && test "$MANTA_ATTEMPT" = 2'
    job = _clean(store.submit([map_phase(command, retries=1)], inputs=["s3://retried/in"]))
    assert _names(job) == ["retried/out"]
    assert store.read("s3://retried/out") == b"attempt 2\n"


def test_processes_left_behind_put_nothing_out(store: Store) -> None:
    """What is still being sent when the task's first process ends did not come whole."""
    fill_bucket(store, "behind", {"in": b"x"})
    command = "(echo late; sleep 60) | mpipe behind/late & echo now | mpipe behind/now"
    job = _clean(store.submit([map_phase(command)], inputs=["s3://behind/in"]))
    assert _names(job) == ["behind/now"]
    assert _keys(store, "behind") == ["in", "now"]


def test_unnamed_outputs_and_large_ones(store: Store) -> None:
    """Several outputs of one task, more than fits in memory; all of it arrives, in every copy's own words."""
    fill_bucket(store, "many", {"in": b"x"})
    command = (
        "for n in 1 2 3; do head -c 3000000 /dev/zero | tr '\\0' $n | mpipe; done; "
        "for n in $(seq 30); do head -c 200000 /dev/zero | tr '\\0' x | mpipe; done; : | mpipe"
    )
    job = _clean(store.submit([map_phase(command)], inputs=["s3://many/in"]))
    found = Counter(hashlib.sha256(data).hexdigest() for data in _outputs(store, job))
    expected = Counter(hashlib.sha256(str(n).encode() * 3_000_000).hexdigest() for n in (1, 2, 3))
    expected[hashlib.sha256(b"x" * 200_000).hexdigest()] = 30
    expected[hashlib.sha256(b"").hexdigest()] = 1
    assert found == expected


def test_mget_mls_and_mput(store: Store) -> None:
    big = os.urandom(3_000_000)
    fill_bucket(store, "tools", {"in": b"x", "big": big, "with space": b"s", "dir/new\nline": b"n"})
    command = (
        "mget tools/big | sha256sum | cut -d' ' -f1; mget -o got 'tools/with space'; cat got; echo; "
        "mls -0 tools | tr '\\0' '|'; mls -l tools/dir/ | wc -l; echo kept | mput tools/put"
    )
    (answer,) = _outputs(store, _clean(store.submit([map_phase(command)], inputs=["s3://tools/in"])))
    lines = answer.decode().splitlines()
    assert lines[0] == hashlib.sha256(big).hexdigest()
    assert lines[1] == "s"
    assert answer.decode().split("\n", 2)[2] == "tools/big|tools/dir/new\nline|tools/in|tools/with space|2\n"
    assert store.read("s3://tools/put") == b"kept\n"


def test_maggr(store: Store) -> None:
    fill_bucket(store, "aggregates", {"in": b"a 1 2.5\nb 4 1\na 3 0\n"})
    command = "maggr -k 1 -c 2 sum -c 2 count -c 3 max -c 3 min -c 2 mean; maggr -c 2 sum < $MANTA_INPUT_FILE"
    (answer,) = _outputs(store, _clean(store.submit([map_phase(command)], inputs=["s3://aggregates/in"])))
    assert answer == b"a 4 2 2.5 0 2\nb 4 1 1 1 4\n8\n"


def test_named_outputs_of_an_inner_phase_are_objects_and_inputs(store: Store) -> None:
    fill_bucket(store, "inner", {"in": b"x"})
    job = store.submit(
        [
            map_phase("echo hello | mpipe inner/out.txt; echo base | mpipe ${MANTA_OUTPUT_BASE}b"),
            map_phase("cat"),
            reduce_phase("sort"),
        ],
        inputs=["s3://inner/in"],
    )
    assert _outputs(store, _clean(job)) == [b"base\nhello\n"]
    assert store.read("s3://inner/out.txt") == b"hello\n"


@pytest.mark.invariant("J1")
def test_nothing_of_a_failed_task_appears(store: Store) -> None:
    """J1: what a task put out, by whatever program, is visible only with its committed attempt."""
    fill_bucket(store, "failing", {"in": b"x"})
    command = "echo 1 | mpipe failing/piped; echo 2 | mput failing/put; echo 3 | mtee failing/teed; exit 7"
    job = store.submit([map_phase(command)], inputs=["s3://failing/in"])
    assert _error(job)["exit_status"] == 7
    assert _keys(store, "failing") == ["in"]
    assert _names(job) == []


@pytest.mark.invariant("S2")
@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("elsewhere/key", "NoSuchBucket"),
        ("../key", "InvalidBucketName"),
        ("rights", "InvalidURI"),
        ("job-0123456789ab00000001/x", "AccessDenied"),
    ],
)
def test_names_that_cannot_be_outputs(store: Store, name: str, code: str) -> None:
    _ensure(store, "rights", {"in": b"x"})
    job = store.submit([map_phase(f"echo x | mpipe {name}")], inputs=["s3://rights/in"])
    error = _error(job)
    assert code in error["stderr"]
    assert _names(job) == []


@pytest.mark.parametrize("program", ["mpipe", "mput", "mtee"])
def test_a_name_in_a_jobs_bucket_that_is_not_the_tasks_own_is_told_with_what_is_allowed(
    store: Store, program: str
) -> None:
    _ensure(store, "rights", {"in": b"x"})
    command = f"echo x | {program} job-$MANTA_JOB_ID/zzz"
    job = store.submit([map_phase(command)], inputs=["s3://rights/in"])
    assert f"begin with its $MANTA_OUTPUT_BASE, here job-{job.id}/map-0/00000001." in _error(job)["stderr"]
    assert _names(job) == []


def test_names_that_look_like_paths_are_keys(store: Store) -> None:
    """S2: `..` and a newline are characters of a key; nothing is written anywhere else."""
    _ensure(store, "rights", {"in": b"x"})
    command = "echo 1 | mpipe rights/../../etc/passwd; echo 2 | mpipe \"rights/new$(printf '\\nline')\""
    job = _clean(store.submit([map_phase(command)], inputs=["s3://rights/in"]))
    assert sorted(_names(job)) == ["rights/../../etc/passwd", "rights/new\nline"]
    assert "../../etc/passwd" in _keys(store, "rights")


def _ensure(store: Store, bucket: str, objects: dict[str, bytes]) -> None:
    try:
        fill_bucket(store, bucket, objects)
    except MantaError:
        for key, data in objects.items():
            store.write(f"s3://{bucket}/{key}", data)


@pytest.mark.invariant("S4")
def test_another_tenants_objects_are_out_of_reach(store: Store, running: RunningStore) -> None:
    """S4: every program acts with the rights of the job's owner."""
    fill_bucket(store, "private", {"secret": b"the secret"})
    with running.new_account("mallory") as mallory:
        fill_bucket(mallory, "mallory", {"in": b"x"})
        command = (
            "mget private/secret; mls private; mcat private/secret; echo x | mpipe private/planted; "
            "echo x | mput private/planted; echo x | mtee private/planted; exit 9"
        )
        error = _error(mallory.submit([map_phase(command)], inputs=["s3://mallory/in"]))
        assert error["exit_status"] == 9
        assert error["stderr"].count(": AccessDenied: ") == 6
        assert "unix:" not in error["stderr"]
        with pytest.raises(AccessDenied):
            mallory.read("s3://private/secret")
    assert _keys(store, "private") == ["secret"]


@pytest.mark.invariant("S4")
def test_the_agent_is_all_that_a_task_reaches(store: Store, running: RunningStore) -> None:
    """S4: one socket leads out of the zone; no port of the store, and no other zone's socket."""
    fill_bucket(store, "sockets", {"in": b"x"})
    port = running.url.rpartition(":")[2]
    command = (
        f"(exec 3<>/dev/tcp/127.0.0.1/{port}) 2>/dev/null && echo reached; "
        "test -S /run/manta.sock && ls -A /run; grep -c / /proc/net/unix; cat /proc/self/mountinfo | grep -c run/manta"
    )
    (answer,) = _outputs(store, _clean(store.submit([map_phase(command)], inputs=["s3://sockets/in"])))
    assert answer.decode().split() == ["manta.sock", "0", "1"]
