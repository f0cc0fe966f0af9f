"""A keeper's children: whatever goes wrong around a death, the program comes back, unhurried, and none is left over."""

import asyncio
import errno
import os
import signal
from pathlib import Path

import pytest

from manta.core.errors import ServiceUnavailable
from manta.supervisor import child as children
from manta.supervisor.child import Child, Keeper, Program, start
from manta.supervisor.pulse import PulseRule, answers, watch
from tests.support.processes import alive
from tests.support.waiting import eventually

READY = "import os, time; os.write(int(os.environ['MANTA_READY_FD']), b'ready'); "
STAYS = Program("stays", ("-c", READY + "time.sleep(600)"))
SAYS_ITS_PID = "import os; print(os.getpid(), flush=True); "


async def no_evidence(_child: Child, _code: int) -> None:
    return None


def pids(log: Path) -> list[int]:
    return [int(line) for line in log.read_text().split()] if log.exists() else []


async def until(happened: asyncio.Event) -> None:
    async with asyncio.timeout(20):
        await happened.wait()


@pytest.mark.invariant("O3")
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), ValueError("40 is no signal")])
async def test_o3_a_death_whose_evidence_cannot_be_kept_is_followed_by_a_restart(
    tmp_path: Path, error: Exception
) -> None:
    async def fail(_child: Child, _code: int) -> None:
        raise error

    keeper = Keeper(STAYS, tmp_path, fail)
    await keeper.start()
    first = keeper.child
    assert first is not None
    os.kill(first.pid, 9)
    try:
        await eventually(lambda: keeper.child is not first)
    finally:
        await keeper.stop(5)


async def test_a_restart_that_the_system_refuses_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper = Keeper(STAYS, tmp_path, no_evidence)
    await keeper.start()
    first, tries, real = keeper.child, 0, children.start

    async def refused_once(program: Program, log_dir: Path) -> Child:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise OSError(errno.EAGAIN, "Resource temporarily unavailable")
        return await real(program, log_dir)

    monkeypatch.setattr(children, "start", refused_once)
    assert first is not None
    os.kill(first.pid, 9)
    try:
        await eventually(lambda: keeper.child is not first)
    finally:
        await keeper.stop(5)


async def test_what_a_child_says_in_pieces_is_kept_as_it_was_said(tmp_path: Path) -> None:
    ours, theirs = os.pipe()
    log, said = tmp_path / "child.log", "Fatal: ü\n\n  in the middle\n".encode()
    pump = asyncio.create_task(children._pump_log(ours, log))
    for at in range(len(said)):
        os.write(theirs, said[at : at + 1])
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    os.close(theirs)
    await pump
    assert log.read_bytes() == said


async def test_a_start_that_is_given_up_leaves_no_process(tmp_path: Path) -> None:
    slow = Program("slow", ("-c", SAYS_ITS_PID + "import time; time.sleep(600)"))
    starting = asyncio.create_task(start(slow, tmp_path))
    await eventually(lambda: pids(tmp_path / "slow.log"))
    starting.cancel()
    await asyncio.gather(starting, return_exceptions=True)
    (pid,) = pids(tmp_path / "slow.log")
    assert not alive(pid)


async def test_a_death_is_noticed_although_a_grandchild_holds_the_log(tmp_path: Path) -> None:
    code = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', {!r}]); ".format(
        SAYS_ITS_PID + "import time; time.sleep(600)"
    )
    program = Program("parent", ("-c", code + READY + "time.sleep(600)"))
    died = asyncio.Event()

    async def tell(_child: Child, code: int) -> None:
        assert code == -9
        died.set()

    keeper = Keeper(program, tmp_path, tell)
    await keeper.start()
    try:
        await eventually(lambda: pids(tmp_path / "parent.log"))
        assert keeper.child is not None
        os.kill(keeper.child.pid, 9)
        await until(died)
    finally:
        await keeper.stop(5)
        for pid in pids(tmp_path / "parent.log"):
            os.kill(pid, 9)


