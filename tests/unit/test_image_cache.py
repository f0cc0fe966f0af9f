"""The node's images: unpacked once, kept while in use, and looked at before a zone is built on one."""

import asyncio
import errno
import json
import os
import threading
from collections.abc import AsyncIterator, Callable
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from jobs.agent.furnishing import image_cache
from jobs.agent.furnishing.image_cache import Image, ImageCache
from jobs.agent.furnishing.image_unpacking import BadImageError, Facts
from jobs.agent.furnishing.shelf import OverShareError
from jobs.agent.furnishing.turns import Turn, Turns
from jobs.model.wire import InputRef
from jobs.sandbox.api import Overrun, TaskEnd, TaskSpec, ZoneSpec
from jobs.sandbox.building.contents import IMAGE_MOUNT_POINTS
from manta.core.errors import InsufficientStorage, ServiceUnavailable
from manta.core.limits import IMAGE_ACCOUNT_UNPACKS_MAX, IMAGE_MAX_BYTES, IMAGE_UNPACKS_MAX
from storage_nodes.disk import space
from storage_nodes.disk.space import Space
from tests.support.waiting import eventually

Unpack = Callable[[Path], TaskEnd]
ALICE, BOB = "alice", "bob"
WEIGHT = 1000 + 4096
FINE = TaskEnd(0, None, False, None, 0.1, 0.1)


def _unpacked(root: Path) -> TaskEnd:
    for name in IMAGE_MOUNT_POINTS:
        (root / name[1:]).mkdir()
    return FINE


def _with_a_link(root: Path) -> TaskEnd:
    """What an archive might bring an unpacker to do that it has taken over."""
    end = _unpacked(root)
    (root / "dev").rmdir()
    (root / "dev").symlink_to("/etc")
    return end


class Unpackers:
    """A sandbox and the cache of archives, as far as an ImageCache sees them."""

    def __init__(self, folder: Path) -> None:
        self.archives = folder / "archives"
        self.archives.mkdir()
        self.unpack: Unpack = _unpacked
        self.said: dict[str, Any] = {"env": ["A=1", "B", "=x"], "workdir": "/srv", "bytes": 1000, "entries": 1}
        self.complaint = ""
        self.zones = 0
        self.open_zones = 0
        self.held: list[Path] = []

    async def hold(self, ref: InputRef, _account: str) -> Path:
        self.held.append(self.archives / str(ref.blob_id))
        return self.held[-1]

    def release(self, file: Path, _account: str) -> None:
        self.held.remove(file)

    async def open_zone(self, spec: ZoneSpec) -> Any:
        self.zones += 1
        self.open_zones += 1
        (target,) = spec.workplaces.values()

        async def run(task: TaskSpec) -> TaskEnd:
            await asyncio.sleep(0)
            end = self.unpack(Path(target))
            os.write(task.stdout_fd, json.dumps(self.said).encode())
            os.write(task.stderr_fd, self.complaint.encode())
            return end

        async def close() -> None:
            self.open_zones -= 1

        return SimpleNamespace(run=run, close=close)

    def archive(self, name: str, content: bytes) -> InputRef:
        blob_id = name.encode().hex().rjust(32, "0")
        (self.archives / blob_id).write_bytes(content)
        return InputRef("images", name, len(content), blob_id)


@pytest.fixture
async def unpackers(tmp_path: Path) -> AsyncIterator[Unpackers]:
    found = Unpackers(tmp_path)
    yield found
    assert (found.open_zones, found.held) == (0, [])


def _cache(tmp_path: Path, unpackers: Unpackers) -> ImageCache:
    cache = ImageCache(tmp_path / "images", unpackers, unpackers)  # type: ignore[arg-type]
    cache.load()
    return cache


def _kept(tmp_path: Path) -> set[str]:
    return {path.name for path in (tmp_path / "images").iterdir()}


async def test_the_same_bytes_are_unpacked_once_whoever_asks(tmp_path: Path, unpackers: Unpackers) -> None:
    cache = _cache(tmp_path, unpackers)
    one, same = unpackers.archive("one", b"archive"), unpackers.archive("same", b"archive")
    images = await asyncio.gather(*(cache.hold(ref, ALICE) for ref in (one, one, same, same)))
    assert unpackers.zones == 1
    assert {image.root for image in images} == {images[0].root}
    assert images[0] == Image(images[0].root, {"A": "1"}, "/srv")
    assert await _cache(tmp_path, unpackers).hold(one, ALICE) == images[0]
    assert unpackers.zones == 1


