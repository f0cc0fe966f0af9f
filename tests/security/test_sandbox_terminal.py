"""A task with a terminal: it is the controlling one of its session, and no way out (S4)."""

import asyncio
import os
from dataclasses import dataclass
from typing import Any

import pytest

from jobs.agent.login.terminal import Terminal
from jobs.sandbox.api import Overrun, TaskEnd, TaskSpec, Zone
from tests.support.sandbox import PATH, Workshop, zone_of

pytestmark = pytest.mark.invariant("S4")


@dataclass
class Said:
    end: TaskEnd
    text: str


async def at_terminal(zone: Zone, terminal: Terminal, command: str, *, typed: bytes = b"", **options: Any) -> Said:
    """Runs it with the terminal as its stdin, stdout and stderr; `typed` once it has said `ready`."""
    descriptors = dict.fromkeys(("stdin_fd", "stdout_fd", "stderr_fd"), terminal.guest)
    values: dict[str, Any] = {"timeout_s": 60.0, **descriptors, **options}
    task = TaskSpec(command, {"PATH": PATH}, terminal=True, **values)

    async def ended() -> TaskEnd:
        end = await zone.run(task)
        terminal.close_slave()
        return end

    async def listen() -> bytes:
        said, left = b"", typed
        while data := await terminal.read():
            said += data
            if b"ready" in said and left:
                await terminal.write(left)
                left = b""
        return said

    try:
        end, said = await asyncio.gather(ended(), listen())
    finally:
        terminal.close()
    return Said(end, said.decode(errors="replace"))


async def run(workshop: Workshop, command: str, **options: Any) -> Said:
    async with zone_of(workshop.sandbox, name="terminal", terminal=True) as zone:
        return await at_terminal(zone, Terminal(24, 80), command, **options)


async def test_s4_the_shell_leads_a_session_whose_terminal_it_is(workshop: Workshop) -> None:
    source = "import os; print(os.getsid(0) == os.getpgrp() == os.tcgetpgrp(0) == os.getppid(), os.isatty(1))"
    said = await run(workshop, f"stty size < /dev/tty; echo seen > /dev/tty; python3 -I -S -c '{source}'; exit 3")
    assert said.text == "24 80\r\nseen\r\nTrue True\r\n"
    assert said.end.exit_status == 3


async def test_programs_find_and_make_terminals(workshop: Workshop) -> None:
    said = await run(workshop, "tty; script -qc tty /dev/null; script -qc true /dev/null && echo made")
    assert said.text == "/dev/pts/0\r\n/dev/pts/1\r\nmade\r\n"
    assert said.end.exit_status == 0


async def test_s4_keys_are_signals(workshop: Workshop) -> None:
    said = await run(
        workshop, "trap 'echo caught; exit 5' INT; echo ready; while :; do sleep 0.05; done", typed=b"\x03"
    )
    assert said.end.exit_status == 5, said
    assert said.text.endswith("caught\r\n")


async def test_s4_nothing_can_be_pushed_into_the_input(workshop: Workshop) -> None:
    """Also not with bits above the 32 that the kernel looks at."""
    source = """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
for number in (0x5412, 0x541C, 0x5423, 0x5412 | 1 << 32):
    result = libc.ioctl(0, ctypes.c_ulong(number), b"x")
    print(result, ctypes.get_errno())
"""
    said = await run(workshop, f"python3 -I -S -c '{source}'")
    assert said.text == "-1 1\r\n" * 4


async def test_s4_the_input_stays_read_only_beside_a_terminal(workshop: Workshop) -> None:
    said = await run(
        workshop,
        "cat /input/input.txt; echo x > /input/input.txt; test -t 0 && echo terminal",
        blob=workshop.blob,
        input_name="input.txt",
    )
    assert said.text.startswith("the first line\r\nand the second\r\n")
    assert "Read-only file system" in said.text
    assert said.text.endswith("terminal\r\n")
    assert workshop.blob_is_unchanged()


async def test_s4_no_other_terminal_can_be_reached(workshop: Workshop) -> None:
    """Its devpts has this one alone; no way up from the open descriptor, and no descriptor but the three."""
    source = """
import os
def is_closed(number):
    try:
        os.fstat(number)
    except OSError:
        return True
print([number for number in range(3, 1024) if not is_closed(number)])
"""
    host, theirs = os.openpty()
    try:
        said = await run(workshop, f"ls /dev/pts; cat /proc/self/fd/0/..; python3 -I -S -c '{source}'")
    finally:
        os.close(host)
        os.close(theirs)
    assert said.text.startswith("0  ptmx\r\n"), said.text
    assert "Not a directory" in said.text
    assert said.text.endswith("[]\r\n")


async def test_s4_two_zones_share_no_terminals(workshop: Workshop) -> None:
    async with (
        zone_of(workshop.sandbox, name="one", terminal=True) as one,
        zone_of(workshop.sandbox, name="two", terminal=True) as two,
    ):
        terminal = Terminal(24, 80)
        first = asyncio.create_task(at_terminal(one, terminal, "tty; read line"))
        await terminal.write(b"")  # once it is there
        second = await at_terminal(two, Terminal(24, 80), "tty; ls /dev/pts")
        await terminal.write(b"\r")
        assert (await first).text.strip() == "/dev/pts/0"  # what was typed is shown before it or behind
        assert second.text == "/dev/pts/0\r\n0  ptmx\r\n"


async def test_s5_a_task_takes_no_more_terminals_than_the_machine_can_spare(workshop: Workshop) -> None:
    source = """
import os
many = []
try:
    while True:
        many += os.openpty()
except OSError as error:
    print(len(many) // 2, error.strerror)
"""
    said = await run(workshop, f"python3 -I -S -c '{source}'")
    assert said.text == "63 No space left on device\r\n"
    master, slave = os.openpty()
    os.close(master)
    os.close(slave)


async def test_s4_a_task_without_a_terminal_has_none(workshop: Workshop) -> None:
    ended = await workshop.run("test -t 0 || test -t 1 || echo none; ls -d /dev/pts /dev/ptmx; : < /dev/tty")
    assert ended.out == "none\n"
    assert ended.err.count("No such file or directory") == 3
    async with zone_of(workshop.sandbox, name="terminal", terminal=True) as zone:
        terminal = Terminal(24, 80)
        said = await at_terminal(zone, terminal, "setsid -w sh -c ': < /dev/tty'")
        assert "No such device or address" in said.text


async def test_s5_the_end_of_a_session_is_the_end_of_all_of_it(workshop: Workshop) -> None:
    async with zone_of(workshop.sandbox, name="terminal", terminal=True) as zone:
        command = "trap '' HUP INT TERM; setsid sleep 1000 & sleep 1000 & echo on; wait"
        said = await at_terminal(zone, Terminal(24, 80), command, timeout_s=0.5)
        assert said.end.overrun is Overrun.TIMEOUT
        again = await at_terminal(zone, Terminal(24, 80), "ps -e 2>/dev/null | grep -c sleep; echo clean")
        assert again.text.endswith("clean\r\n")
        assert "0\r\n" in again.text
