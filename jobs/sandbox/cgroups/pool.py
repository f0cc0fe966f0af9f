"""The node's control groups: one set per open zone, reused by the next, all removed at the end and after a crash."""

import asyncio
import itertools
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from jobs.sandbox.api import Overrun
from jobs.sandbox.cgroups.discovery import (
    CPU_TIME,
    MEMORY,
    PIDS,
    SETTLED,
    Place,
    Survey,
    base_folder,
    own_processes,
    processes,
    survey,
)
from jobs.sandbox.cgroups.tree import (
    INIT,
    SERVER,
    TASK,
    Counter,
    Dialect,
    GroupLimits,
    ZoneGroups,
    remove_tree,
    write,
)
from jobs.sandbox.cgroups.v1 import Version1
from jobs.sandbox.cgroups.v2 import Version2
from manta.core.errors import SandboxUnavailable

DIALECTS: Final[dict[int, Dialect]] = {1: Version1(), 2: Version2()}
_REMOVE_TRIES: Final = 400
_REMOVE_PAUSE_S: Final = 0.01
_LOOK_S: Final = 0.1
"""How often running tasks' counters are looked at: v1 tells of a refused fork by no event."""
_sequence = itertools.count()


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose a folder of groups is, as its name says: a process of a pid namespace, by its number and start time."""

    tag: str
    namespace: int
    pid: int
    started: int

    @classmethod
    def own(cls, tag: str) -> "Owner":
        return cls(tag, Path("/proc/self/ns/pid").stat().st_ino, os.getpid(), _start_of(os.getpid()))

    @classmethod
    def of(cls, name: str) -> "Owner | None":
        words = name.split(".")
        if len(words) != 6 or words[0] != "manta" or not all(word.isdecimal() for word in words[2:]):
            return None
        return cls(words[1], *map(int, words[2:5]))

    def name(self, number: int) -> str:
        return f"manta.{self.tag}.{self.namespace}.{self.pid}.{self.started}.{number}"

    def is_dead(self, other: "Owner") -> bool:
        """Whether `other` is gone; one of another pid namespace can only be judged if it was this very node."""
        if other.namespace == self.namespace:
            return _start_of(other.pid) != other.started
        return other.tag == self.tag


def _start_of(pid: int) -> int:
    """In clock ticks since boot, so that a pid used again is told apart (proc(5)); 0 when there is none."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except OSError:
        return 0


class ZoneLease:
    """The groups that one zone uses: how its processes join, and what its tasks exceeded."""

    def __init__(self, groups: list[ZoneGroups], pool: "list[ZoneLease]") -> None:
        self.groups = groups
        self._pool = pool
        self.limits: GroupLimits | None = None
        self.on_overrun: Callable[[Overrun], None] | None = None
        self.server_joins = [group.joins[SERVER] for group in groups]
        self.task_join = next((group.joins[TASK] for group in groups if TASK in group.joins), -1)
        self.init_join = next((group.joins[INIT] for group in groups if INIT in group.joins), -1)
        self.oom_kills: list[Counter] = []
        self.refused_forks: list[Counter] = []
        self._cpu_times: list[tuple[Counter, float]] = []
        for group in groups:
            self._watch(group)

    def overrun(self) -> Overrun | None:
        """What the running task exceeded so far."""
        if any(counter.grown() for counter in self.oom_kills):
            return Overrun.MEMORY
        return Overrun.PIDS if any(counter.grown() for counter in self.refused_forks) else None

    def settle(self) -> tuple[Overrun | None, float | None]:
        """At a task's end: what it exceeded, and the cpu time it used in seconds, if known; counting starts anew."""
        killed = sum([counter.take() for counter in self.oom_kills])
        refused = sum([counter.take() for counter in self.refused_forks])
        cpu_s = sum([counter.take() * unit for counter, unit in self._cpu_times]) if self._cpu_times else None
        return (Overrun.MEMORY if killed else Overrun.PIDS if refused else None), cpu_s

    def limit(self, limits: GroupLimits) -> None:
        if limits != self.limits:
            self.limits = None
            for group in self.groups:
                group.limit(limits)
            self.limits = limits

    def give_back(self) -> None:
        """When the zone's processes are killed; they may still be dying."""
        self.on_overrun = None
        self._pool.append(self)

    def close(self) -> None:
        for counter in (*self.oom_kills, *self.refused_forks, *(counter for counter, _ in self._cpu_times)):
            counter.close()
        for group in self.groups:
            group.close()

    def _watch(self, group: ZoneGroups) -> None:
        dialect, folder = group.dialect, group.folder
        watched = [path for path in group.leaves if path.name != SERVER]
        if MEMORY in group.controllers:
            name, key = dialect.oom_kills
            self.oom_kills += [Counter(leaf / name, key) for leaf in watched]
        if PIDS in group.controllers:
            folders = {dialect.pids_folder(folder, leaf) for leaf in watched} or {folder}
            self.refused_forks += [Counter(path / "pids.events", "max") for path in folders]
        if CPU_TIME in group.controllers:
            name, key, unit = dialect.cpu_time
            self._cpu_times.append((Counter(folder / name, key), unit))


