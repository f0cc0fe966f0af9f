"""Limits of a task as a whole, by cgroups (S5): what rlimits cannot see is ended and named, and nothing is left."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from jobs.sandbox.api import Overrun
from jobs.sandbox.cgroups import survey
from jobs.sandbox.cgroups.discovery import base_folder
from manta.core.errors import SandboxUnavailable
from manta.core.limits import MIB, TASK_PIDS_MAX
from tests.support.sandbox import Workshop, run_in, started, zone_of

_FOUND = survey()
pytestmark = [
    pytest.mark.invariant("S5"),
    pytest.mark.skipif(
        not {"memory", "pids"} <= _FOUND.holds,
        reason="this user may make no cgroups here: only rlimits hold, which test_sandbox_limits.py shows",
    ),
]
MEMORY = 64 * MIB


def _own_folders() -> list[Path]:
    """Groups that a node of any name made below this process's own."""
    return [path for place in _FOUND.places for path in base_folder(place).glob("manta.*")]


def _hog(size: int) -> str:
    return f"python3 -I -S -c 'x = bytearray({size})'"


@pytest_asyncio.fixture
async def small(tmp_path: Path, sandbox_state: Path) -> AsyncIterator[Workshop]:
    """In a zone of 64 MiB, with more scratch than memory."""
    blobs = tmp_path / "blobs"
    async with (
        started(blobs, sandbox_state, "c") as sandbox,
        zone_of(sandbox, memory_bytes=MEMORY, scratch_bytes=4 * MEMORY) as zone,
    ):
        yield Workshop(sandbox, zone, blobs, sandbox_state)


async def test_s5_an_oom_kill_is_named_although_the_status_is_0(small: Workshop) -> None:
    for command in (f"{_hog(3 * MEMORY)} | tail", f"{_hog(3 * MEMORY)}; exit 0"):
        assert (await small.run(command)).end.overrun is Overrun.MEMORY, command
    good = (await small.run("true")).end
    assert (good.exit_status, good.overrun) == (0, None)


async def test_s5_a_task_that_goes_on_after_an_oom_kill_is_ended(small: Workshop) -> None:
    ended = await small.run(f"while :; do {_hog(3 * MEMORY)}; sleep 0.05; done", timeout_s=50)
    assert (ended.status, ended.end.overrun) == (None, Overrun.MEMORY)


async def test_s5_memory_is_counted_for_all_processes_together(small: Workshop) -> None:
    """Each stays far below the limit, all together do not."""
    source = f"""
import os, time
for _ in range(16):
    if os.fork() == 0:
        x = bytearray({MEMORY} // 8)
        time.sleep(60)
        os._exit(0)
while True:
    os.wait()
"""
    assert (await small.python(source, timeout_s=50)).end.overrun is Overrun.MEMORY


async def test_s5_reserving_memory_is_not_using_it(small: Workshop) -> None:
    unreserved = "mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000"  # MAP_NORESERVE
    source = f"import mmap; m = mmap.mmap(-1, {64 * MEMORY}, flags={unreserved}); print(len(m))"
    ended = await small.python(source)
    assert (ended.out, ended.end.overrun) == (f"{64 * MEMORY}\n", None)


async def test_s5_scratch_larger_than_memory_is_full_before_the_memory_is(small: Workshop) -> None:
    many = """exec python3 -I -S -c 'for i in range(10**6): open(str(i), "wb", 0).write(bytes(4096))'"""
    for command in ("cat /dev/zero > file", many):
        ended = await small.run(command)
        assert "No space left" in ended.err
        assert (ended.status, ended.end.overrun) == (1, Overrun.SCRATCH)
    assert (await small.run_on_blob("wc -l")).out == "2\n"


async def test_s5_a_fork_bomb_ends_long_before_its_timeout(small: Workshop) -> None:
    ended = await small.run(":(){ :|:& };: ; sleep 3600", timeout_s=100)
    assert ended.end.overrun in (Overrun.PIDS, Overrun.MEMORY)
    threads = f"""
import threading, time
try:
    for _ in range({2 * TASK_PIDS_MAX}):
        threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
except RuntimeError:
    time.sleep(60)
"""
    async with zone_of(small.sandbox, name="roomy") as zone:
        ended = await run_in(zone, 'exec python3 -I -S -c "$SOURCE"', env={"SOURCE": threads}, timeout_s=100)
    assert ended.end.overrun is Overrun.PIDS