@pytest.mark.invariant("O3")
async def test_o3_a_program_that_dies_whenever_it_was_ready_is_restarted_after_growing_pauses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else its restarts would fill the evidence of the first death, and a processor."""
    pauses: list[float] = []
    enough = asyncio.Event()

    async def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 5:
            enough.set()

    monkeypatch.setattr(children, "_pause", pause)
    keeper = Keeper(Program("dies", ("-c", READY)), tmp_path, no_evidence)
    await keeper.start()
    try:
        await until(enough)
    finally:
        await keeper.stop(5)
    assert pauses[0] == 0
    assert pauses[1:5] == sorted(pauses[1:5])
    assert pauses[4] > pauses[1] > 0


TOLD = "import signal, sys; signal.signal(signal.SIGUSR1, lambda *_: ({}, print('told', flush=True))); "
CLOSES = (
    SAYS_ITS_PID + TOLD.format("os.close(int(os.environ['MANTA_READY_FD']))") + READY + "\nwhile True: time.sleep(9)"
)
KEEPS = TOLD.format("None") + READY + "\nwhile True: time.sleep(9)"


async def test_a_node_that_gives_its_tasks_back_lives_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    keeper = Keeper(Program("node", ("-c", CLOSES)), tmp_path, no_evidence)
    await keeper.start()
    try:
        async with asyncio.timeout(20):
            await keeper.give_back(600)
        assert keeper.child is not None
        assert alive(keeper.child.pid)
        assert caplog.messages == []
    finally:
        await keeper.stop(5)


async def test_a_node_that_gives_nothing_back_is_not_awaited_for_ever(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    keeper = Keeper(Program("node", ("-c", KEEPS)), tmp_path, no_evidence)
    await keeper.start()
    try:
        async with asyncio.timeout(20):
            await keeper.give_back(0.1)
        assert caplog.messages == ["node has not given its tasks back in 0 s: they count as lost."]
        await eventually(lambda: "told" in (tmp_path / "node.log").read_text())
    finally:
        await keeper.stop(5)


async def test_a_node_that_died_is_not_awaited_and_not_started_again(tmp_path: Path) -> None:
    died = asyncio.Event()

    async def bury(_child: Child, _code: int) -> None:
        died.set()
        await asyncio.sleep(600)

    keeper = Keeper(Program("node", ("-c", CLOSES)), tmp_path, bury)
    await keeper.start()
    try:
        first = keeper.child
        assert first is not None
        os.kill(first.pid, signal.SIGKILL)
        await until(died)
        async with asyncio.timeout(20):
            await keeper.give_back(600)
        # nothing is left that could start it
        await eventually(lambda: asyncio.all_tasks() == {asyncio.current_task()})
        assert keeper.child is first
    finally:
        await keeper.stop(5)


async def test_a_node_that_dies_while_it_gives_back_is_buried_and_not_started_again(tmp_path: Path) -> None:
    buried: list[int] = []

    async def bury(_child: Child, code: int) -> None:
        buried.append(code)

    keeper = Keeper(Program("node", ("-c", KEEPS)), tmp_path, bury)
    await keeper.start()
    try:
        first = keeper.child
        assert first is not None
        giving = asyncio.create_task(keeper.give_back(600))
        await eventually(lambda: "told" in (tmp_path / "node.log").read_text())
        os.kill(first.pid, signal.SIGKILL)
        async with asyncio.timeout(20):
            await giving
        await eventually(lambda: asyncio.all_tasks() == {asyncio.current_task()})
        assert (buried, keeper.child) == ([-signal.SIGKILL], first)
    finally:
        await keeper.stop(5)


async def test_a_program_that_does_not_start_says_why(tmp_path: Path) -> None:
    with pytest.raises(ServiceUnavailable, match="no such thing"):
        await start(Program("fails", ("-c", "import sys; sys.exit('no such thing')")), tmp_path)


LISTENS = (
    "import faulthandler, os, signal, socket, sys, time; faulthandler.enable(); s = socket.socket(socket.AF_UNIX); "
    "s.bind(sys.argv[1]); s.listen(); os.write(int(os.environ['MANTA_READY_FD']), b'ready'); "
)
HANGS = LISTENS + "time.sleep(600)"
ANSWERS = LISTENS + "\nwhile True:\n c, _ = s.accept(); c.recv(99); c.send(b'HTTP/1.1 403 No\\r\\n\\r\\n'); c.close()"
QUICK = PulseRule(interval_s=0.05, answer_s=0.2, silent_s=1.0, dying_s=1.0)


@pytest.mark.invariant("O3")
async def test_o3_a_child_that_hangs_is_ended_with_its_stacks_and_started_again(tmp_path: Path) -> None:
    address = tmp_path / "socket"
    buried: asyncio.Queue[tuple[int, str]] = asyncio.Queue()

    async def bury(child: Child, code: int) -> None:
        buried.put_nowait((code, child.log.read_text()))
        address.unlink()

    keeper = Keeper(Program("hangs", ("-c", HANGS, str(address))), tmp_path, bury)
    await keeper.start()
    first = keeper.child
    pulse = asyncio.create_task(watch(keeper, f"unix:{address}", QUICK))
    try:
        async with asyncio.timeout(20):
            code, log = await buried.get()
            while keeper.child is first:
                await asyncio.sleep(0.02)
    finally:
        pulse.cancel()
        await asyncio.gather(pulse, return_exceptions=True)
        await keeper.stop(5)
    assert code == -signal.SIGABRT
    assert "Fatal Python error: Aborted" in log


async def test_a_child_that_answers_is_left_alone_whatever_it_says(tmp_path: Path) -> None:
    address = tmp_path / "socket"
    keeper = Keeper(Program("answers", ("-c", ANSWERS, str(address))), tmp_path, no_evidence)
    await keeper.start()
    first = keeper.child
    pulse = asyncio.create_task(watch(keeper, f"unix:{address}", QUICK))
    try:
        done, _ = await asyncio.wait({pulse}, timeout=2 * QUICK.silent_s)
        assert not done
        assert keeper.child is first
        assert await answers(f"unix:{address}", 5.0)
    finally:
        pulse.cancel()
        await asyncio.gather(pulse, return_exceptions=True)
        await keeper.stop(5)
