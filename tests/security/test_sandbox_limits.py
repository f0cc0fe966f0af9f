"""A task that exceeds a limit is ended, the reason is named, and the zone serves on (S5)."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from jobs.sandbox.api import Overrun, TaskEnd
from jobs.sandbox.zone import ForkServerZone
from manta.core.errors import SandboxUnavailable
from manta.core.limits import MIB, TASK_OPEN_FILES_MAX, TASK_PIDS_MAX
from tests.support.processes import children
from tests.support.sandbox import Ended, Workshop, run_in, zone_of

pytestmark = pytest.mark.invariant("S5")


async def _serves_on(workshop: Workshop) -> None:
    assert (await workshop.run_on_blob("wc -l")).out == "2\n"


async def test_s5_exit_status_and_signal_are_told(workshop: Workshop) -> None:
    assert (await workshop.run("exit 42")).end.exit_status == 42
    ended = (await workshop.run("kill -TERM $$")).end
    assert (ended.exit_status, ended.signal, ended.overrun) == (None, 15, None)
    assert (await workshop.run("no-such-command")).status == 127


async def test_s5_time_is_measured(workshop: Workshop) -> None:
    ended = await workshop.run("i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done")
    assert 0 < ended.end.cpu_s <= 60
    assert ended.end.wall_s > 0


async def test_s5_a_timeout_ends_every_process(workshop: Workshop) -> None:
    command = "trap '' TERM INT; (setsid sleep 60 &); sleep 60 & wait"
    ended = await workshop.run(command, timeout_s=0.3)
    assert ended.end.overrun is Overrun.TIMEOUT
    assert ended.status is None
    await _serves_on(workshop)


async def test_s5_kill_ends_every_process(workshop: Workshop) -> None:
    running = asyncio.create_task(workshop.run("(setsid sleep 60 &); echo up; sleep 60"))
    while not running.done():
        await workshop.zone.kill()
        await asyncio.sleep(0.01)
    assert (await running).end.overrun is Overrun.KILLED
    await workshop.zone.kill()  # nothing runs: nothing happens
    await _serves_on(workshop)


@pytest.mark.invariant("J6")
async def test_s5_a_zone_that_does_not_end_its_task_is_ended_with_it(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its fork server hangs: no order reaches it."""
    assert isinstance(workshop.zone, ForkServerZone)
    monkeypatch.setattr("jobs.sandbox.zone.KILL_GRACE_S", 0.1)
    running = asyncio.create_task(workshop.run("sleep 60"))
    async with asyncio.timeout(20):
        while not workshop.zone._reply or workshop.zone._reply.done():
            await asyncio.sleep(0.01)
        processes = children(workshop.zone._launched.process.pid)
        for pid in processes:
            os.kill(pid, signal.SIGSTOP)
        await workshop.zone.kill()
        with pytest.raises(SandboxUnavailable, match="did not end its task"):
            await running
        while any(Path(f"/proc/{pid}/stat").exists() for pid in processes):
            await asyncio.sleep(0.01)


async def test_s5_a_kill_before_the_start_is_not_lost(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """The order to kill may come while the broker is still asked for the input."""
    mount = workshop.sandbox._broker.mount

    async def interrupted(blob: str) -> int:
        await workshop.zone.kill()
        return await mount(blob)

    monkeypatch.setattr(workshop.zone, "_mount", interrupted)
    assert (await workshop.run_on_blob("sleep 60")).end.overrun is Overrun.KILLED
    monkeypatch.undo()
    await _serves_on(workshop)


async def test_s5_a_fork_bomb_is_contained(workshop: Workshop) -> None:
    ended = await workshop.run(":(){ :|:& };: ; sleep 60", timeout_s=1.5)
    assert ended.end.overrun in (Overrun.TIMEOUT, Overrun.PIDS)
    await _serves_on(workshop)


async def test_s5_processes_are_counted_per_zone(workshop: Workshop) -> None:
    source = f"""
import os, time
count = 0
try:
    for count in range({2 * TASK_PIDS_MAX}):
        if os.fork() == 0:
            time.sleep(60)
            os._exit(0)
        print(count, flush=True)
except BlockingIOError:
    pass
"""
    async with zone_of(workshop.sandbox, name="other") as other:
        full = asyncio.create_task(workshop.python(source + "time.sleep(1)"))
        neighbour = await run_in(other, "for i in 1 2 3 4; do /bin/true || exit 1; done; echo fine")
        ended = await full
    assert TASK_PIDS_MAX // 2 < int(ended.out.split()[-1]) < TASK_PIDS_MAX
    assert neighbour.out == "fine\n"
    await _serves_on(workshop)


async def test_s5_a_memory_hog_is_contained(workshop: Workshop) -> None:
    ended = await workshop.python("hoard = []\nwhile True: hoard.append(bytearray(1 << 20))")
    assert ended.end.exit_status != 0
    assert ended.end.overrun is Overrun.MEMORY
    await _serves_on(workshop)


async def test_s5_a_full_scratch_is_named(workshop: Workshop) -> None:
    for command in ("cat /dev/zero > file", "set -e; for i in $(seq 100); do head -c 1M /dev/zero > $i; done"):
        ended = await workshop.run(command)
        assert ended.end.overrun is Overrun.SCRATCH, ended
        assert "No space left" in ended.err
        await _serves_on(workshop)


async def test_s5_too_many_files_in_scratch_are_named(workshop: Workshop) -> None:
    ended = await workshop.run("for i in $(seq 100000); do : > $i || exit 1; done")
    assert ended.end.overrun is Overrun.SCRATCH


async def test_s5_a_status_0_stands_although_scratch_is_full(workshop: Workshop) -> None:
    ended = await workshop.run("cat /dev/zero > file; true")
    assert (ended.status, ended.end.overrun) == (0, None)


async def test_s5_open_files_are_bounded(workshop: Workshop) -> None:
    source = """
import os
try:
    while True:
        last = os.open("/dev/null", os.O_RDONLY)
except OSError:
    print(last + 1)
"""
    assert int((await workshop.python(source)).out) == TASK_OPEN_FILES_MAX


async def test_s5_no_core_is_dumped(workshop: Workshop) -> None:
    ended = await workshop.run("ulimit -c; ulimit -c unlimited; kill -SEGV $$")
    assert (ended.end.signal, ended.end.core_dumped) == (11, False)


async def test_s5_a_good_task_ends_beside_bad_ones(workshop: Workshop) -> None:
    """Fork bomb, memory hog, scratch filler and endless sleep, each in its zone, beside one that counts lines."""

    async def bad(name: str, command: str) -> TaskEnd:
        async with zone_of(workshop.sandbox, name=name, memory_bytes=64 * MIB) as zone:
            return (await run_in(zone, command, timeout_s=2.0)).end

    async def good() -> Ended:
        ended = await workshop.run_on_blob("wc -l")
        for _ in range(20):
            ended = await workshop.run_on_blob("wc -l")
        return ended

    *ends, counted = await asyncio.gather(
        bad("bomb", ":(){ :|:& };: ; sleep 60"),
        bad("hog", "exec python3 -I -S -c 'x=[]\nwhile True: x.append(bytearray(1<<20))'"),
        bad("filler", "cat /dev/zero > file"),
        bad("sleeper", "sleep 3600"),
        good(),
    )
    assert counted.out == "2\n"
    assert all(isinstance(end, TaskEnd) and (end.overrun is not None) for end in ends), ends