async def test_what_nobody_uses_goes_when_another_needs_the_room(
    tmp_path: Path, unpackers: Unpackers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_cache, "IMAGE_CACHE_MAX_BYTES", 3 * WEIGHT)
    cache = _cache(tmp_path, unpackers)
    first = await cache.hold(unpackers.archive("first", b"1"), ALICE)
    second = await cache.hold(unpackers.archive("second", b"2"), BOB)
    for _ in range(2):
        with pytest.raises(OverShareError):
            await cache.hold(unpackers.archive("third", b"3"), ALICE)
    assert unpackers.zones == 3, "what is known to be too large is not unpacked to find out"
    assert _kept(tmp_path) == {image.root.parent.name for image in (first, second)}
    cache.release(first, ALICE)
    third = await cache.hold(unpackers.archive("third", b"3"), ALICE)
    cache.release(second, BOB)
    fourth = await cache.hold(unpackers.archive("fourth", b"4"), BOB)
    assert _kept(tmp_path) == {image.root.parent.name for image in (second, third, fourth)}
    cache.release(fourth, BOB)
    assert (await cache.hold(unpackers.archive("first", b"1"), BOB)).root.is_dir()


@pytest.mark.invariant("S6")
async def test_a_root_in_which_a_mount_would_go_astray_is_never_used(tmp_path: Path, unpackers: Unpackers) -> None:
    cache = _cache(tmp_path, unpackers)
    unpackers.unpack = _with_a_link
    with pytest.raises(BadImageError, match="/dev"):
        await cache.hold(unpackers.archive("trick", b"1"), ALICE)
    assert _kept(tmp_path) == set()


async def test_a_bad_archive_is_not_unpacked_again(tmp_path: Path, unpackers: Unpackers) -> None:
    cache = _cache(tmp_path, unpackers)
    unpackers.unpack = lambda _root: TaskEnd(1, None, False, None, 0.1, 0.1)
    unpackers.complaint = "it is damaged: a header\n"
    for _ in range(3):
        with pytest.raises(BadImageError, match=r"^it is damaged: a header$"):
            await cache.hold(unpackers.archive("bad", b"1"), ALICE)
    assert unpackers.zones == 1


@pytest.mark.parametrize(
    ("end", "said"),
    [
        (TaskEnd(None, 9, False, Overrun.TIMEOUT, 900.0, 1.0), "longer than 900 s"),
        (TaskEnd(None, 9, False, Overrun.MEMORY, 1.0, 1.0), "512 MiB of memory"),
    ],
    ids=["time", "memory"],
)
async def test_an_archive_that_takes_too_much_is_bad(
    tmp_path: Path, unpackers: Unpackers, end: TaskEnd, said: str
) -> None:
    unpackers.unpack = lambda _root: end
    cache, archive = _cache(tmp_path, unpackers), unpackers.archive("bomb", b"1")
    with pytest.raises(BadImageError, match=said):
        await cache.hold(archive, ALICE)
    unpackers.unpack = _unpacked
    if end.overrun is Overrun.TIMEOUT:
        await cache.hold(archive, ALICE)  # a busy node is no fault of the archive, which may be another account's too
    else:
        with pytest.raises(BadImageError, match=said):
            await cache.hold(archive, ALICE)


async def test_an_environment_that_no_task_could_be_given_is_refused(tmp_path: Path, unpackers: Unpackers) -> None:
    unpackers.said["env"] = ["A=" + "x" * (40 << 10)]
    with pytest.raises(BadImageError, match="environment"):
        await _cache(tmp_path, unpackers).hold(unpackers.archive("talkative", b"1"), ALICE)


async def test_the_nodes_own_trouble_is_no_fault_of_the_archive(tmp_path: Path, unpackers: Unpackers) -> None:
    cache = _cache(tmp_path, unpackers)
    unpackers.unpack = lambda _root: TaskEnd(2, None, False, None, 0.1, 0.1)
    unpackers.complaint = "No space left on device"
    with pytest.raises(ServiceUnavailable, match="No space left"):
        await cache.hold(unpackers.archive("fine", b"1"), ALICE)
    unpackers.unpack = _unpacked
    await cache.hold(unpackers.archive("fine", b"1"), ALICE)
    assert unpackers.zones == 2


