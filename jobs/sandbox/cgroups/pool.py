"""The node's control groups: one set per open zone, reused by the next, all removed at the end and after a crash."""

import asyncio
import itertools
import os
from contextlib import suppress
from pathlib import Path
from typing import Final

from jobs.sandbox.cgroups.discovery import CPU, CPU_TIME, Place, Survey, base_folder, survey
from jobs.sandbox.cgroups.lease import ZoneLease
from jobs.sandbox.cgroups.room import give_up_room, make_room
from jobs.sandbox.cgroups.tree import Dialect, GroupLimits, ZoneGroups, kill_tree, remove_tree
from jobs.sandbox.cgroups.v1 import Version1
from jobs.sandbox.cgroups.v2 import Version2
from manta.core.errors import SandboxUnavailable
from manta.core.owner import Owner

DIALECTS: Final[dict[int, Dialect]] = {1: Version1(), 2: Version2()}
_REMOVE_TRIES: Final = 400
_REMOVE_PAUSE_S: Final = 0.01
_LOOK_S: Final = 0.1
"""How often running tasks' counters are looked at: v1 tells of a refused fork by no event."""
_sequence = itertools.count()


class ControlGroups:
    """Made at a node's start with what the machine allows, perhaps nothing. Runs on the event loop it was made on."""

    def __init__(self, tag: str, found: Survey | None = None) -> None:
        self._survey = survey() if found is None else found
        self._owner = Owner.own(tag)
        self._folders: dict[Path, Place] = {}
        self._moved: list[Path] = []
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
                if place.version == 2 and make_room(place):
                    self._moved.append(place.folder)
                folder = base_folder(place) / name
                folder.mkdir()
                self._folders[folder] = place
                if place.version == 2:
                    DIALECTS[2].hand_down(folder, place.controllers - {CPU_TIME})
                if CPU in place.controllers:  # else all zones together would weigh as one process beside the node's own
                    DIALECTS[place.version].weigh(folder, os.cpu_count() or 1)
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
        for base in self._moved:
            give_up_room(base)
        self._moved.clear()

    def _emptied(self, limits: GroupLimits) -> ZoneLease | None:
        for place, lease in enumerate(self._free):
            if all(group.is_empty() for group in lease.groups):
                with suppress(OSError):  # EBUSY: pages of the last zone are still there
                    lease.limit(limits)
                    return self._free.pop(place)
        return None

    def _made(self, limits: GroupLimits) -> ZoneLease:
        name = f"zone-{next(self._numbers)}"
        groups: list[ZoneGroups] = []
        try:
            for folder, place in self._folders.items():
                groups.append(ZoneGroups(folder / name, place.controllers, DIALECTS[place.version]))
            lease = ZoneLease(groups, self._free)
            lease.limit(limits)
        except OSError:
            for group in groups:
                group.close()
            raise
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
                kill_tree(folder)
                await _remove(folder)


async def _remove(folder: Path) -> None:
    """Waits, for a few seconds at most, until the last processes in it are dead."""
    for _ in range(_REMOVE_TRIES):
        try:
            return remove_tree(folder)
        except OSError:
            await asyncio.sleep(_REMOVE_PAUSE_S)
    return None
