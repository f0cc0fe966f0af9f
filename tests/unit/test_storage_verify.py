"""The memory of what was checked: it spares reading, never hides a change, and is bounded (D4)."""

import os
from pathlib import Path

import pytest

from manta.core.errors import BlobDamaged, InvalidRange, NoSuchBlob
from manta.core.limits import BLOCK_BYTES, SCRUB_PERIOD_S
from storage_nodes.disk import incoming, verify
from storage_nodes.disk.sums import Summer, Sums
from storage_nodes.disk.verify import Verifier

BLOB = "0" * 31 + "1"
DATA = bytes(range(256)) * (BLOCK_BYTES // 256) * 3 + b"tail"


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def blocks_read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of the blocks that were really read."""
    found: list[int] = []
    real = verify.read_block

    def reading(descriptor: int, expected: Sums, index: int) -> bytes:
        found.append(index)
        return real(descriptor, expected, index)

    monkeypatch.setattr(verify, "read_block", reading)
    return found


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return make(tmp_path / BLOB)


def make(path: Path) -> Path:
    path.write_bytes(DATA)
    summer = Summer()
    summer.update(DATA)
    with path.open("r+b") as opened:
        incoming.attach_sums(opened.fileno(), str(path), summer.sums(BLOB), xattrs=False)
    return path


def check(verifier: Verifier, file: Path, start: int = 0, length: int = len(DATA)) -> None:
    with file.open("rb") as opened:
        verifier.check(opened.fileno(), os.fstat(opened.fileno()), str(file), BLOB, start, length)


def test_a_block_is_read_once(file: Path, blocks_read: list[int]) -> None:
    verifier = Verifier(Clock())
    check(verifier, file, BLOCK_BYTES, 1)
    check(verifier, file, BLOCK_BYTES - 1, 2)
    check(verifier, file)
    check(verifier, file)
    check(verifier, file, len(DATA), 0)
    assert blocks_read == [1, 0, 2, 3]


@pytest.mark.invariant("D4")
def test_d4_a_changed_file_is_read_again(file: Path, blocks_read: list[int]) -> None:
    verifier = Verifier(Clock())
    check(verifier, file)
    before = file.stat()
    with file.open("r+b") as opened:
        opened.seek(BLOCK_BYTES)
        opened.write(b"!")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(BlobDamaged):
        check(verifier, file)
    with pytest.raises(BlobDamaged):
        check(verifier, file, BLOCK_BYTES, 1)
    check(verifier, file, 0, BLOCK_BYTES)


@pytest.mark.invariant("D4")
def test_d4_a_check_is_trusted_for_the_scrub_period(file: Path, blocks_read: list[int]) -> None:
    clock = Clock()
    verifier = Verifier(clock)
    check(verifier, file)
    clock.now_s = SCRUB_PERIOD_S
    check(verifier, file)
    assert blocks_read == [0, 1, 2, 3]
    clock.now_s += 1
    check(verifier, file)
    assert blocks_read == [0, 1, 2, 3] * 2


@pytest.mark.invariant("O2")
def test_o2_the_memory_is_bounded(tmp_path: Path, blocks_read: list[int]) -> None:
    verifier = Verifier(Clock(), capacity=4)
    files = []
    for number in range(9):
        folder = tmp_path / str(number)
        folder.mkdir()
        files.append(make(folder / BLOB))
        check(verifier, files[-1], 0, 1)
    blocks_read.clear()
    check(verifier, files[-1], 0, 1)
    assert blocks_read == []
    check(verifier, files[0], 0, 1)
    assert blocks_read == [0]


def test_without_checksums_it_is_no_blob(file: Path) -> None:
    (file.parent / f"{BLOB}.sum").unlink()
    with pytest.raises(NoSuchBlob):
        check(Verifier(), file)


@pytest.mark.parametrize(("start", "length"), [(0, len(DATA) + 1), (-1, 1), (len(DATA) + 1, 0), (5, -1)])
def test_a_range_outside_the_blob(file: Path, start: int, length: int) -> None:
    with pytest.raises(InvalidRange):
        check(Verifier(), file, start, length)
