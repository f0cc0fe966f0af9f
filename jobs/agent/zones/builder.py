"""Builds zones in the background, a bounded number at a time, and closes those nobody needs."""

import asyncio
from collections.abc import Callable, Iterable

from jobs.agent.attempt import Attempt
from jobs.agent.counters import Counters
from jobs.agent.furnishing.furnisher import CannotFurnishError, Furnisher, Furniture
from jobs.agent.furnishing.shelf import OverShareError
from jobs.agent.outcome import infrastructure_failure, init_failure, own_fault, unfit_failure
from jobs.agent.zones.groups import Group, IdleZone, excess_idle
from jobs.model.wire import Failure
from jobs.sandbox.api import Sandbox, Zone, ZoneInitError
from manta.core.clock import Clock
from manta.core.errands import give_up, spawn
from manta.core.errors import Conflict, InvalidArgument, MantaError
from manta.core.limits import (
    HEARTBEAT_S,
    ZONE_ACCOUNT_BUILDS_MAX,
    ZONE_BUILDS_MAX,
    ZONE_IDLE_S,
    ZONE_RETRY_S,
    ZONE_SLOW_BUILDS_MAX,
    ZONE_SLOW_S,
    ZONES_IDLE_MAX,
)


class ZoneBuilder:
    """`on_failed` hears of a phase whose zone could not be built, `on_change` of every build that ended."""

    def __init__(
        self,
        sandbox: Sandbox,
        furnisher: Furnisher,
        clock: Clock,
        counters: Counters,
        on_failed: Callable[[Group, Failure], None],
        on_change: Callable[[], None],
    ) -> None:
        self._sandbox = sandbox
        self._furnisher = furnisher
        self._furniture: dict[Zone, Furniture] = {}
        self._clock = clock
        self._counters = counters
        self._on_failed = on_failed
        self._on_change = on_change
        self._begun: list[tuple[float, str]] = []
        """When each zone that is being built was begun, and for which account."""
        self._builds: set[asyncio.Task[None]] = set()
        self._closes: set[asyncio.Task[None]] = set()

    def build_wanted(self, groups: Iterable[Group], lanes: int) -> None:
        """Begin the zones that waiting tasks need."""
        now_s = self._clock.monotonic_s()
        for group in groups:
            while (
                group.wants_zone(lanes, now_s)
                and now_s >= group.retry_at_s
                and self._may_begin(group.spec.tenant, now_s)
            ):
                attempt = next(one for one in reversed(group.waiting) if one not in group.builders)
                group.building += 1
                group.building_since_s = now_s
                self._begun.append((now_s, group.spec.tenant))
                group.builders[attempt] = spawn(self._builds, self._build(group, attempt, now_s))

    def _may_begin(self, tenant: str, now_s: float) -> bool:
        """Zones that are slow to build (a long init) leave room for others, and an account's for other accounts'."""
        young = sum(now_s - begun_s <= ZONE_SLOW_S for begun_s, _ in self._begun)
        own = sum(whose == tenant for _, whose in self._begun)
        return young < ZONE_BUILDS_MAX and own < ZONE_ACCOUNT_BUILDS_MAX and len(self._begun) < ZONE_SLOW_BUILDS_MAX

    def close(self, zone: Zone) -> None:
        spawn(self._closes, self._close(zone))

    def give_up(self, group: Group) -> None:
        """Nothing waits for the zones that are being built: their init ends with them (J6)."""
        for build in group.builders.values():
            build.cancel()

    def close_idle(self, group: Group) -> None:
        for entry in group.idle:
            self.close(entry.zone)
        group.idle.clear()

    def close_excess(self, groups: Iterable[Group]) -> None:
        """Close zones that idle too long, or that are too many."""
        for zone in excess_idle(groups, self._clock.monotonic_s(), ZONES_IDLE_MAX, ZONE_IDLE_S):
            self.close(zone)

    async def end(self, groups: Iterable[Group]) -> None:
        """Give up what is being built, and end every idle zone."""
        await give_up(self._builds)
        for group in groups:
            self.close_idle(group)
        await asyncio.gather(*self._closes, return_exceptions=True)

    async def _build(self, group: Group, attempt: Attempt, begun_s: float) -> None:
        """In the name of a waiting attempt, with whose rights the zone is furnished."""
        try:
            zone = await self._open(group, attempt)
        except (CannotFurnishError, ZoneInitError, InvalidArgument) as error:
            self._failed(group, init_failure(str(error)))
        except Conflict:  # the attempt ended elsewhere meanwhile: the others', if there are any, build theirs
            group.retry_at_s = self._clock.monotonic_s() + HEARTBEAT_S
        except OverShareError as error:
            self._failed(group, unfit_failure(error.message))
        except MantaError as error:
            self._failed(group, infrastructure_failure(error.message))
        except Exception as error:
            self._failed(group, own_fault(error))
        else:
            self._counters.zones_built += 1
            group.refusal = None
            group.idle.append(IdleZone(zone, self._clock.monotonic_s()))
        finally:
            group.building -= 1
            del group.builders[attempt]
            self._begun.remove((begun_s, group.spec.tenant))
            self._on_change()

    async def _open(self, group: Group, attempt: Attempt) -> Zone:
        furniture = await self._furnisher.furnish(group.spec, attempt.ref)
        try:
            zone = await self._sandbox.open_zone(group.zone_spec(furniture))
        except BaseException:
            furniture.release()
            raise
        self._furniture[zone] = furniture
        return zone

    async def _close(self, zone: Zone) -> None:
        try:
            await zone.close()
        finally:
            self._furniture.pop(zone).release()

    def _failed(self, group: Group, failure: Failure) -> None:
        group.refusal = failure
        group.retry_at_s = self._clock.monotonic_s() + ZONE_RETRY_S
        self._on_failed(group, failure)
