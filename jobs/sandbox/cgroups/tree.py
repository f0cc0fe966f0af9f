"""The groups of one zone in one cgroup tree: made, limited, read, emptied and removed alike in v1 and v2.

Where a tree has the memory controller, a zone's group has three leaves: `server` for the fork server, `task` for the
running task, `init` for the phase's init (what it leaves in the zone's folder stays charged there). A task that exceeds
its leaf is the one to die, never the fork server. Without the memory controller the fork server joins the zone's group
once and its tasks are born in it: joining costs time per task, and pids, cpu and cpu time need no more.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from jobs.sandbox.cgroups.discovery import MEMORY, PIDS, processes
from manta.core.limits import ZONE_OVERHEAD_BYTES

SERVER: Final = "server"
TASK: Final = "task"
INIT: Final = "init"
LEAVES: Final = (SERVER, TASK, INIT)
_READ_MAX_BYTES: Final = 4096


@dataclass(frozen=True, slots=True)
class GroupLimits:
    """Of a zone's tasks; `init_memory_bytes` is 0 for a zone without init."""

    memory_bytes: int
    init_memory_bytes: int
    pids: int
    cpus: float | None

    @property
    def zone_bytes(self) -> int:
        """Above its leaves' together, so that it is met only by a fork server gone wild."""
        return self.memory_bytes + self.init_memory_bytes + ZONE_OVERHEAD_BYTES


class Dialect(Protocol):
    """What differs between the versions: the files of a group, and what is written there."""

    @property
    def oom_kills(self) -> tuple[str, str]:
        """File and key of the count of processes killed for memory."""
        ...

    @property
    def cpu_time(self) -> tuple[str, str, float]:
        """File, key (empty: the file is the number) and unit in seconds of the time used."""
        ...

    def limit_memory(self, folder: Path, limit_bytes: int, *, leaf: bool) -> None: ...

    def limit_pids(self, folder: Path, leaves: list[Path], pids: int) -> None: ...

    def limit_cpus(self, folder: Path, cpus: float | None) -> None: ...

    def weigh(self, folder: Path, processes: int) -> None:
        """On a busy machine the folder's processes together get as much cpu as that many others."""
        ...

    def pids_folder(self, folder: Path, leaf: Path) -> Path:
        """Whose pids.events counts what that leaf's processes were refused."""
        ...

    def hand_down(self, folder: Path, controllers: frozenset[str]) -> None:
        """Lets the folder's children have limits of their own."""
        ...


class Counter:
    """A growing number in a group's file, kept open; `grown` is by how much it grew since it was last taken."""

    def __init__(self, path: Path, key: str = "") -> None:
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._key = key.encode() + b" " if key else b""
        self._taken = self._read()

    def grown(self) -> int:
        return self._read() - self._taken

    def take(self) -> int:
        now = self._read()
        grown, self._taken = now - self._taken, now
        return grown

    def close(self) -> None:
        os.close(self._descriptor)

    def _read(self) -> int:
        text = os.pread(self._descriptor, _READ_MAX_BYTES, 0)
        if not self._key:
            return int(text)
        start = text.find(self._key)
        while start > 0 and text[start - 1] != 10:  # `oom_kill ` is also the end of other keys
            start = text.find(self._key, start + 1)
        return int(text[start + len(self._key) :].split(None, 1)[0]) if start >= 0 else 0


class ZoneGroups:
    """One zone's groups in one tree, with the descriptors by which its processes join them."""

    def __init__(self, folder: Path, controllers: frozenset[str], dialect: Dialect) -> None:
        self.folder = folder
        self.controllers = controllers
        self.dialect = dialect
        folder.mkdir()
        self.leaves = [folder / leaf for leaf in LEAVES] if MEMORY in controllers else []
        if self.leaves:
            dialect.hand_down(folder, controllers & {MEMORY, PIDS})
        for leaf in self.leaves:
            leaf.mkdir()
        self.joins = {path.name: _open_join(path) for path in self.leaves} or {SERVER: _open_join(folder)}

    def limit(self, limits: GroupLimits) -> None:
        """OSError (EBUSY) when what is left of the last zone does not fit the new limit."""
        if MEMORY in self.controllers:
            server, task, init = self.leaves
            self.dialect.limit_memory(self.folder, limits.zone_bytes, leaf=False)
            self.dialect.limit_memory(server, ZONE_OVERHEAD_BYTES, leaf=True)
            self.dialect.limit_memory(task, limits.memory_bytes, leaf=True)
            self.dialect.limit_memory(init, limits.init_memory_bytes or limits.memory_bytes, leaf=True)
        if PIDS in self.controllers:
            self.dialect.limit_pids(self.folder, self.leaves, limits.pids)
        if "cpu" in self.controllers:
            self.dialect.limit_cpus(self.folder, limits.cpus)

    def is_empty(self) -> bool:
        return not any(processes(folder) for folder in (self.leaves or [self.folder]))

    def close(self) -> None:
        for descriptor in self.joins.values():
            os.close(descriptor)
        self.joins.clear()

    def remove(self) -> None:
        """OSError while processes in it are still dying."""
        remove_tree(self.folder)


def _open_join(folder: Path) -> int:
    """v1's `tasks` moves the writing thread alone, without the lock on all thread groups that `cgroup.procs` takes.

    That lock waits for an RCU grace period: more than 10 ms while every core is busy, for each task.
    """
    threads = folder / "tasks"
    return os.open(threads if threads.exists() else folder / "cgroup.procs", os.O_WRONLY | os.O_CLOEXEC)


def kill_tree(folder: Path) -> None:
    """What a dead node's zones have left alive: a fork server that was taken over may have outlived its agent."""
    for path in [*_folders(folder), folder]:
        with suppress(OSError):
            for pid in processes(path):
                if pid > 0:  # 0 stands for a process of another pid namespace
                    os.kill(pid, signal.SIGKILL)


def remove_tree(folder: Path) -> None:
    """Groups have no files that could be removed: their folders go from the leaves up."""
    for path in [*_folders(folder), folder]:
        with suppress(FileNotFoundError):
            path.rmdir()


def _folders(folder: Path) -> Iterator[Path]:
    """Deepest first."""
    with suppress(FileNotFoundError):
        for path in folder.iterdir():
            if path.is_dir():
                yield from _folders(path)
                yield path


def write(file: Path, value: str) -> None:
    """In one write, as the kernel wants it."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, value.encode())
    finally:
        os.close(descriptor)
