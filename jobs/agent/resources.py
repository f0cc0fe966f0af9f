"""What a node's running tasks may use together: memory, scratch and cpus. Pure but for reading what the machine has."""

import contextlib
import functools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from jobs.model.resources import Capacity, Needs, Room, Used
from manta.core.limits import TASK_MEMORY_DEFAULT_BYTES

_MEMORY_SHARE: Final = 7 / 8
_GROUP_LIMITS: Final = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)
"""Of a container, as seen from inside."""


def machine_capacity(nodes: int = 1) -> Capacity:
    """One node's share of this machine's memory, and all its cpus, where so many nodes run on it.

    It has room for a task of the default size at least: memory is a limit, and most tasks need less.
    """
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for path in _GROUP_LIMITS:
        with contextlib.suppress(OSError, ValueError):
            total = min(total, int(path.read_text()))
    share = int(total * _MEMORY_SHARE / nodes)
    return Capacity(max(share, TASK_MEMORY_DEFAULT_BYTES), float(os.cpu_count() or 1))


class Resources:
    """The lanes of a node, and the account of what the tasks that run in them, and login sessions, were promised."""

    def __init__(self, lanes: int, capacity: Capacity) -> None:
        self.lanes = lanes
        self.capacity = capacity
        self.used = Used()
        self._count = 0
        self._sessions: list[Needs] = []

    def fits(self, spec: Needs) -> bool:
        """Whether a task of that phase, or a login session, may run beside those that do."""
        return self.capacity.holds(self.used.beside(spec))

    def fit_beside_sessions(self, *specs: Needs) -> bool:
        """Whether such tasks could run together once the others have ended: sessions may last for hours."""
        return self.capacity.holds(functools.reduce(Used.beside, (*self._sessions, *specs), Used()))

    def room(self) -> Room:
        """What is left, for what might begin."""
        return Room(self.capacity, self.used)

    @contextlib.contextmanager
    def session(self, spec: Needs) -> Iterator[None]:
        """A login session lasts."""
        self._sessions.append(spec)
        self.take(spec)
        try:
            yield
        finally:
            self._sessions.remove(spec)
            self.give_back(spec)

    def take(self, spec: Needs) -> None:
        self._count += 1
        self.used = self.used.beside(spec)

    def give_back(self, spec: Needs) -> None:
        self._count -= 1
        used = self.used
        self.used = Used(
            used.memory_bytes - spec.memory_bytes,
            used.scratch_bytes - spec.scratch_bytes,
            used.cpus - (spec.cpus or 0.0) if self._count else 0.0,
        )
