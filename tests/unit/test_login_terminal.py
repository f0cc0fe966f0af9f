"""What a zone may offer instead of its terminals: nothing of it is opened, and nobody waits for it."""

import asyncio
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from jobs.agent.login.terminal import Terminal


def _file(folder: Path) -> None:
    (folder / "ptmx").write_bytes(b"")


def _pipe(folder: Path) -> None:
    """Opening it would wait for a writer."""
    os.mkfifo(folder / "ptmx")


def _link(folder: Path) -> None:
    """To the host's own terminals."""
    (folder / "ptmx").symlink_to("/dev/ptmx")


def _other_device(folder: Path) -> None:
    (folder / "ptmx").symlink_to("/dev/zero")


def _nothing(folder: Path) -> None:
    pass


@pytest.mark.invariant("S4")
@pytest.mark.parametrize("make", [_file, _pipe, _link, _other_device, _nothing])
async def test_s4_what_is_no_devpts_is_not_opened(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path)
    terminal = Terminal(24, 80)
    folder = os.open(tmp_path, os.O_PATH | os.O_DIRECTORY)
    try:
        with socket.socket(fileno=os.dup(terminal.guest)) as zone:
            socket.send_fds(zone, [b"\0"], [folder])
            assert await asyncio.wait_for(terminal.read(), 10) == b""
            assert zone.recv(1) == b"", "its first process is not left waiting"
        await terminal.write(b"typed")
        terminal.resize(30, 90)
    finally:
        os.close(folder)
        terminal.close()


async def test_a_zone_that_offers_nothing_keeps_nobody_waiting_at_its_end() -> None:
    terminal = Terminal(24, 80)
    reading = asyncio.create_task(terminal.read())
    await asyncio.sleep(0)
    terminal.close_slave()
    assert await asyncio.wait_for(reading, 10) == b""
    terminal.close()


@pytest.mark.invariant("S3")
async def test_s3_more_descriptors_than_one_are_closed(tmp_path: Path) -> None:
    terminal = Terminal(24, 80)
    folder = os.open(tmp_path, os.O_PATH | os.O_DIRECTORY)
    before = len(list(Path("/proc/self/fd").iterdir()))
    try:
        with socket.socket(fileno=os.dup(terminal.guest)) as zone:
            socket.send_fds(zone, [b"\0"], [folder] * 20)
            assert await asyncio.wait_for(terminal.read(), 10) == b""
    finally:
        os.close(folder)
        terminal.close()
    assert len(list(Path("/proc/self/fd").iterdir())) < before
