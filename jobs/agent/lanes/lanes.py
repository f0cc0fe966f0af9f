"""A node's lanes, composed: leased tasks wait in a row, run side by side, and are given back, refused or reported."""

from collections.abc import Callable, Sequence

from jobs.agent.attempt import Attempt, Stage
from jobs.agent.counters import Counters
from jobs.agent.furnishing.furnisher import Furnisher
from jobs.agent.lanes.held import HeldAttempts, Results, TaskRunner
from jobs.agent.lanes.row import Row
from jobs.agent.lanes.running import RunningTasks
from jobs.agent.outcome import infrastructure_failure, unfit_failure
from jobs.agent.resources import Resources
from jobs.agent.zones.builder import ZoneBuilder
from jobs.agent.zones.groups import Group
from jobs.model.resources import Capacity
from jobs.model.wire import AttemptRef, Failure, Standing
from jobs.sandbox.api import Sandbox
from manta.core.clock import Clock


class Lanes:
    """Up to `count` tasks side by side, and one more in reserve for a job that has none running (J8).

    No more run than the node has resources for; a task that finds no room long enough has the next that comes free.
    Jobs take turns, and a slow zone build holds nobody else up.
    `results` gets each result, and what lost attempts used; `on_change` hears that there may be room.
    """

    def __init__(
        self,
        resources: Resources,
        sandbox: Sandbox,
        furnisher: Furnisher,
        runner: TaskRunner,
        clock: Clock,
        counters: Counters,
        results: Results,
        on_change: Callable[[], None],
    ) -> None:
        self.count = resources.lanes
        self._resources = resources
        self._runner = runner
        self._clock = clock
        self._counters = counters
        self._on_change = on_change
        self._held = HeldAttempts(runner, clock, results)
        self._row = Row(resources)
        self._builder = ZoneBuilder(sandbox, furnisher, clock, counters, self._build_failed, self._zones_changed)
        self._running = RunningTasks(
            resources, runner, self._row, self._held, self._builder, clock, counters, on_change
        )
        self.unavailable: str | None = None
        """Why no sandbox can be built on this node at all; every task is refused with it then."""

    # -- what the link asks ------------------------------------------------------------------------------------------

    @property
    def capacity(self) -> Capacity:
        return self._resources.capacity

    @property
    def running(self) -> int:
        return self._running.count

    @property
    def waiting(self) -> int:
        return self._row.waiting

    @property
    def zones(self) -> int:
        return self._row.zones

    @property
    def idle(self) -> int:
        """Lanes that nothing waits for."""
        return max(0, self._running.free_lanes - self._row.waiting)

    @property
    def hungry(self) -> bool:
        """Whether a lane has nothing to do: results are reported at once then, since they may make work."""
        return self.idle > 0

    @property
    def reserve_free(self) -> bool:
        return self._running.may_reserve

    @property
    def reserve_wanted(self) -> bool:
        """Whether every lane is busy and the one in reserve is not."""
        return self.reserve_free and self.unavailable is None and not self.hungry and not self._row.needs_reserve()

    @property
    def prefetch(self) -> int:
        """Tasks to hold beyond the running ones."""
        return self._running.pace.prefetch(self._running.youngest_s())

    def room(self) -> int:
        """How many more tasks are welcome now."""
        if not self._running.may_start:
            return 0
        running_s = self._running.youngest_s()
        return self._running.pace.room(self._running.in_lanes, self._row.waiting, self.blocked(), running_s)

    def blocked(self) -> int:
        """Tasks that wait for a zone or for room, and not for a lane: others are welcome meanwhile."""
        return self._row.blocked(self._clock.monotonic_s(), self._running.free_lanes)

    def standing(self) -> Standing:
        """How things stand, but for what the link alone knows. A node that can only refuse tasks has no free lane, or
        able nodes would be kept waiting for it."""
        able = self.unavailable is None
        lanes = self._running.free_lanes if able else 0
        return self._row.standing(self._clock.monotonic_s(), lanes, reserve_free=able and self.reserve_free)

    def started(self) -> tuple[AttemptRef, ...]:
        """Attempts whose task runs."""
        return self._running.refs()

    def works_for(self, job_id: str) -> bool:
        """Whether a task of that job runs here or waits to."""
        return self._row.works_for(job_id)

    def attempts(self) -> list[Attempt]:
        """Every attempt from its lease to the handing over of its result."""
        return self._held.attempts()

    # -- coming and going --------------------------------------------------------------------------------------------

    def add(self, attempts: Sequence[Attempt]) -> None:
        """Take in newly leased attempts; what can be started is started."""
        new = [attempt for attempt in attempts if attempt.ref not in self._held]
        if self.unavailable is None:
            self._runner.prepare(new)
        for attempt in new:
            self._queue(attempt)
        self.dispatch()

    def _queue(self, attempt: Attempt) -> None:
        now_s = self._clock.monotonic_s()
        self._held.add(attempt)
        group = self._row.queue(attempt, now_s)
        if self.unavailable is not None:
            self._refuse_waiting(group, infrastructure_failure(self.unavailable))
        elif (shortage := self._resources.capacity.shortage(attempt.spec)) is not None:
            self._refuse_waiting(group, unfit_failure(shortage))
        elif group.refusal is not None and now_s < group.retry_at_s and not group.zones:
            self._refuse_waiting(group, group.refusal)

    def dispatch(self) -> None:
        """Start whatever can be started."""
        self._running.start_next()

    def hand_back(self) -> list[Attempt]:
        """Take out what has waited too long for a lane, or for room."""
        late = self._row.hand_back(self._clock.monotonic_s(), self._running.free_lanes)
        for attempt in late:
            self._held.forget(attempt)
        return late

    def recall(self, refs: Sequence[AttemptRef]) -> list[Attempt]:
        """Take out those that wait for a lane or for room: another node has both."""
        found = [one for ref in refs if (one := self._held.get(ref)) is not None and self._row.may_leave(one)]
        for attempt in found:
            self._held.forget(attempt)
            self._row.withdraw(attempt)
        return found

    def lose(self, ref: AttemptRef) -> None:
        """The lease is gone: end the attempt and forget it."""
        attempt = self._held.get(ref)
        if attempt is None or attempt.lost:
            return
        attempt.lost = True
        self._counters.tasks_lost += 1
        if attempt.stage is not Stage.WAITING:
            self._running.stop(attempt)
            return
        self._held.forget(attempt)
        group = self._row.withdraw(attempt)
        if not group.waiting:
            self._builder.give_up(group)

    def forget_job(self, job_id: str) -> None:
        """The job has ended: nothing of it will be leased again."""
        for group in self._row.of_job(job_id):
            self._builder.close_idle(group)
        self._row.drop_empty(self._clock.monotonic_s(), job_id)

    def trim(self) -> None:
        """Close zones that idle too long, and forget phases without zones and tasks."""
        self._builder.close_excess(self._row.groups)
        self._row.drop_empty(self._clock.monotonic_s())

    async def close(self) -> None:
        """Kill what runs and end every zone."""
        self._running.close()
        for attempt in self.attempts():
            self.lose(attempt.ref)
        await self._running.ended()
        await self._builder.end(self._row.groups)
        self._row.clear()

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
            self._held.refuse(self._row.take(group), failure)
