"""Processes as tests see them: which there are, whether they live, and how those that tests start are ended."""

import signal
import subprocess
from pathlib import Path


def alive(pid: int) -> bool:
    """Whether it runs; one that ended and that nobody has waited for yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except (FileNotFoundError, ProcessLookupError):
        return False


def children(pid: int) -> list[int]:
    """None of a process that has ended."""
    try:
        lists = [file.read_text() for file in Path(f"/proc/{pid}/task").glob("*/children")]
    except OSError:
        return []
    return [int(child) for listed in lists for child in listed.split()]


def descendants(pid: int) -> list[int]:
    """Every process below `pid`."""
    return [below for child in children(pid) for below in (child, *descendants(child))]


def end(process: "subprocess.Popen[str] | subprocess.Popen[bytes]", timeout_s: float) -> None:
    """Asked to, and killed if it does not in that time."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
