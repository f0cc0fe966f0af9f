"""How much memory processes hold, sampled while something happens."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

INTERVAL_S = 0.2


def resident_bytes(pid: int) -> int:
    """VmRSS of the process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"Process {pid} has no memory: it has ended.")


@contextmanager
def resident_peaks(processes: Mapping[str, int]) -> Iterator[dict[str, int]]:
    """The most that each process (pid by name) held within the block; read it after the block."""
    peaks = {name: resident_bytes(pid) for name, pid in processes.items()}
    done = threading.Event()

    def sample() -> None:
        while not done.wait(INTERVAL_S):
            for name, pid in processes.items():
                peaks[name] = max(peaks[name], resident_bytes(pid))

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield peaks
    finally:
        done.set()
        thread.join()
