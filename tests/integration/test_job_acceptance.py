"""Jobs as users run them, on a store of three nodes with two copies, with real data and exact answers."""

import json
import os
import random
import subprocess
import sysconfig
import time
from collections import Counter
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from manta.core.errors import AccessDenied, MantaError
from manta.sdk import Job, Store, connect
from tests.support.shared_store import shared_store, store
from tests.support.sleepers import sleepers
from tests.support.store import RunningStore, running_store
from tests.support.store_jobs import await_done, fill_bucket, map_phase, outputs_of, reduce_phase
from tests.support.waiting import await_condition

__all__ = ["store"]


running = shared_store("--nodes", "3", "--copies", "2")


@pytest.fixture(scope="module")
def corpus(store: Store) -> dict[str, bytes]:
    files = library_files()
    fill_bucket(store, "corpus", files)
    return files


def library_files() -> dict[str, bytes]:
    """Some hundred files of the standard library, by key."""
    library = Path(sysconfig.get_paths()["stdlib"])
    folders = ("asyncio", "email", "json", "http", "xml")
    paths = [path for folder in folders for path in sorted((library / folder).rglob("*.py"))]
    files = {path.relative_to(library).as_posix(): path.read_bytes() for path in paths}
    assert len(files) > 80
    return files


def test_word_count_equals_wc(store: Store, corpus: dict[str, bytes]) -> None:
    """Acceptance case 1."""
    check_word_count(store, corpus)


def test_word_count_equals_wc_on_postgresql(tmp_path: Path, postgres_url: str) -> None:
    with running_store(tmp_path, "--nodes", "2", "--copies", "2", "--catalog", postgres_url) as running:
        with running.client() as store:
            files = library_files()
            fill_bucket(store, "corpus", files)
            check_word_count(store, files)
        assert not (running.data / "catalog.db").exists()


def check_word_count(store: Store, corpus: dict[str, bytes]) -> None:
    answer = store.objects("s3://corpus/").sh("wc", reduce="awk '{l+=$1; w+=$2; b+=$3} END {print l, w, b}'")
    expected = subprocess.run(["wc"], input=b"".join(corpus.values()), capture_output=True, check=True).stdout
    assert answer.text().split() == expected.decode().split()
    status = answer.job.status()
    assert status.inputs == len(corpus)
    assert status.input_bytes_moved == 0