@pytest.mark.parametrize("nth", [1, 2])
async def test_too_many_open_files_leave_neither_zone_nor_pipe(
    tmp_path: Path, unpackers: Unpackers, nth: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    genuine, calls = os.pipe2, count(1)

    def pipe2(flags: int) -> tuple[int, int]:
        if next(calls) == nth:
            raise OSError(errno.EMFILE, "Too many open files")
        return genuine(flags)

    cache = _cache(tmp_path, unpackers)
    before = len(list(Path("/proc/self/fd").iterdir()))
    archive = unpackers.archive("one", b"archive")
    with monkeypatch.context() as patch:
        patch.setattr(os, "pipe2", pipe2)
        with pytest.raises(ServiceUnavailable, match="Too many open files"):
            await cache.hold(archive, ALICE)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    assert unpackers.zones == 1


async def test_a_full_disk_is_no_fault_of_the_archive(
    tmp_path: Path, unpackers: Unpackers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(space, "measure", lambda _folder: Space(1 << 40, 5 << 30))
    cache = _cache(tmp_path, unpackers)
    unpackers.unpack = lambda _root: TaskEnd(1, None, False, None, 0.1, 0.1)
    unpackers.complaint = "its files have more than 0 bytes"
    with pytest.raises(InsufficientStorage):
        await cache.hold(unpackers.archive("fine", b"1"), ALICE)
    monkeypatch.setattr(space, "measure", lambda _folder: Space(1 << 40, 1 << 39))
    unpackers.unpack = _unpacked
    await cache.hold(unpackers.archive("fine", b"1"), ALICE)


@pytest.mark.invariant("D6", "S3")
@pytest.mark.parametrize(
    ("free_bytes", "alone", "beside"),
    [
        (1 << 39, False, IMAGE_UNPACKS_MAX),
        (1 << 39, True, IMAGE_ACCOUNT_UNPACKS_MAX),
        (60 << 30, False, 2),
        (40 << 30, False, 1),
    ],
    ids=["much", "of one account", "some", "little"],
)
async def test_images_unpacked_at_a_time_are_few_and_together_leave_the_reserve(
    tmp_path: Path, unpackers: Unpackers, monkeypatch: pytest.MonkeyPatch, free_bytes: int, alone: bool, beside: int
) -> None:
    promised: list[int] = []
    go_on = asyncio.Event()

    async def slow(_sandbox: object, _name: str, _archive: Path, target: Path, bytes_max: int) -> Facts:
        promised.append(bytes_max)
        await go_on.wait()
        _unpacked(target)
        return Facts((), "", 1, 1)

    disk = Space(1 << 40, free_bytes)
    monkeypatch.setattr(image_cache, "unpack", slow)
    monkeypatch.setattr(space, "measure", lambda _folder: disk)
    cache = _cache(tmp_path, unpackers)
    async with asyncio.TaskGroup() as group:
        for number in range(6):
            archive = unpackers.archive(f"{number}", b"%d" % number)
            group.create_task(cache.hold(archive, ALICE if alone else f"account {number}"))
        while len(promised) < beside or len(_kept(tmp_path)) < 6:
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.01)  # the last of them gets to where it waits, or to one too many
        assert (len(promised), sum(promised) <= disk.free_bytes - disk.reserve_bytes) == (beside, True)
        assert set(promised) == {IMAGE_MAX_BYTES}
        go_on.set()
    assert len(promised) == 6


@pytest.mark.invariant("S5")
async def test_s5_an_image_beyond_the_accounts_share_is_told_as_that(
    tmp_path: Path, unpackers: Unpackers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is no fault of the archive: the same is unpacked when the account's others are gone, and for others."""
    monkeypatch.setattr(image_cache, "IMAGE_CACHE_MAX_BYTES", 4 * WEIGHT)
    cache = _cache(tmp_path, unpackers)
    first = await cache.hold(unpackers.archive("first", b"1"), ALICE)
    unpackers.unpack = lambda _root: TaskEnd(1, None, False, None, 0.1, 0.1)
    unpackers.complaint = f"its files have more than {WEIGHT} bytes"
    for _ in range(2):
        with pytest.raises(OverShareError):
            await cache.hold(unpackers.archive("second", b"2"), ALICE)
    assert unpackers.zones == 2
    unpackers.complaint = "it is damaged"
    with pytest.raises(BadImageError, match="damaged"):
        await cache.hold(unpackers.archive("bad", b"3"), ALICE)
    unpackers.unpack = _unpacked
    cache.release(first, ALICE)
    await cache.hold(unpackers.archive("second", b"2"), ALICE)


async def test_an_image_whose_files_are_gone_is_unpacked_again_and_was_held_by_nobody(
    tmp_path: Path, unpackers: Unpackers
) -> None:
    cache, ref = _cache(tmp_path, unpackers), unpackers.archive("one", b"archive")
    image = await cache.hold(ref, ALICE)
    (image.root.parent / "image.json").unlink()
    with pytest.raises(ServiceUnavailable, match="gone"):
        await cache.hold(ref, ALICE)
    cache.release(image, ALICE)
    assert await cache.hold(ref, ALICE) == image
    assert (unpackers.zones, cache.used_bytes) == (2, WEIGHT)
    cache.release(image, ALICE)
    assert cache.held_bytes == 0


@pytest.mark.parametrize("moment", ["_digest", "_begin", "unpack", "_finish", "_remove"])
async def test_a_cancelled_unpacking_holds_nothing_whenever_it_is_cancelled(
    tmp_path: Path, unpackers: Unpackers, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """An account that gave up building a zone keeps no image from being evicted, and the next one gets it."""
    monkeypatch.setattr(image_cache, "IMAGE_CACHE_MAX_BYTES", 2 * WEIGHT)
    cache, loop = _cache(tmp_path, unpackers), asyncio.get_running_loop()
    for name in ("one", "two"):
        cache.release(await cache.hold(unpackers.archive(name, name.encode()), BOB), BOB)
    ref = unpackers.archive("three", b"three")
    holding = asyncio.create_task(cache.hold(ref, ALICE))
    reached = getattr(image_cache, moment)

    gone, ended = threading.Event(), threading.Event()
    holding.add_done_callback(lambda _: gone.set())

    def cancelling(*arguments: Any) -> Any:
        loop.call_soon_threadsafe(holding.cancel)
        gone.wait(0.2)
        try:
            return reached(*arguments)
        finally:
            ended.set()

    with monkeypatch.context() as cancelled:
        cancelled.setattr(image_cache, moment, cancelling)
        with pytest.raises(asyncio.CancelledError):
            await holding
    assert ended.is_set() or moment == "_digest", "its thread would make the folder that the next one begins with"
    assert cache.held_bytes == 0
    image = await cache.hold(ref, ALICE)
    assert image.root.is_dir()
    cache.release(image, ALICE)
    assert (cache.held_bytes, cache.used_bytes) == (0, 2 * WEIGHT)


async def test_one_image_does_not_wait_for_all_of_anothers(
    tmp_path: Path, unpackers: Unpackers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a disk with room for one at a time."""
    unpacked: list[str] = []
    go_on = asyncio.Event()

    async def slow(_sandbox: object, _name: str, archive: Path, target: Path, _bytes_max: int) -> Facts:
        unpacked.append(archive.read_text())
        await go_on.wait()
        _unpacked(target)
        return Facts((), "", 1, 1)

    waiting: list[str] = []

    class WatchedTurns(Turns):
        def join(self, account: str) -> Turn:
            waiting.append(account)
            return super().join(account)

    monkeypatch.setattr(image_cache, "Turns", WatchedTurns)
    monkeypatch.setattr(image_cache, "unpack", slow)
    monkeypatch.setattr(space, "measure", lambda _folder: Space(1 << 40, 40 << 30))
    cache = _cache(tmp_path, unpackers)
    async with asyncio.TaskGroup() as group:
        for number in range(6):
            group.create_task(cache.hold(unpackers.archive(f"{number}", b"%d" % number), ALICE))
        await eventually(lambda: unpacked and len(waiting) == 6)
        group.create_task(cache.hold(unpackers.archive("bob's", b"bob's"), BOB))
        await eventually(lambda: BOB in waiting)
        go_on.set()
    assert "bob's" in unpacked[:3]
    assert len(unpacked) == 7


@pytest.mark.invariant("D6")
async def test_d6_images_that_nobody_uses_are_given_up(tmp_path: Path, unpackers: Unpackers) -> None:
    cache = _cache(tmp_path, unpackers)
    one, two = [await cache.hold(unpackers.archive(name, name.encode()), ALICE) for name in ("one", "two")]
    cache.release(one, ALICE)
    assert await cache.give_up(10 * WEIGHT) == WEIGHT
    assert _kept(tmp_path) == {two.root.parent.name}
    assert (await cache.hold(unpackers.archive("one", b"one"), ALICE)).root.is_dir()


async def test_half_an_image_and_one_of_before_a_reboot_are_not_used(
    tmp_path: Path, unpackers: Unpackers, monkeypatch: pytest.MonkeyPatch
) -> None:
    ref = unpackers.archive("one", b"archive")
    await _cache(tmp_path, unpackers).hold(ref, ALICE)
    (tmp_path / "images" / f"{'0' * 64}.part" / "root").mkdir(parents=True)
    rebooted = tmp_path / "boot_id"
    rebooted.write_text("another\n")
    monkeypatch.setattr(image_cache, "_BOOT_ID", rebooted)
    cache = _cache(tmp_path, unpackers)
    assert _kept(tmp_path) == set()
    await cache.hold(ref, ALICE)
    assert unpackers.zones == 2