class ControlGroups:
    """Made at a node's start with what the machine allows, perhaps nothing. Runs on the event loop it was made on."""

    def __init__(self, tag: str, found: Survey | None = None) -> None:
        self._survey = survey() if found is None else found
        self._owner = Owner.own(tag)
        self._folders: dict[Path, Place] = {}
        self._settled: list[Path] = []
        self._free: list[ZoneLease] = []
        self._all: list[ZoneLease] = []
        self._numbers = itertools.count()
        self._looking: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()

    @property
    def holds(self) -> frozenset[str]:
        return self._survey.holds

    @property
    def survey(self) -> Survey:
        return self._survey

    async def open(self) -> None:
        """Removes what a dead node left, makes this node's folders; SandboxUnavailable when that fails after all."""
        name = self._owner.name(next(_sequence))
        try:
            for place in self._survey.places:
                await self._remove_stale(base_folder(place))
                folder = self._settle(place) / name
                folder.mkdir()
                self._folders[folder] = place
                if place.version == 2:
                    DIALECTS[2].hand_down(folder, place.controllers - {CPU_TIME})
        except OSError as error:
            await self.close()
            raise SandboxUnavailable(f"The node's control groups cannot be made: {error}.") from None

    def lease(self, limits: GroupLimits) -> ZoneLease | None:
        """Groups for one zone, with nobody in them; None where there are none to be had at all, OSError on failure."""
        if not self._folders:
            return None
        lease = self._emptied(limits) or self._made(limits)
        lease.settle()
        if self._looking is None:
            self._look()
        return lease

    async def close(self) -> None:
        """Removes every group of this node; what cannot be removed now is removed at the next start."""
        if self._looking is not None:
            self._looking.cancel()
        for lease in self._all:
            lease.close()
        self._all.clear()
        self._free.clear()
        for folder in self._folders:
            await _remove(folder)
        self._folders.clear()
        for base in self._settled:
            self._unsettle(base)
        self._settled.clear()

    def _emptied(self, limits: GroupLimits) -> ZoneLease | None:
        for place, lease in enumerate(self._free):
            if all(group.is_empty() for group in lease.groups):
                with suppress(OSError):  # EBUSY: pages of the last zone are still there
                    lease.limit(limits)
                    return self._free.pop(place)
        return None

    def _made(self, limits: GroupLimits) -> ZoneLease:
        name = f"zone-{next(self._numbers)}"
        groups = [
            ZoneGroups(folder / name, place.controllers, DIALECTS[place.version])
            for folder, place in self._folders.items()
        ]
        lease = ZoneLease(groups, self._free)
        lease.limit(limits)
        self._all.append(lease)
        return lease

    def _look(self) -> None:
        """Ends tasks that exceed a limit and go on: a pipeline of which one process was killed, a fork bomb."""
        is_used = len(self._free) < len(self._all)
        self._looking = self._loop.call_later(_LOOK_S, self._look) if is_used else None
        for lease in self._all:
            overrun = lease.overrun() if lease.on_overrun is not None else None
            if overrun is not None and lease.on_overrun is not None:
                lease.on_overrun(overrun)

    async def _remove_stale(self, base: Path) -> None:
        for folder in [path for path in base.iterdir() if path.is_dir()]:
            owner = Owner.of(folder.name)
            if owner is not None and self._owner.is_dead(owner):
                await _remove(folder)

    def _settle(self, place: Place) -> Path:
        """The folder to make groups in; in v2, once its controllers are handed down, for which it must be empty."""
        base = base_folder(place)
        if place.version == 2:
            wanted = place.controllers - {CPU_TIME}
            handed = set((base / "cgroup.subtree_control").read_text().split())
            if wanted - handed:
                if base == place.folder and (base / "cgroup.type").exists():
                    make_room(base)
                    self._settled.append(base)
                DIALECTS[2].hand_down(base, wanted - handed)
        return base

    def _unsettle(self, base: Path) -> None:
        """Undoes make_room, unless others live by it by now."""
        with suppress(OSError):
            handed = (base / "cgroup.subtree_control").read_text().split()
            write(base / "cgroup.subtree_control", " ".join(f"-{name}" for name in handed))
            for pid in set(processes(base / SETTLED)) & own_processes():
                write(base / "cgroup.procs", str(pid))
            (base / SETTLED).rmdir()


def make_room(base: Path) -> None:
    """Moves this process and its children from `base` into a leaf of it: v2 has limits only where no processes are."""
    leaf = base / SETTLED
    leaf.mkdir(exist_ok=True)
    for pid in set(processes(base)) & own_processes():
        with suppress(ProcessLookupError):
            write(leaf / "cgroup.procs", str(pid))


async def _remove(folder: Path) -> None:
    """Waits, for a few seconds at most, until the last processes in it are dead."""
    for _ in range(_REMOVE_TRIES):
        try:
            return remove_tree(folder)
        except OSError:
            await asyncio.sleep(_REMOVE_PAUSE_S)
    return None
