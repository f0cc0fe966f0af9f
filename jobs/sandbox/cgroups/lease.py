"""The groups that one zone uses: how its processes join, and what its tasks exceeded."""

from collections.abc import Callable

from jobs.sandbox.api import Overrun
from jobs.sandbox.cgroups.discovery import CPU_TIME, MEMORY, PIDS
from jobs.sandbox.cgroups.tree import INIT, SERVER, TASK, Counter, GroupLimits, ZoneGroups


class ZoneLease:
    """Taken out of a pool, to which `give_back` returns it."""

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
