"""The tasks that run now, each from its start, as lanes, zones and room allow, until what it made is handed over."""

import asyncio
from collections.abc import Callable

from jobs.agent.attempt import Attempt, Stage
from jobs.agent.counters import Counters
from jobs.agent.lanes.held import HeldAttempts, TaskRunner
from jobs.agent.lanes.pace import Pace
from jobs.agent.lanes.row import Row
from jobs.agent.outcome import infrastructure_failure, own_fault
from jobs.agent.resources import Resources
from jobs.agent.tasks.ended import Ended
from jobs.agent.tasks.runner import ZoneBroken
from jobs.agent.zones.builder import ZoneBuilder
from jobs.agent.zones.groups import Group, IdleZone
from jobs.model.wire import AttemptRef
from jobs.sandbox.api import Zone
from manta.core.clock import Clock
from manta.core.errands import spawn
from manta.core.limits import FINISHING_MAX


class RunningTasks:
    """One in each lane at most, one more in reserve (J8). `row` says whose turn it is, `on_change` hears of ends."""

    def __init__(
        self,
        resources: Resources,
        runner: TaskRunner,
        row: Row,
        held: HeldAttempts,
        builder: ZoneBuilder,
        clock: Clock,
        counters: Counters,
        on_change: Callable[[], None],
    ) -> None:
        self.lanes = resources.lanes
        self.pace = Pace(resources.lanes)
        self._resources = resources
        self._runner = runner
        self._row = row
        self._held = held
        self._builder = builder
        self._clock = clock
        self._counters = counters
        self._on_change = on_change
        self.in_lanes = 0
        self._reserved: Attempt | None = None
        self._started: dict[AttemptRef, Attempt] = {}
        self._finishing = 0
        """Those whose processes are dead, and whose output is being stored."""
        self._jobs: set[asyncio.Task[None]] = set()
        self._closing = False

    @property
    def count(self) -> int:
        return self.in_lanes + (self._reserved is not None)

    @property
    def free_lanes(self) -> int:
        return self.lanes - self.in_lanes

    @property
    def may_start(self) -> bool:
        """Whether a lane that comes free is used."""
        return self._finishing < FINISHING_MAX and not self._closing

    @property
    def may_reserve(self) -> bool:
        return self._reserved is None and not self._closing

    def refs(self) -> tuple[AttemptRef, ...]:
        return tuple(self._started)

    def youngest_s(self) -> float:
        """How long all lanes are busy with what runs now; 0 while one is free."""
        if self.free_lanes > 0:
            return 0.0
        now_s = self._clock.monotonic_s()
        return min((now_s - one.since_s for one in self._started.values()), default=0.0)

    def start_next(self) -> None:
        """Start whatever can be started."""
        if not self._closing:
            self._builder.build_wanted(self._row.groups, self.lanes)
        now_s = self._clock.monotonic_s()
        if self._reserved is not None and self.free_lanes > 0 and self._row.holder(now_s) is None:
            self._reserved = None  # it has a lane of its own now, and the one in reserve is free again
            self.in_lanes += 1
        while self.free_lanes > 0 and self.may_start:
            group = self._row.in_turn(now_s)
            if group is None:
                break
            self._start(group)
        holder = self._row.holder(now_s) if self.free_lanes > 0 else None
        if (self.free_lanes <= 0 or holder is not None) and self._row.waiting and self.may_reserve:
            group = self._row.for_reserve(now_s, holder)
            if group is not None:
                self._start(group, reserved=True)

    def stop(self, attempt: Attempt) -> None:
        """Of one that is lost: kill its task, or give up storing what it made."""
        if attempt.stage is Stage.RUNNING:
            spawn(self._jobs, attempt.kill())
        elif attempt.stage is Stage.FINISHING and attempt.worker is not None:
            attempt.worker.cancel()

    def close(self) -> None:
        """Start nothing any more."""
        self._closing = True

    async def ended(self) -> None:
        while self._jobs:
            await asyncio.gather(*self._jobs, return_exceptions=True)

    def _start(self, group: Group, *, reserved: bool = False) -> None:
        attempt = self._row.take(group)
        zone = group.idle.pop().zone
        self._resources.take(group.spec)
        if reserved:
            self._reserved = attempt
        else:
            self.in_lanes += 1
        group.busy += 1
        attempt.stage, attempt.since_s = Stage.RUNNING, self._clock.monotonic_s()
        self._started[attempt.ref] = attempt
        attempt.worker = spawn(self._jobs, self._run(group, zone, attempt))

    async def _run(self, group: Group, zone: Zone, attempt: Attempt) -> None:
        ended: Ended | None = None
        try:
            ended = await self._runner.run(attempt, zone, group.environment)
        except ZoneBroken as error:
            self._counters.zones_broken += 1
            self._held.refuse(attempt, infrastructure_failure(f"The sandbox broke while the task ran: {error}"))
        except Exception as error:
            self._held.refuse(attempt, own_fault(error))
        finally:
            self._leave(group, zone, attempt, ended)
        try:
            if ended is not None:
                await self._held.finish(attempt, ended)
        finally:
            self._finishing -= 1
            self._held.forget(attempt)
            if self._row.waiting and self.free_lanes > 0:
                self.start_next()

    def _leave(self, group: Group, zone: Zone, attempt: Attempt, ended: Ended | None) -> None:
        """Its processes are dead, or its zone is broken: the lane is the next one's."""
        reserved = self._reserved is attempt
        if reserved:
            self._reserved = None
        else:
            self.in_lanes -= 1
        group.busy -= 1
        self._resources.give_back(group.spec)
        if ended is None or self._closing:
            self._builder.close(zone)
        else:
            group.idle.append(IdleZone(zone, self._clock.monotonic_s()))
            if ended.end is not None and not reserved:  # or a small job's tasks would make long ones be hoarded
                self.pace.learn(ended.end.wall_s)
        del self._started[attempt.ref]
        self._finishing += 1
        attempt.stage = Stage.FINISHING
        self.start_next()
        self._on_change()