async def test_s5_the_fork_server_is_not_in_its_tasks_group(small: Workshop) -> None:
    """With one limit for the whole zone, the OOM killer took the fork server."""
    survivor = small.zone
    for _ in range(5):
        assert (await run_in(survivor, _hog(3 * MEMORY))).end.overrun is Overrun.MEMORY
        assert (await run_in(survivor, "echo fine")).out == "fine\n"


async def test_s5_a_taken_over_fork_server_cannot_use_more_than_its_zone(hostile: Workshop) -> None:
    async with zone_of(hostile.sandbox, memory_bytes=MEMORY) as zone:
        for where in ("zone", "task"):
            hoard = f"x = bytearray({16 * MEMORY}); print('had it')"
            with contextlib.suppress(SandboxUnavailable):  # the fork server itself may be the one to die
                assert (await run_in(zone, "", env={"ATTACK": hoard, "WHERE": where})).out == ""
    assert (await hostile.run_on_blob("wc -l")).out == "2\n"


async def test_s5_what_init_leaves_is_not_the_tasks_memory(workshop: Workshop) -> None:
    half = MEMORY * 5 // 8
    fill = f"head -c {half} /dev/zero > filler"
    async with zone_of(workshop.sandbox, init=fill, memory_bytes=MEMORY, scratch_bytes=MEMORY) as zone:
        ended = await run_in(zone, f"{_hog(half)} && wc -c < /zone/filler")
    assert (ended.out, ended.end.overrun) == (f"{half}\n", None)


async def test_s5_cpu_time_of_all_processes_is_counted(workshop: Workshop) -> None:
    """Also of those that nobody waits for."""
    burn = "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done"
    end = (
        await workshop.run(f"(setsid sh -c '{burn}; echo done > flag' &); while [ ! -e flag ]; do sleep 0.01; done")
    ).end
    assert end.cpu_s > 0.05
    assert (await workshop.run("true")).end.cpu_s < end.cpu_s


@pytest.mark.skipif("cpu" not in _FOUND.holds, reason="this user may not limit cpu here")
async def test_s5_a_cpu_quota_holds(workshop: Workshop) -> None:
    async with zone_of(workshop.sandbox, cpus=0.02) as zone:
        ended = await run_in(zone, "i=0; while [ $i -lt 10000 ]; do i=$((i+1)); done")
        throttled = [_throttled(path) for path in _own_folders()]
    assert (ended.status, ended.end.overrun) == (0, None)
    assert max(throttled) > 0


def _throttled(folder: Path) -> int:
    stats = "\n".join(file.read_text() for file in folder.glob("zone-*/cpu.stat"))
    return max((int(line.split()[1]) for line in stats.splitlines() if line.startswith("nr_throttled")), default=0)


_PART = "python3 -I -S -c 'import time; x=bytearray(12<<20); time.sleep(60)'"
_BOMBS = {
    "fork": ":(){ :|:& };: ; sleep 60",
    "memory": "python3 -I -S -c 'x=[]\nwhile True: x.append(bytearray(1<<20))'",
    "memories": f"for i in 1 2 3 4 5 6 7 8 9; do {_PART} & done; wait",
    "scratch": "cat /dev/zero > file",
    "inodes": "python3 -I -S -c 'for i in range(10**7): open(str(i), \"w\").close()'",
    "descriptors": "python3 -I -S -c 'import os\nwhile True: os.dup(0)'",
    "cpu": "while :; do while :; do :; done & while :; do :; done & while :; do :; done; done",
    "output": "while :; do cat /dev/zero; done",
}
_ENDLESS = ("cpu", "output")
_NAMED = {"memory": Overrun.MEMORY, "memories": Overrun.MEMORY, "scratch": Overrun.SCRATCH, "inodes": Overrun.SCRATCH}


