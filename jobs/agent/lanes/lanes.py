"""Lanes: which waiting task runs next, in which zone. Jobs take turns, and a slow zone build holds nobody else up."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Protocol

from jobs.agent.attempt import Attempt, Stage
from jobs.agent.counters import Counters
from jobs.agent.furnishing.furnisher import Furnisher
from jobs.agent.outcome import infrastructure_failure, own_fault, unfit_failure
from jobs.agent.resources import Resources
from jobs.agent.tasks.runner import Ended, ZoneBroken
from jobs.agent.zones.builder import ZoneBuilder
from jobs.agent.zones.groups import Group, IdleZone
from jobs.model.resources import Capacity
from jobs.model.wire import AttemptRef, Failure, TaskResult, Usage
from jobs.sandbox.api import Sandbox, Zone
from manta.core.clock import Clock
from manta.core.limits import (
    FINISHING_MAX,
    HAND_BACK_S,
    LEASE_BATCH_MAX,
    PREFETCH_S,
    WAITING_MAX,
)

_SMOOTHING = 0.2


class TaskRunner(Protocol):
    def prepare(self, attempts: Sequence[Attempt]) -> None: ...

    async def run(self, attempt: Attempt, zone: Zone, environment: dict[str, str]) -> Ended: ...

    async def finish(self, attempt: Attempt, ended: Ended) -> TaskResult: ...

    async def abandon(self, attempt: Attempt, ended: Ended) -> None: ...


class Lanes:
    """Up to `count` tasks side by side, and one more in reserve for a job that has none running (J8).

    No more run than the node has resources for; a task that finds no room long enough has the next that comes free.
    `on_result` takes each result, `on_change` hears that there may be room.
    """

    def __init__(
        self,
        resources: Resources,
        sandbox: Sandbox,
        furnisher: Furnisher,
        runner: TaskRunner,
        clock: Clock,
        counters: Counters,
        on_result: Callable[[Attempt, TaskResult], None],
        on_change: Callable[[], None],
    ) -> None:
        self.count = resources.lanes
        self._resources = resources
        self._runner = runner
        self._clock = clock
        self._counters = counters
        self._on_result = on_result
        self._on_change = on_change
        self._groups: dict[tuple[str, int], Group] = {}
        self._attempts: dict[AttemptRef, Attempt] = {}
        self._started: dict[AttemptRef, Attempt] = {}
        """Those that run now."""
        self._running = 0
        self._waiting = 0
        self._reserved: Attempt | None = None
        self._finishing = 0
        self._task_s: float | None = None
        self._jobs: set[asyncio.Task[None]] = set()
        self._builder = ZoneBuilder(sandbox, furnisher, clock, counters, self._build_failed, self._zones_changed)
        self._closing = False
        self.unavailable: str | None = None
        """Why no sandbox can be built on this node at all; every task is refused with it then."""

    @property
    def capacity(self) -> Capacity:
        return self._resources.capacity

    # -- what the link asks ------------------------------------------------------------------------------------------

    @property
    def running(self) -> int:
        return self._running + (self._reserved is not None)

    @property
    def reserve_wanted(self) -> bool:
        """Whether every lane is busy and the one in reserve is not."""
        free = self._reserved is None and not self._closing and self.unavailable is None
        return free and self._running + self._waiting >= self.count and not self._idle_groups()

    @property
    def waiting(self) -> int:
        return self._waiting

    @property
    def zones(self) -> int:
        return sum(group.zones for group in self._groups.values())

    @property
    def prefetch(self) -> int:
        """Tasks to hold beyond the running ones: work for about PREFETCH_S; none when tasks take longer than that."""
        task_s = self._expected_s()
        most = WAITING_MAX if self._task_s is not None else self.count
        return min(most, int(self.count * PREFETCH_S / max(task_s, 0.001)))

    def _expected_s(self) -> float:
        """How long tasks take: as those that ended did, but no less than all that run now have taken already."""
        known_s = self._task_s or 0.0
        if self._running < self.count:
            return known_s
        now_s = self._clock.monotonic_s()
        return max(known_s, min((now_s - one.since_s for one in self._started.values()), default=0.0))

    def room(self) -> int:
        """How many more tasks are welcome now."""
        if self._closing or self._finishing >= FINISHING_MAX:
            return 0
        runnable = self._running + self._waiting - self.blocked()
        return max(0, min(LEASE_BATCH_MAX, self.count + self.prefetch - runnable, WAITING_MAX - self._waiting))

    def blocked(self) -> int:
        """Tasks whose zone takes long to build, or that find no room: others are welcome meanwhile."""
        now_s = self._clock.monotonic_s()
        return sum(len(group.waiting) for group in self._groups.values() if self._is_blocked(group, now_s))

    def queued(self) -> tuple[tuple[str, int, int], ...]:
        """(job, phase, how many) that wait for a lane. Those that a free lane is there for count as running."""
        free = max(0, self.count - self._running)
        found: list[tuple[str, int, int]] = []
        for (job_id, phase), group in self._groups.items():
            starting = min(free, len(group.waiting))
            free -= starting
            if len(group.waiting) > starting:
                found.append((job_id, phase, len(group.waiting) - starting))
        return tuple(found)

    def blocked_jobs(self) -> tuple[str, ...]:
        """Jobs of which no more tasks are wanted before a zone of theirs is built, or there is room for one."""
        now_s = self._clock.monotonic_s()
        return tuple({job_id for (job_id, _), group in self._groups.items() if self._is_blocked(group, now_s)})

    def _is_blocked(self, group: Group, now_s: float) -> bool:
        """While every lane is busy it is the lanes that a task waits for."""
        lacks_room = bool(group.waiting or group.zones) and not self._resources.fits(group.spec)
        return group.is_blocked(now_s) or (self._running < self.count and lacks_room)

    def hand_back(self) -> list[AttemptRef]:
        """Take out what has waited for a lane too long. A zone that is being built keeps those in whose name it is."""
        before_s = self._clock.monotonic_s() - HAND_BACK_S
        found: list[AttemptRef] = []
        for group in self._groups.values():
            late = [one for one in group.waiting if one.since_s < before_s and one not in group.builders]
            if group.starved_since_s is not None and not group.busy:
                late = late[1:]  # the next room is kept for it
            for attempt in late:
                group.waiting.remove(attempt)
                self._waiting -= 1
                del self._attempts[attempt.ref]
                found.append(attempt.ref)
        return found

    def started(self) -> tuple[AttemptRef, ...]:
        """Attempts whose task runs."""
        return tuple(self._started)

    @property
    def idle(self) -> int:
        """Lanes that nothing waits for."""
        return max(0, self.count - self._running - self._waiting)

    @property
    def hungry(self) -> bool:
        """Whether a lane has nothing to do: results are reported at once then, since they may make work."""
        return self._running + self._waiting < self.count

    def works_for(self, job_id: str) -> bool:
        """Whether a task of that job runs here or waits to."""
        return any(key[0] == job_id and (group.waiting or group.busy) for key, group in self._groups.items())

    def attempts(self) -> list[Attempt]:
        """Every attempt from its lease to the handing over of its result."""
        return list(self._attempts.values())

    def add(self, attempts: Sequence[Attempt]) -> None:
        """Take in newly leased attempts; what can be started is started."""
        new = [attempt for attempt in attempts if attempt.ref not in self._attempts]
        if self.unavailable is None:
            self._runner.prepare(new)
        for attempt in new:
            self._queue(attempt)
        self.dispatch()

    def _queue(self, attempt: Attempt) -> None:
        group = self._groups.get(attempt.group)
        if group is None:
            group = self._groups[attempt.group] = Group(attempt.spec)
        attempt.since_s = self._clock.monotonic_s()
        self._attempts[attempt.ref] = attempt
        group.waiting.append(attempt)
        self._waiting += 1
        if self.unavailable is not None:
            self._refuse_waiting(group, infrastructure_failure(self.unavailable))
        elif (shortage := self._resources.capacity.shortage(attempt.spec)) is not None:
            self._refuse_waiting(group, unfit_failure(shortage))
        elif group.refusal is not None and self._clock.monotonic_s() < group.retry_at_s and not group.zones:
            self._refuse_waiting(group, group.refusal)

    def lose(self, ref: AttemptRef) -> None:
        """The lease is gone: end the attempt and forget it."""
        attempt = self._attempts.get(ref)
        if attempt is None or attempt.lost:
            return
        attempt.lost = True
        self._counters.tasks_lost += 1
        if attempt.stage is Stage.WAITING:
            group = self._groups[attempt.group]
            group.waiting.remove(attempt)
            if not group.waiting:
                self._builder.give_up(group)
            self._waiting -= 1
            del self._attempts[ref]
        elif attempt.stage is Stage.RUNNING:
            self._start(attempt.kill())
        elif attempt.stage is Stage.FINISHING and attempt.worker is not None:
            attempt.worker.cancel()

    def forget_job(self, job_id: str) -> None:
        """The job has ended: nothing of it will be leased again."""
        for key in [key for key in self._groups if key[0] == job_id]:
            self._builder.close_idle(self._groups[key])
            self._drop_if_empty(key)

    def trim(self) -> None:
        """Close zones that idle too long, and groups without zones and tasks."""
        self._builder.close_excess(self._groups.values())
        for key in list(self._groups):
            self._drop_if_empty(key)

    # -- running -----------------------------------------------------------------------------------------------------

    def dispatch(self) -> None:
        """Start whatever can be started."""
        if not self._closing:
            self._builder.build_wanted(self._groups.values(), self.count)
        if self._reserved is not None and self._running < self.count:
            self._reserved = None  # it has a lane of its own now, and the one in reserve is free again
            self._running += 1
        while self._running < self.count and self._finishing < FINISHING_MAX and not self._closing:
            group_or_none = self._next_group()
            if group_or_none is None:
                break
            self._start_task(group_or_none)
        if self._running >= self.count and self._waiting and self._reserved is None and not self._closing:
            group_or_none = next((group for group in self._idle_groups() if group.idle and self._has_room(group)), None)
            if group_or_none is not None:
                self._start_task(group_or_none, reserved=True)

    async def close(self) -> None:
        """Kill what runs and end every zone."""
        self._closing = True
        for attempt in self.attempts():
            self.lose(attempt.ref)
        while self._jobs:
            await asyncio.gather(*self._jobs, return_exceptions=True)
        await self._builder.end(self._groups.values())
        self._groups.clear()

    def _next_group(self) -> Group | None:
        """The first phase in turn that has a task, a zone for it, and room to run it; it goes to the end of the row."""
        for key, group in self._groups.items():
            if not group.waiting or not group.idle:
                group.starved_since_s = None
            elif self._has_room(group):
                del self._groups[key]
                self._groups[key] = group
                return group
            elif group.is_starved(self._clock.monotonic_s()):
                return None
        return None

    def _has_room(self, group: Group) -> bool:
        if self._resources.fits(group.spec):
            group.starved_since_s = None
            return True
        if group.starved_since_s is None:
            group.starved_since_s = self._clock.monotonic_s()
        return False

    def _idle_groups(self) -> list[Group]:
        """Phases with waiting tasks, of jobs that have none running here."""
        running = {job_id for (job_id, _), group in self._groups.items() if group.busy}
        return [group for (job_id, _), group in self._groups.items() if group.waiting and job_id not in running]

    def _start_task(self, group: Group, *, reserved: bool = False) -> None:
        attempt = group.waiting.popleft()
        zone = group.idle.pop().zone
        self._resources.take(group.spec)
        self._waiting -= 1
        if reserved:
            self._reserved = attempt
        else:
            self._running += 1
        group.busy += 1
        attempt.stage, attempt.since_s = Stage.RUNNING, self._clock.monotonic_s()
        self._started[attempt.ref] = attempt
        attempt.worker = self._start(self._run(group, zone, attempt))

    async def _run(self, group: Group, zone: Zone, attempt: Attempt) -> None:
        ended: Ended | None = None
        try:
            ended = await self._runner.run(attempt, zone, group.environment)
        except ZoneBroken as error:
            self._counters.zones_broken += 1
            self._refuse(attempt, infrastructure_failure(f"The sandbox broke while the task ran: {error}"))
        except Exception as error:
            self._refuse(attempt, own_fault(error))
        finally:
            if self._reserved is attempt:
                self._reserved = None
            else:
                self._running -= 1
            group.busy -= 1
            self._resources.give_back(group.spec)
            if ended is None or self._closing:
                self._builder.close(zone)
            else:
                group.idle.append(IdleZone(zone, self._clock.monotonic_s()))
                self._learn(ended)
            del self._started[attempt.ref]
            self._finishing += 1
            attempt.stage = Stage.FINISHING
            self.dispatch()
            self._on_change()
        try:
            if ended is not None:
                await self._finish(attempt, ended)
        finally:
            self._finishing -= 1
            self._attempts.pop(attempt.ref, None)
            if self._waiting and self._running < self.count:
                self.dispatch()

    async def _finish(self, attempt: Attempt, ended: Ended) -> None:
        if not attempt.lost:
            try:
                result = await self._runner.finish(attempt, ended)
            except asyncio.CancelledError:
                if not attempt.lost:
                    raise
            except Exception as error:
                self._refuse(attempt, own_fault(error))
                return
        if attempt.lost:
            await self._runner.abandon(attempt, ended)
        else:
            self._hand_over(attempt, result)

    def _hand_over(self, attempt: Attempt, result: TaskResult) -> None:
        self._attempts.pop(attempt.ref, None)
        attempt.stage = Stage.UNREPORTED
        self._on_result(attempt, result)

    def _refuse(self, attempt: Attempt, failure: Failure) -> None:
        """A result for an attempt that did not run."""
        now_ms = int(self._clock.wall_s() * 1000)
        if not attempt.lost:
            usage = Usage(started_ms=now_ms, ended_ms=now_ms, task_seconds=0.0)
            self._hand_over(attempt, TaskResult(attempt.ref, usage, failure=failure))

    def _learn(self, ended: Ended) -> None:
        if ended.end is not None:
            known = self._task_s if self._task_s is not None else ended.end.wall_s
            self._task_s = known + _SMOOTHING * (ended.end.wall_s - known)

    # -- zones -------------------------------------------------------------------------------------------------------

    def _zones_changed(self) -> None:
        self.dispatch()
        self._on_change()

    def _build_failed(self, group: Group, failure: Failure) -> None:
        """Without any zone, every waiting task of the phase fails; with one, the others' zones go on."""
        if not group.idle and not group.busy:
            self._refuse_waiting(group, failure)

    def _refuse_waiting(self, group: Group, failure: Failure) -> None:
        while group.waiting:
            attempt = group.waiting.popleft()
            self._waiting -= 1
            self._refuse(attempt, failure)

    def _drop_if_empty(self, key: tuple[str, int]) -> None:
        group = self._groups[key]
        if not group.waiting and not group.zones and self._clock.monotonic_s() >= group.retry_at_s:
            del self._groups[key]

    def _start(self, work: Coroutine[object, object, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._jobs.add(task)
        task.add_done_callback(self._jobs.discard)
        return task
