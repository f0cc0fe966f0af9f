"""The zones of one (job, phase): built in the background, each running one task at a time, closed when long idle."""

import asyncio
import itertools
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from math import inf

from jobs.agent.attempt import Attempt
from jobs.agent.furnishing.furnisher import Furniture
from jobs.agent.zones.environment import zone_environment
from jobs.model.wire import Failure, PhaseSpec
from jobs.sandbox.api import Zone, ZoneSpec
from manta.core.limits import HANDED_BACK_S, STARVED_S, ZONE_SLOW_S


@dataclass(slots=True)
class IdleZone:
    zone: Zone
    since_s: float


@dataclass(slots=True, eq=False)
class Group:
    """The waiting tasks of one phase of one job, and its zones. `refusal` answers tasks while no zone can be built."""

    spec: PhaseSpec
    environment: dict[str, str] = field(init=False)
    waiting: deque[Attempt] = field(default_factory=deque)
    idle: list[IdleZone] = field(default_factory=list)
    busy: int = 0
    building: int = 0
    building_since_s: float = 0.0
    builders: dict[Attempt, "asyncio.Task[None]"] = field(default_factory=dict)
    """The waiting attempts in whose name zones are being built, and the work on each."""
    refusal: Failure | None = None
    retry_at_s: float = 0.0
    starved_since_s: float | None = None
    """Since when it has a zone and a task for it, and the node no room."""
    handed_back_s: float = -inf
    """When tasks of it were last handed back."""
    numbers: "itertools.count[int]" = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        self.environment = zone_environment(self.spec)

    @property
    def zones(self) -> int:
        return len(self.idle) + self.busy + self.building

    def is_blocked(self, now_s: float) -> bool:
        """Whether nothing can run because the first zone takes long to build."""
        return self.building > 0 and not self.idle and not self.busy and now_s - self.building_since_s > ZONE_SLOW_S

    def has_use(self, now_s: float) -> bool:
        """Whether tasks of it run or wait here, or did until they were handed back a moment ago. Idle zones alone say
        nothing: the job may have come to its next phase, which needs less."""
        return bool(self.waiting or self.busy) or now_s - self.handed_back_s < HANDED_BACK_S

    def zones_soon(self, now_s: float) -> int:
        """Zones that a waiting task has, or will have in a moment."""
        is_slow = now_s - self.building_since_s > ZONE_SLOW_S
        return len(self.idle) + (0 if is_slow else self.building)

    def wants_zone(self, lanes: int, now_s: float) -> bool:
        """Whether one more zone would have something to do, and the first is not slow to build."""
        return self.zones < min(lanes, len(self.waiting) + self.busy) and not self.is_blocked(now_s)

    def is_starved(self, now_s: float) -> bool:
        """Whether it has waited long for room, while others use the node."""
        return not self.busy and self.lacks_room_since(now_s - STARVED_S)

    def lacks_room_since(self, before_s: float) -> bool:
        """Whether it has found no room from then on, at least."""
        return self.starved_since_s is not None and self.starved_since_s < before_s

    def zone_spec(self, furniture: Furniture) -> ZoneSpec:
        """Of one more zone; with an image the tasks' environment is that of the image which this zone has."""
        spec = self.spec
        if furniture.image is not None:
            self.environment = zone_environment(spec, furniture.image)
        return ZoneSpec(
            name=f"{spec.job_id}-{spec.phase}-{next(self.numbers)}",
            tenant=spec.tenant,
            memory_bytes=spec.memory_bytes,
            scratch_bytes=spec.scratch_bytes,
            init=_joined(furniture.init, spec.init),
            env=self.environment,
            cpus=spec.cpus,
            assets=furniture.assets,
            files=furniture.files,
            image=str(furniture.image.root) if furniture.image is not None else None,
        )


def _joined(first: str | None, then: str | None) -> str | None:
    """One command for both; the second sees how the first ended only by running."""
    return f"{first} || exit 1\n{then}" if first and then else first or then


def excess_idle(groups: Iterable[Group], now_s: float, keep: int, idle_s: float) -> list[Zone]:
    """Idle zones to close, taken out of their groups: those unused for `idle_s`, and the longest idle beyond `keep`."""
    idle = sorted(
        ((group, entry) for group in groups for entry in group.idle), key=lambda pair: pair[1].since_s, reverse=True
    )
    closing = []
    for position, (group, entry) in enumerate(idle):
        if position >= keep or now_s - entry.since_s > idle_s:
            group.idle.remove(entry)
            closing.append(entry.zone)
    return closing
