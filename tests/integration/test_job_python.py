"""Python functions as tasks, on a real store of two nodes."""

import base64
import operator
import os
import pickle
import sys
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jobs.programs.python_runtime import python_runtime
from manta.core.errors import InvalidArgument
from manta.sdk import Job, JobFailedError, Objects, Store
from tests.support import word_helpers
from tests.support.oci import Image, file, programs, python, tar
from tests.support.shared_store import shared_store
from tests.support.store import RunningStore

TEXTS = {
    "s3://books/moby.txt": "Call me Ishmael\nsome years ago\n",
    "s3://books/cities.txt": "it was the best of times\nit was the worst of times\n",
    "s3://books/empty.txt": "",
    "s3://books/odd name\n%41/größe.txt": "größe of the größe\n",
}
ALL = " ".join(TEXTS.values())


OTHER = b"#!/bin/sh\necho the function was packed by another Python, and the image has Python 3.99 >&2\nexit 1\n"


running = shared_store("--nodes", "2", "--copies", "2")


@pytest.fixture(scope="module")
def store(running: RunningStore) -> Iterator[Store]:
    with running.client() as client:
        client.make_bucket("books")
        for uri, text in TEXTS.items():
            client.write(uri, text.encode())
        yield client


@pytest.fixture
def books(store: Store) -> Objects:
    return store.objects("s3://books/**.txt")


def _one(store: Store) -> Objects:
    return store.objects("s3://books/moby.txt")


def test_word_count_equals_the_local_one(books: Objects) -> None:
    total = books.map(lambda o: Counter(o.text().split())).reduce(operator.add).result()
    assert total == Counter(ALL.split())
    assert type(total) is Counter


def test_a_function_closes_over_local_data_and_a_local_module(books: Objects) -> None:
    """Of a class and an enum of that module, too: the values that come back are of the very same ones."""
    skipped = {"it", "was"}

    def rare(o: Any) -> Iterator[word_helpers.Word]:
        yield from (word for word in word_helpers.words(o.text()) if word.text not in skipped)

    found = books.flat_map(rare).filter(lambda word: word.length is word_helpers.Length.LONG).collect()
    assert set(found) == {
        word
        for text in TEXTS.values()
        for word in word_helpers.words(text)
        if word.text not in skipped and word.length is word_helpers.Length.LONG
    }


def test_all_of_an_object_is_at_hand(books: Objects) -> None:
    def facts(o: Any) -> dict[str, Any]:
        with o.open() as file:
            file.seek(-1, 2) if o.size else None
            last = file.read()
        with open(o.path, "rb") as file:  # the path is one of a file
            same = file.read() == o.bytes()
        return {
            "uri": f"s3://{o.bucket}/{o.key}", "name": o.name, "size": o.size, "lines": list(o.lines()),
            "last": last.decode(), "same": same, "range": o.range,
        }  # fmt: skip

    found = {one["uri"]: one for one in books.map(facts).results(unpickle=False)}
    assert found.keys() == TEXTS.keys()
    for uri, text in TEXTS.items():
        assert found[uri] == {
            "uri": uri, "name": uri.rpartition("/")[2], "size": len(text.encode()), "lines": text.splitlines(),
            "last": text[-1:], "same": True, "range": None,
        }  # fmt: skip


@pytest.mark.invariant("S4")
def test_the_object_cannot_be_written(store: Store) -> None:
    def attack(o: Any) -> str:
        try:
            with open(o.path, "r+b") as file:
                file.write(b"x")
        except OSError:
            return "refused"
        return "written"

    assert _one(store).map(attack).collect() == ["refused"]


def test_a_large_object_is_read_in_ranges_of_whole_lines(store: Store) -> None:
    lines = [f"{number} {'x' * (number % 50)}" for number in range(20_000)]
    store.write("s3://books/large.log", "\n".join(lines).encode())
    large = store.objects("s3://books/large.log")
    job = large.flat_map(lambda o: (len(line) for line in o.lines()), split="64K").run()
    assert sorted(store.values(job)) == sorted(map(len, lines))
    assert job.status().phases[0].tasks.committed > 5
    sizes = large.map(lambda o: [o.size, len(o.bytes()), o.range[1] - o.range[0]], split="64K").collect()
    assert sum(size for size, _, _ in sizes) == store.stat("s3://books/large.log").size
    assert all(len(set(one)) == 1 for one in sizes)