async def test_s5_a_good_task_ends_beside_every_bomb(workshop: Workshop) -> None:
    async def bomb(name: str) -> Overrun | None:
        async with zone_of(workshop.sandbox, name=name, memory_bytes=MEMORY, cpus=0.5) as zone:
            discard = "exec > /dev/null; " if name == "output" else ""
            end = (await run_in(zone, discard + _BOMBS[name], timeout_s=2.0 if name in _ENDLESS else 50.0)).end
            assert (end.exit_status, end.overrun) != (0, None), name
            assert (await run_in(zone, "echo serves on")).out == "serves on\n"
            return end.overrun

    async def good() -> None:
        for _ in range(10):
            assert (await workshop.run_on_blob("sort | wc -l")).out == "2\n"

    *overruns, _ = await asyncio.gather(*map(bomb, _BOMBS), good())
    ended_by = dict(zip(_BOMBS, overruns, strict=True))
    assert {name: ended_by[name] for name in _NAMED} == _NAMED
    assert ended_by["fork"] in (Overrun.PIDS, Overrun.MEMORY)
    assert ended_by["cpu"] is Overrun.TIMEOUT
    assert workshop.blob_is_unchanged()


async def test_groups_serve_one_zone_after_another(tmp_path: Path, sandbox_state: Path) -> None:
    async with started(tmp_path / "blobs", sandbox_state, "c") as sandbox:
        for number in range(4):
            async with zone_of(sandbox, name=f"zone-{number}", memory_bytes=(number + 4) * 16 * MIB) as zone:
                assert (await run_in(zone, "head -c 1M /dev/zero > file; echo fine")).out == "fine\n"
        zones = [len(list(folder.glob("zone-*"))) for folder in _own_folders() if str(os.getpid()) in folder.name]
    assert zones
    assert max(zones) < 4


async def test_no_group_is_left_and_no_other_is_touched(tmp_path: Path, sandbox_state: Path) -> None:
    before = set(_own_folders())
    foreign = [base_folder(place) / "manta.keep" for place in _FOUND.places]
    for folder in foreign:
        folder.mkdir()
    try:
        async with started(tmp_path / "blobs", sandbox_state, "c") as sandbox, zone_of(sandbox) as zone:
            assert set(_own_folders()) - before
            await run_in(zone, "(setsid sleep 60 &)")
        assert [folder for folder in _own_folders() if folder not in before and f".{os.getpid()}." in folder.name] == []
        assert all(folder.is_dir() for folder in foreign)
    finally:
        for folder in foreign:
            folder.rmdir()


_NODE = """
import asyncio, sys
from pathlib import Path
from tests.support.sandbox import run_in, started, zone_of

async def main():
    async with started(Path(sys.argv[1]), Path(sys.argv[2]), "c") as sandbox, zone_of(sandbox) as zone:
        await run_in(zone, "true")
        print("up", flush=True)
        await asyncio.sleep(600)

asyncio.run(main())
"""


async def test_groups_of_a_killed_node_are_removed_at_the_next_start(tmp_path: Path, sandbox_state: Path) -> None:
    command = [sys.executable, "-c", _NODE, str(tmp_path / "blobs"), str(sandbox_state)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]) as node:
        assert node.stdout is not None
        assert await asyncio.to_thread(node.stdout.readline) == b"up\n"
        node.send_signal(signal.SIGKILL)
    left = [folder for folder in _own_folders() if f".{node.pid}." in folder.name]
    assert left
    async with started(tmp_path / "blobs", sandbox_state, "c"):
        assert not any(folder.exists() for folder in left)


_READ_ONLY = """
import asyncio, sys
from pathlib import Path
from tests.support.sandbox import run_in, started, zone_of

async def main():
    async with started(Path(sys.argv[1]), Path(sys.argv[2]), "c") as sandbox, zone_of(sandbox) as zone:
        print((await run_in(zone, "echo fine")).out, sandbox.describe()["limits"]["memory"])

asyncio.run(main())
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount the cgroup trees read-only")
def test_where_the_trees_are_read_only_rlimits_hold_and_the_reason_is_told(tmp_path: Path, sandbox_state: Path) -> None:
    points = {line.split()[1] for line in Path("/proc/mounts").read_text().splitlines() if " cgroup" in line}
    remount = "; ".join(f"mount -o remount,bind,ro {point}" for point in points)
    command = f'{remount}; exec "$@"'
    program = [sys.executable, "-c", _READ_ONLY, str(tmp_path / "blobs"), str(sandbox_state)]
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-ec", command, "sh", *program],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("fine\n RLIMIT_DATA and RLIMIT_AS, per process;"), done.stdout
    assert "Read-only file system" in done.stdout
