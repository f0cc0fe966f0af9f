"""Acceptance case 11: an object of 2 GB in ranges of 64 MB. Line totals exact, no line cut, each byte read once."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from manta.core.limits import GIB, MIB
from tests.support.store import running_store

SPLIT_BYTES = 64 * MIB


def _write_lines(path: Path, size_bytes: int) -> int:
    """Lines of odd lengths, some of megabytes; how many. The last has no newline."""
    chance = random.Random(11)
    page = b"".join(b"%d %s\n" % (number, b"x" * chance.randrange(200)) for number in range(200_000))
    lines = 0
    with open(path, "wb") as file:
        while file.tell() < size_bytes:
            lines += file.write(page) and page.count(b"\n")
            lines += file.write(b"y" * chance.randrange(1, 9 * MIB) + b"\n") and 1
        file.write(b"the last line")
    return lines


@pytest.fixture
def large(tmp_path: Path) -> Iterator[tuple[Path, int]]:
    path = tmp_path / "large.txt"
    lines = _write_lines(path, 2 * GIB)
    yield path, lines
    path.unlink()


@pytest.mark.slow
@pytest.mark.invariant("J1", "J3")
def test_two_gigabytes_are_read_once_in_ranges(large: tuple[Path, int], tmp_path: Path) -> None:
    path, lines = large
    size = path.stat().st_size
    count = "wc -lc; echo $MANTA_INPUT_RANGE"
    with running_store(tmp_path / "store") as store, store.client() as client, open(path, "rb") as file:
        client.make_bucket("large")
        client.upload(file, "s3://large/large.txt")
        phase = {"type": "map", "exec": count, "split": "64M"}
        job = client.submit([phase], inputs=["s3://large/large.txt"])
        status = job.wait(timeout_s=600)
        assert (status.state, status.errors, status.inputs) == ("done", 0, 1)
        assert (status.input_bytes_in_place, status.input_bytes_moved) == (size, 0)
        found = [client.read(f"s3://{one['bucket']}/{one['key']}").split() for one in job.outputs()]
        client.remove("s3://large/large.txt")
    assert len(found) == -(-size // SPLIT_BYTES)
    assert sum(int(words[0]) for words in found) == lines
    position = 0
    for start, end, read in sorted((*map(int, words[2].split(b"-")), int(words[1])) for words in found):
        assert (start, end - start) == (position, read)
        assert end == size or _byte_before(path, end) == b"\n"
        position = end
    assert position == size


def _byte_before(path: Path, position: int) -> bytes:
    with open(path, "rb") as file:
        file.seek(position - 1)
        return file.read(1)