def test_folds_over_several_reducers_and_batches(store: Store) -> None:
    for number in range(16):
        store.write(f"s3://books/many/{number:02}", b"x" * number)
    many = store.objects("s3://books/many/")
    sizes = many.map(lambda o: o.size, batch=8)
    assert sizes.reduce(operator.add, count=3).result() == sum(range(16))
    assert sorted(sizes.collect()) == list(range(16))
    assert many.map(lambda o: o.size).filter(lambda size: size > 100).reduce(max).result(default=None) is None
    with pytest.raises(InvalidArgument, match="no values to reduce"):
        many.filter(lambda o: False).reduce(max).result()


def test_large_and_many_values_are_read_as_they_are_asked_for(store: Store) -> None:
    large = _one(store).flat_map(lambda o: (bytes([number]) * 300_000 for number in range(8)))
    assert [(value[0], len(value)) for value in large.results()] == [(number, 300_000) for number in range(8)]
    values = large.results()
    assert next(values)[:1] == b"\0"
    values.close()  # type: ignore[attr-defined]
    values = store.objects("s3://books/*.txt").map(lambda o: o.size).results()
    next(values)
    values.close()  # type: ignore[attr-defined]


def test_what_is_printed_is_stderr_and_never_a_value(store: Store) -> None:
    def talk(o: Any) -> int:
        print("said to nobody")
        os.system("echo and its child")
        return 7

    job = _one(store).map(talk).run()
    assert list(store.values(job.id)) == [7]
    assert job.stderr(1).decode().splitlines() == ["said to nobody", "and its child"]


def test_an_exception_is_told_with_its_input_and_without_our_frames(books: Objects) -> None:
    def divide(o: Any) -> Any:
        print("a wall of text\n" * 3)
        return 1 / o.size

    def careful(o: Any) -> Any:
        return divide(o)

    with pytest.raises(JobFailedError) as caught:
        books.map(careful).collect()
    told = str(caught.value)
    assert told.startswith("s3://books/empty.txt: ZeroDivisionError: division by zero\n\nTraceback")
    assert [line.split()[-1] for line in told.splitlines() if line.startswith("  File")] == ["careful", "divide"]
    assert "jobs." not in told
    assert "wall" not in told
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("leave", [sys.exit, os.abort])
def test_a_function_that_leaves_has_failed(store: Store, leave: Any) -> None:
    with pytest.raises(JobFailedError, match=r"moby\.txt: (SystemExit|UserTaskError)"):
        _one(store).map(lambda o: leave()).collect()


def test_a_value_that_cannot_be_packed_fails_its_input(store: Store) -> None:
    with pytest.raises(JobFailedError, match=r"moby\.txt: TypeError: cannot pickle"):
        _one(store).map(lambda o: o.open()).collect()


def test_pickles_are_read_only_where_they_are_wanted(books: Objects) -> None:
    assert sorted(books.map(lambda o: o.size).results(unpickle=False))[0] == 0
    with pytest.raises(InvalidArgument, match="is a pickle"):
        books.map(lambda o: (o.key, o.size)).collect(unpickle=False)


def test_pickles_of_others_are_not_unpickled_unless_told(running: RunningStore, store: Store) -> None:
    """The root account sees every job: whose tasks it looks at must not run anything at its side."""
    with running.new_account("mallory") as mallory:
        mallory.make_bucket("mallorys")
        mallory.write("s3://mallorys/x", b"x")
        job = mallory.objects("s3://mallorys/x").map(lambda o: (o.key, o.size)).run()
        assert list(mallory.values(job)) == [("x", 1)]
    with pytest.raises(InvalidArgument, match="pickle"):
        list(store.values(job.id))
    assert list(store.values(job.id, unpickle=True)) == [("x", 1)]


def test_outputs_of_a_command_are_no_values(store: Store) -> None:
    """They may be an object of somebody's, who wrote a pickle into it."""
    payload = pickle.dumps(("from", "elsewhere"))
    store.write("s3://books/trap", b"P" + len(payload).to_bytes(8, "little") + payload)
    job = store.submit([{"type": "map", "exec": "cat"}], inputs=["s3://books/trap"])
    with pytest.raises(InvalidArgument, match="command"):
        list(store.values(job))


@pytest.mark.skipif(not python_runtime().sites, reason="this checkout lies in a folder that only root may enter")
def test_libraries_of_the_node_are_there(store: Store) -> None:
    def version(o: Any) -> str:
        import msgspec

        return msgspec.__version__

    import msgspec

    assert _one(store).map(version).collect() == [msgspec.__version__]


