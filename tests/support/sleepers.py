"""Tasks that only sleep, found among a store's processes."""

from pathlib import Path

from tests.support.processes import descendants
from tests.support.store import RunningStore


def sleepers(running: RunningStore, seconds: int) -> list[int]:
    """Processes `sleep SECONDS` below the store."""
    return sleepers_below(running.process.pid, seconds)


def sleepers_below(process: int, seconds: int) -> list[int]:
    """The same below any process."""
    found = []
    for pid in descendants(process):
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if words[:2] == [b"sleep", str(seconds).encode()]:
            found.append(pid)
    return found


def in_foreground(running: RunningStore, seconds: int) -> bool:
    """Whether a `sleep SECONDS` has its terminal: a key then reaches it."""
    for pid in sleepers(running, seconds):
        _, _, fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")
        _, _, group, _, _, foreground, *_ = fields.split()
        if group == foreground:
            return True
    return False