def test_the_30_commonest_words_equal_the_local_pipeline(store: Store, corpus: dict[str, bytes]) -> None:
    """Acceptance case 2."""
    count, top = "tr -cs A-Za-z '\\n' | sort | uniq -c", "sort -k1,1nr -k2 | head -30"
    add = "awk '{n[$2]+=$1} END {for (w in n) print n[w], w}'"
    answer = store.objects("s3://corpus/").sh(count, reduce=f"{add} | {top}")
    local = subprocess.run(
        ["bash", "-c", f"{count} | {add} | {top}"],
        input=b"".join(corpus.values()),
        capture_output=True,
        check=True,
        env={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"},
    )
    assert answer.text().splitlines() == local.stdout.decode().splitlines()
    assert len(answer.text().splitlines()) == 30


@pytest.mark.invariant("J3")
def test_counts_add_up_when_some_inputs_fail(store: Store, running: RunningStore, corpus: dict[str, bytes]) -> None:
    """Acceptance case 4, grep: the right outputs, one error for each input where nothing matches, exit code 3."""
    result = running.manta("job", "run", "-m", "grep -n asyncio", "s3://corpus/**")
    matching = {key: _grep(b"asyncio", data) for key, data in corpus.items() if b"asyncio" in data}
    assert result.returncode == 3
    (listed,) = store.jobs(limit=1)
    job = store.job(listed.id)
    found = [store.read(f"s3://{line['bucket']}/{line['key']}") for line in job.outputs()]
    names = {task["task"]: task["input"] for task in job.tasks()}
    of = [names[line["task"]].removeprefix("corpus/") for line in job.outputs()]
    assert dict(zip(of, found, strict=True)) == matching
    assert result.stdout == b"".join(found)
    failures = list(job.errors())
    assert {failure["code"] for failure in failures} == {"UserTaskError"}
    assert sorted(failure["input"] for failure in failures) == sorted(
        f"corpus/{key}" for key in corpus if key not in matching
    )
    assert all(failure["exit_status"] == 1 for failure in failures)
    counts = listed.phases[0].tasks
    assert (counts.committed, counts.failed, counts.cancelled) == (len(matching), len(corpus) - len(matching), 0)


def _grep(word: bytes, data: bytes) -> bytes:
    """As `grep -n` has it."""
    lines = enumerate(data.removesuffix(b"\n").split(b"\n"), 1)
    return b"".join(b"%d:%s\n" % (number, line) for number, line in lines if word in line)


def test_line_count_by_extension(store: Store) -> None:
    """Acceptance case 3, small; test_job_source_tree.py has it large."""
    dice = random.Random(3)
    lines = {f"f{number}.{dice.choice(['a', 'b', 'c'])}": dice.randrange(50) for number in range(60)}
    fill_bucket(store, "extensions", {key: b"x\n" * count for key, count in lines.items()})
    answer = store.objects("s3://extensions/").sh(
        'echo "${MANTA_INPUT_OBJECT##*.} $(wc -l)"', reduce="awk '{n[$1]+=$2} END {for (e in n) print e, n[e]}' | sort"
    )
    expected: Counter[str] = Counter()
    for key, count in lines.items():
        expected[key.rpartition(".")[2]] += count
    assert answer.text().splitlines() == [f"{extension} {count}" for extension, count in sorted(expected.items())]


def test_three_phases_and_several_reducers(store: Store, corpus: dict[str, bytes]) -> None:
    job = store.submit(
        [
            map_phase("tr -cs A-Za-z '\\n'"),
            map_phase("grep -c ."),
            reduce_phase("awk '{n+=$1} END {print n+0}'", count=3),
        ],
        inputs=["s3://corpus/json/"],
    )
    partial = outputs_of(store, await_done(job))
    words = sum(len(_words(data)) for key, data in corpus.items() if key.startswith("json/"))
    assert len(partial) == 3
    assert sum(map(int, partial)) == words


def _words(data: bytes) -> list[bytes]:
    letters = bytes(byte if chr(byte).isalpha() and byte < 128 else 32 for byte in data)
    return letters.split()


def test_awkward_names_and_contents_arrive_exactly(store: Store) -> None:
    """Spaces, %41, unicode, a newline, 1,024 bytes; empty and binary inputs, byte for byte through map and reduce."""
    keys = ["with space", "%41", "ünïcode/日本.txt", "new\nline", "k" * 1024, "quote'\"$(x)`y`", "-n", "empty"]
    contents = {key: os.urandom(1000 + number) for number, key in enumerate(keys)} | {"empty": b""}
    fill_bucket(store, "awkward", contents)
    names = store.submit(
        [map_phase("printf '%s\\0' \"$MANTA_INPUT_OBJECT\"")], inputs=[{"bucket": "awkward", "prefix": ""}]
    )
    assert sorted(outputs_of(store, await_done(names))) == sorted(f"awkward/{key}\0".encode() for key in keys)
    by_file = store.submit([map_phase('cat "$MANTA_INPUT_FILE"')], inputs=["s3://awkward/"])
    assert sorted(outputs_of(store, await_done(by_file))) == sorted(contents.values())
    assert list(by_file.errors()) == []
    joined = outputs_of(
        store, await_done(store.submit([map_phase("cat"), reduce_phase("cat")], inputs=["s3://awkward/"]))
    )
    assert len(joined) == 1
    assert len(joined[0]) == sum(map(len, contents.values()))
    assert all(data in joined[0] for data in contents.values())


def test_an_input_named_twice_is_run_twice_and_zero_inputs_end_well(store: Store) -> None:
    fill_bucket(store, "twice", {"a": b"1\n"})
    phases = [map_phase("cat"), reduce_phase("awk '{n+=$1} END {print n+0}'")]
    twice = await_done(store.submit(phases, inputs=["s3://twice/a", "s3://twice/a"]))
    assert outputs_of(store, twice) == [b"2\n"]
    nothing = await_done(store.submit(phases, inputs=["s3://twice/none/"]))
    assert outputs_of(store, nothing) == [b"0\n"]
    only_map = await_done(store.submit([map_phase("cat")], inputs=[]))
    assert outputs_of(store, only_map) == []


def test_inputs_that_cannot_be_read_are_errors_of_their_own(store: Store, running: RunningStore) -> None:
    fill_bucket(store, "mixed", {"good": b"fine"})
    with running.new_account("mallory") as mallory:
        job = mallory.submit([map_phase("cat")], inputs=["s3://mixed/good"])
        assert [failure["code"] for failure in list(await_done(job).errors())] == ["AccessDenied"]
        assert outputs_of(mallory, job) == []
        with pytest.raises(MantaError):
            mallory.job(store.submit([map_phase("cat")], inputs=["s3://mixed/good"]).id).status()
    job = store.submit([map_phase("cat")], inputs=["s3://mixed/good", "s3://mixed/missing", "s3://nowhere-at-all/x"])
    codes = sorted((failure["code"], failure["input"]) for failure in list(await_done(job).errors()))
    assert codes == [("ResourceNotFound", "mixed/missing"), ("ResourceNotFound", "nowhere-at-all/x")]
    assert outputs_of(store, job) == [b"fine"]


def test_a_failure_says_what_happened_with_its_stderr(store: Store) -> None:
    fill_bucket(store, "failing", {"a": b"x"})
    (failure,) = list(await_done(store.submit([map_phase("echo why >&2; exit 7")], inputs=["s3://failing/a"])).errors())
    assert (failure["code"], failure["exit_status"], failure["input"]) == ("UserTaskError", 7, "failing/a")
    assert failure["stderr"] == "why\n"
    (killed,) = list(await_done(store.submit([map_phase("kill -9 $$")], inputs=["s3://failing/a"])).errors())
    assert killed["signal"] == 9
    (slow,) = list(await_done(store.submit([map_phase("sleep 60", timeout="1s")], inputs=["s3://failing/a"])).errors())
    assert "1 s" in slow["message"]
    (init,) = list(await_done(store.submit([map_phase("cat", init="exit 3")], inputs=["s3://failing/a"])).errors())
    assert init["code"] == "TaskInitError"


@pytest.mark.invariant("J6")
def test_cancel_ends_every_process_and_names_every_input(store: Store, running: RunningStore) -> None:
    fill_bucket(store, "sleepy", {f"{number:02d}": b"" for number in range(20)})
    job = store.submit([map_phase("sleep 3600")], inputs=["s3://sleepy/"])
    await_condition(lambda: job.status().phases[0].tasks.running >= 2, "tasks to run")
    await_condition(lambda: len(sleepers(running, 3600)) >= 2, "processes to run")
    started = time.monotonic()
    job.cancel()
    await_condition(lambda: not sleepers(running, 3600), "every process to end", 5.0)
    assert time.monotonic() - started < 5
    status = job.wait(timeout_s=20)
    assert status.state == "cancelled"
    failures = list(job.errors())
    assert [failure["code"] for failure in failures] == ["JobCancelled"] * 20
    assert status.phases[0].tasks.cancelled == 20


def test_the_steps_one_by_one(running: RunningStore, store: Store) -> None:
    fill_bucket(store, "steps", {"a": b"one\n", "b": b"two\n"})

    def manta(*arguments: str, stdin: bytes | None = None) -> str:
        result = running.manta(*arguments, stdin=stdin)
        assert result.returncode == 0, result.stderr
        return result.stdout.decode()

    job = manta("job", "create", "--name", "steps", "-m", "cat", "-r", "sort").strip()
    manta("job", "add", job, "s3://steps/b")
    manta("job", "add", job, stdin=b"s3://steps/a\n")
    assert "running" in manta("job", "get", job) or "queued" in manta("job", "get", job)
    manta("job", "end", job)
    manta("job", "wait", job, "--timeout", "60")
    assert sorted(manta("job", "inputs", job).split()) == ["s3://steps/a", "s3://steps/b"]
    (output,) = manta("job", "outputs", job).split()
    assert manta("cat", output) == "one\ntwo\n"
    assert job in manta("job", "list", "--name", "steps")
    late = running.manta("job", "add", job, "s3://steps/a")
    assert late.returncode == 1
    manta("job", "rm", job)
    assert running.manta("job", "get", job).returncode == 6
    assert running.manta("cat", output).returncode == 6


def test_outputs_go_where_the_document_says(store: Store) -> None:
    fill_bucket(store, "wanted", {"a": b"1", "b": b"2"})
    job = store.submit([map_phase("cat")], inputs=["s3://wanted/*"], properties={"output": "s3://wanted/results/"})
    assert sorted(outputs_of(store, await_done(job))) == [b"1", b"2"]
    assert all(line["bucket"] == "wanted" and line["key"].startswith("results/") for line in job.outputs())
    kept = {entry.key for entry in store.list_objects("s3://wanted/results/")}
    job.delete()
    assert {entry.key for entry in store.list_objects("s3://wanted/results/")} == kept


def test_a_document_is_refused_whole_with_the_nearest_name(store: Store) -> None:
    with pytest.raises(MantaError, match="memory"):
        store.submit([map_phase("cat", memroy="1M")])
    with pytest.raises(MantaError):
        store.submit([])


def test_job_outputs_belong_to_their_owner(store: Store, running: RunningStore) -> None:
    fill_bucket(store, "private", {"a": b"secret"})
    job = await_done(store.submit([map_phase("cat")], inputs=["s3://private/a"]))
    (line,) = job.outputs()
    assert line["bucket"] == f"job-{job.id}"
    assert line["bucket"] not in store.buckets()
    with pytest.raises(AccessDenied):
        store.write(f"s3://{line['bucket']}/mine", b"x")
    with running.new_account("eve") as eve, pytest.raises(AccessDenied):
        eve.read(f"s3://{line['bucket']}/{line['key']}")


@pytest.mark.invariant("S4")
def test_a_task_cannot_change_its_input_or_see_the_node(store: Store) -> None:
    fill_bucket(store, "guarded", {"a": b"untouched"})
    attacks = "; ".join(
        [
            'echo x > "$MANTA_INPUT_FILE"',
            'rm -f "$MANTA_INPUT_FILE"',
            'chmod 777 "$MANTA_INPUT_FILE"',
            "echo x > /proc/self/fd/0",
            "ls /root /work /home /var",
            "mount -o remount,rw /",
            "kill -9 -1",
            "cat /etc/shadow",
            "env | grep -i -e key -e secret",
        ]
    )
    job = store.submit([map_phase(f"({attacks}) 2>&1; true")], inputs=["s3://guarded/a"])
    said = b"".join(outputs_of(store, await_done(job)))
    assert store.read("s3://guarded/a") == b"untouched"
    assert b"root:" not in said
    assert b"catalog.db" not in said


LINES = b"".join(b"line %d %s\n" % (number, b"x" * (number % 97)) for number in range(30_000))


def _split_totals(store: Store, uri: str, data: bytes, split: str) -> Job:
    """Line totals exact, no line cut, each byte read once."""
    store.write(uri, data)
    job = store.submit([map_phase("wc -lc; printf '%s ' $MANTA_INPUT_RANGE", split=split)], inputs=[uri])
    await_done(job)
    found = sorted((line.split() for line in outputs_of(store, job)), key=lambda words: int(words[2].split(b"-")[0]))
    assert sum(int(words[0]) for words in found) == data.count(b"\n")
    assert sum(int(words[1]) for words in found) == len(data)
    position = 0
    for _, size, part in found:
        start, end = map(int, part.split(b"-"))
        assert (start, end - start) == (position, int(size))
        assert start == 0 or data[start - 1 : start] == b"\n"
        position = end
    assert position == len(data)
    status = job.status()
    assert (status.inputs, status.input_bytes_in_place, status.input_bytes_moved) == (1, len(data), 0)
    return job


@pytest.mark.invariant("J1", "J3")
def test_a_large_object_is_split_at_line_ends(store: Store) -> None:
    store.make_bucket("large")
    job = _split_totals(store, "s3://large/lines.txt", LINES, "128K")
    tasks = -(-len(LINES) // (128 << 10))
    assert [line.get("range", "").split("-")[0] for line in job.inputs()] == [str(n << 17) for n in range(tasks)]
    assert len(list(job.outputs())) == tasks
    whole = store.submit([map_phase("cat", split="64K"), reduce_phase("sort -k2n")], inputs=["s3://large/lines.txt"])
    assert outputs_of(store, await_done(whole)) == [LINES]


def test_an_object_without_newlines_is_read_by_one_task(store: Store) -> None:
    job = _split_totals(store, "s3://large/one-line.bin", b"z" * 300_000, "64K")
    assert len(list(job.outputs())) == 1
    assert job.status().phases[0].tasks.committed == 5


@pytest.mark.invariant("J1", "J3")
def test_batches_change_nothing_but_the_number_of_tasks(store: Store, corpus: dict[str, bytes]) -> None:
    """Acceptance case 3 on small inputs, with and without batches: the same outputs, the same errors."""
    command = 'grep -c "^import" > count && mpipe -f count; echo "${MANTA_INPUT_OBJECT##*.}"; test -s count'
    found = []
    for batch in (1, 16):
        phase = map_phase(command, batch=batch)
        job = await_done(store.submit([phase], inputs=["s3://corpus/"]))
        errors = sorted((line["input"], line["message"]) for line in list(job.errors()))
        status = job.status()
        assert status.inputs == len(corpus) == sum(line["state"] in ("committed", "failed") for line in job.inputs())
        assert status.input_bytes_in_place == sum(map(len, corpus.values()))
        found.append((sorted(outputs_of(store, job)), errors, status.outputs, status.phases[0].tasks))
    assert found[0] == found[1]
    batched = sum(1 for task in job.tasks() if task["inputs"] > 1)
    assert batched >= 3


@pytest.mark.invariant("S1", "J5")
def test_a_shared_bucket_is_computed_on_where_it_lies(store: Store, running: RunningStore) -> None:
    """By whoever its policy names, with job, S3 and programs alike; not a byte is copied; not after it is withdrawn."""
    fill_bucket(store, "commons", {"open/a": b"shared\n", "shut/b": b"private\n"})
    made = store.api("POST", "/accounts", body={"name": "wendy"})
    resources = ["arn:aws:s3:::commons", "arn:aws:s3:::commons/open/*"]
    actions = ["s3:GetObject", "s3:ListBucket"]
    statement = {"Effect": "Allow", "Principal": {"AWS": made["id"]}, "Action": actions, "Resource": resources}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    with connect(running.url, made["access_key"], made["secret_key"]) as wendy:
        with pytest.raises(AccessDenied):
            wendy.read("s3://commons/open/a")
        store.s3.put_bucket_policy(Bucket="commons", Policy=policy)
        assert json.loads(store.s3.get_bucket_policy(Bucket="commons")["Policy"]) == json.loads(policy)
        assert wendy.read("s3://commons/open/a") == b"shared\n"
        assert [one.key for one in wendy.list_objects("s3://commons/")] == ["open/a", "shut/b"]
        for refused in (
            lambda: wendy.read("s3://commons/shut/b"),
            lambda: wendy.write("s3://commons/open/c", b""),
            lambda: wendy.remove("s3://commons/open/a"),
            lambda: wendy.s3.put_bucket_policy(Bucket="commons", Policy=policy),
            lambda: wendy.s3.get_bucket_policy(Bucket="commons"),
        ):
            with pytest.raises((AccessDenied, ClientError), match=r"[dD]enied"):
                refused()
        command = "cat; mget commons/open/a; mls commons; ! mget commons/shut/b"
        job = await_done(wendy.submit([map_phase(command)], inputs=["s3://commons/open/a", "s3://commons/shut/b"]))
        assert outputs_of(wendy, job) == [b"shared\nshared\ncommons/open/a\ncommons/shut/b\n"]
        assert [(line["code"], line["input"]) for line in list(job.errors())] == [("AccessDenied", "commons/shut/b")]
        assert (job.status().input_bytes_in_place, job.status().input_bytes_moved) == (7, 0)
        store.s3.delete_bucket_policy(Bucket="commons")
        with pytest.raises(AccessDenied):
            wendy.read("s3://commons/open/a")
        (error,) = list(await_done(wendy.submit([map_phase("cat")], inputs=["s3://commons/open/a"])).errors())
        assert error["code"] == "AccessDenied"
    with pytest.raises(ClientError, match="NoSuchBucketPolicy"):
        store.s3.get_bucket_policy(Bucket="commons")
    nobody = policy.replace(made["id"], "nobody-here")
    with pytest.raises(ClientError, match="MalformedPolicy"):
        store.s3.put_bucket_policy(Bucket="commons", Policy=nobody)