def test_a_missing_library_is_named(store: Store) -> None:
    def missing(o: Any) -> None:
        __import__("no_such_library")

    with pytest.raises(JobFailedError, match="ModuleNotFoundError: No module named 'no_such_library'"):
        _one(store).map(missing).collect()


def test_another_version_of_python_is_refused_with_both_named(store: Store) -> None:
    (phase,) = _one(store).map(len).phases()
    program = {**phase["program"], "python": "3.99"}  # type: ignore[dict-item]
    job = store.submit([{**phase, "program": program}], inputs=["s3://books/moby.txt"])
    assert job.wait(timeout_s=60).state == "done"
    (error,) = job.errors()
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert error["code"] == "TaskInitError"
    assert f"len was packed by Python 3.99, and this node runs tasks with Python {here}" in error["message"]


class _Touch:
    """A pickle that acts as it is read."""

    def __init__(self, command: str) -> None:
        self._command = command

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (self._command,)


@pytest.mark.invariant("S6")
def test_a_program_is_unpacked_in_its_sandbox_alone(store: Store, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    tmp_path.chmod(0o777)
    command = f"echo unpacked in $PWD >&2; mkdir -p {tmp_path}; touch {mark}"
    code = base64.b64encode(zlib.compress(pickle.dumps(_Touch(command)))).decode()
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    phase = {"type": "map", "program": {"name": "evil", "python": here, "code": code}}
    plan = store.explain([phase], inputs=["s3://books/moby.txt"])
    assert plan["phases"] == [{"type": "map", "program": "evil", "tasks": 1}]
    job = store.submit([phase], inputs=["s3://books/moby.txt"])
    assert job.wait(timeout_s=60).errors == 1
    assert job.stderr(1).startswith(b"unpacked in /scratch\n")
    clone = job.clone()
    assert clone.wait(timeout_s=60).errors == 1
    assert not mark.exists()


def test_the_commands_show_the_functions_name(store: Store, running: RunningStore) -> None:
    def longest(o: Any) -> int:
        return max(map(len, o.lines()), default=0)

    job = store.objects("s3://books/*.txt").map(longest).reduce(max).run(name="longest line")
    for words in (("job", "get", job.id), ("job", "share", job.id)):
        shown = running.manta(*words).stdout.decode()
        assert "longest (Python)" in shown
        assert "max (Python)" in shown
    assert [phase.program for phase in job.status().phases][1] == "max"


def test_retry_and_clone_run_the_function_again(store: Store) -> None:
    job: Job = store.objects("s3://books/*.txt").map(lambda o: 1 // o.size).submit()
    assert job.wait(timeout_s=60).errors == 1
    job.retry()
    assert job.wait(timeout_s=60).errors == 1
    assert sorted(store.values(job, partial=True)) == [0, 0]
    with pytest.raises(JobFailedError, match="ZeroDivisionError"):
        list(store.values(job))
    assert sorted(store.values(store.objects("s3://books/moby.txt").map(lambda o: o.key).run().clone())) == ["moby.txt"]


def test_in_an_image_the_images_python_runs_the_function(store: Store) -> None:
    store.make_bucket("images", exist_ok=True)
    shown = [file("usr/lib/site/of_the_image.py", b"WORD = 'image'\n"), *python()]
    store.write("s3://images/python.tar", Image([tar(shown)], compress=lambda layer: layer).archive())

    def look(o: Any) -> list[Any]:
        sys.path.append("/usr/lib/site")
        return [__import__("of_the_image").WORD, o.text()]

    options = {"image": "s3://images/python.tar", "memory": "512M"}
    assert _one(store).map(look, **options).collect(unpickle=False) == [["image", TEXTS["s3://books/moby.txt"]]]
    assert _one(store).map(lambda o: Counter(o.text().split()), **options).collect() == [
        Counter(TEXTS["s3://books/moby.txt"].split())
    ]


@pytest.mark.parametrize(
    ("files", "told"), [(programs("cat"), "python3"), ([*programs("cat"), file("bin/python3", OTHER, 0o755)], "3.99")]
)
def test_an_image_without_the_right_python_is_refused_before_anything_runs(
    store: Store, files: list[Any], told: str
) -> None:
    store.make_bucket("images", exist_ok=True)
    store.write("s3://images/wrong.tar", Image([tar(files)]).archive())
    job = _one(store).map(lambda o: 1, image="s3://images/wrong.tar").submit()
    job.wait(timeout_s=60)
    (error,) = job.errors()
    assert error["code"] == "TaskInitError"
    assert told in error["message"]
