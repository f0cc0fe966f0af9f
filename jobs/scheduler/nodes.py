"""What nodes ask of one gateway: long polls for tasks, and reports of how they ended.

What is kept here are wake-ups, so that nobody waits for a sweep, and what this process alone can know: which nodes it
has heard of by its own monotonic clock, how things stand on each, and which attempts it handed out.
"""

import contextlib
import math
from collections.abc import Callable, Sequence

from jobs.model.states import NODE_LOST, NODE_STOPPED
from jobs.model.wire import (
    AttemptRef,
    LeaseReply,
    LeaseRequest,
    PhaseSpec,
    ReportReply,
    ReportRequest,
    TaskLease,
    TaskResult,
)
from jobs.scheduler.attempts import Attempts, Followed
from jobs.scheduler.capacities import Capacities
from jobs.scheduler.deliveries import Deliveries
from jobs.scheduler.idle_first import IdleFirst
from jobs.scheduler.liveness import Liveness
from jobs.scheduler.overdue import Overdue
from jobs.scheduler.places import Places
from jobs.scheduler.queues import Given, Queues
from jobs.scheduler.stragglers import Stragglers
from jobs.scheduler.wakes import Wakes, wait_for
from manta.catalog.job_records import ANY_NODE, Choice, Granted, JobView, Stirred
from manta.catalog.job_store import JobStore
from manta.core import limits
from manta.core.clock import Clock
from manta.core.errors import BadRequest


class Nodes:
    """Those that poll this process. `stir` is told what changed by what they say."""

    def __init__(self, jobs: JobStore, clock: Clock, places: Places, stir: Callable[[Stirred], None]) -> None:
        self._jobs = jobs
        self._clock = clock
        self._places = places
        self._stir = stir
        self._polls = Wakes()
        self._reserves = Wakes()
        """Polls for the lane in reserve: what lets a job have none running wakes them too."""
        self._deliveries = Deliveries()
        self._queues = Queues()
        self._idle_first = IdleFirst(self._queues, self._polls)
        self.liveness = Liveness()
        self._capacities = Capacities(self._queues, places.takes_tasks)
        self._attempts = Attempts()
        self._stragglers = Stragglers(self._attempts)
        self._overdue = Overdue(jobs, clock, self._attempts, stir)
        self._renewed: dict[str, tuple[str, float]] = {}
        """Node → (epoch, until when its row is good for, by our monotonic clock)."""
        self._draining = False

    @property
    def waiting(self) -> int:
        """How many have a poll that waits here."""
        return len(self._polls)

    def drain(self) -> None:
        """Answer every long poll now, and each new one at once."""
        self._draining = True
        self._wake_all()

    def wake(self, stirred: Stirred) -> None:
        """Polls that may get some of what is ready now, or have lost what their node runs."""
        if ANY_NODE in stirred.ready:
            self._wake_all()
        else:
            self._polls.wake(stirred.ready | stirred.lost)
            self._reserves.wake(stirred.ready)

    def _wake_all(self) -> None:
        self._polls.wake_all()
        self._reserves.wake_all()

    async def sweep(self) -> None:
        """Once a second: other gateways make tasks too, and do not wake our polls."""
        self._wake_all()
        now_s = self._clock.monotonic_s()
        self._capacities.forget_all_but(self.liveness.alive(now_s))
        for node_id in [node_id for node_id, (_, until_s) in self._renewed.items() if until_s < now_s - limits.LEASE_S]:
            del self._renewed[node_id]
            self._deliveries.forget(node_id)
            self._attempts.forget(node_id)
        epochs = self.liveness.epochs(now_s)
        self._queues.forget_all_but({node_id: epochs[node_id] for node_id in self._renewed if node_id in epochs})
        await self._overdue.check()

    def as_started(self, view: JobView) -> JobView:
        """The job with those tasks as running alone that run: what only waits on a node is ready."""
        return self._queues.as_started(view)

    # --- polls

    async def lease(self, request: LeaseRequest, is_abandoned: Callable[[], bool] = lambda: False) -> LeaseReply:
        """Tasks for the node's free lanes, at once or as soon as there are some within `wait_s`.

        Answered early when an attempt the node holds is not its own any more. A poll that `is_abandoned`, since its
        node has died, is given nothing and is no sign of life.
        """
        _check_poll(request)
        node_id = request.node_id
        deadline_s = self._clock.monotonic_s() + min(max(request.wait_s, 0.0), limits.LEASE_POLL_S)
        await self._hear(request)
        waiting = self._reserves if request.reserve else self._polls
        event = waiting.enter(node_id)
        try:
            while True:
                event.clear()
                with contextlib.nullcontext() if request.reserve else self._idle_first.looking(node_id):
                    reply = await self._look(request)
                left_s = deadline_s - self._clock.monotonic_s()
                if reply is not None or left_s <= 0 or self._draining:
                    return reply if reply is not None else await self._reply(request, [])
                await wait_for(event, left_s)
                if is_abandoned() or not await self._renew(node_id, request.epoch, begins=False):
                    return LeaseReply()
        finally:
            waiting.leave(node_id, event)

    async def _hear(self, request: LeaseRequest) -> None:
        """What the poll says, before what it asks for."""
        node_id = request.node_id
        if request.returned:
            began = set(request.started)
            await self._release(node_id, [one for one in request.returned if one not in began])
            await self._release(node_id, [one for one in request.returned if one in began], NODE_STOPPED)
        if request.ends:  # an answer to it was on its way: its new epoch alone would count that as lost
            await self._release(node_id, await self._jobs.running(node_id))
        if not request.reserve:
            await self._renew(node_id, request.epoch, begins=True)
        # behind the renewal: the sweep forgets nodes of other epochs
        if self._queues.polled(node_id, request.epoch, request.standing, request.capacity, reserve=request.reserve):
            self._polls.wake([node_id])
        await self._take_back(request)
        self._capacities.note(node_id, request.capacity)

    async def _look(self, request: LeaseRequest) -> LeaseReply | None:
        """What there is to say now."""
        lost = await self._lost(request)
        recalled = self._recalled(request)
        granted: list[Granted] = []
        lanes = min(self._wanted(request), limits.LEASE_BATCH_MAX)
        ready = self._jobs.has_idle if request.reserve else self._jobs.has_ready
        if lanes > 0 and not self._draining and await ready(request.node_id):
            now_s = self._clock.monotonic_s()
            slots = self._places.new_ids(lanes)
            if self._places.takes_tasks(request.node_id):
                granted = await self._jobs.lease(
                    request.node_id,
                    request.epoch,
                    slots,
                    idle_jobs_only=request.reserve,
                    without=() if request.reserve else self._queues.blocked_jobs(request.node_id),
                    choose=self._capacities.choose_for(
                        request.node_id, self.liveness.alive(now_s), to_begin=request.reserve
                    ),
                )
        if not granted and request.idle_lanes > 0 and not self._draining:
            granted = await self._second_attempts(request)
        if not lost and not granted and not recalled:
            return None
        return await self._reply(request, granted, lost, recalled)

    def _wanted(self, request: LeaseRequest) -> int:
        """How many tasks, now that the poll may have waited."""
        if request.reserve:
            return request.free_lanes
        return self._idle_first.share(request.node_id, self._queues.room(request.node_id, request.free_lanes))

    async def _second_attempts(self, request: LeaseRequest) -> list[Granted]:
        """Lanes that nothing else is ready for may try what runs much too long elsewhere."""
        granted: list[Granted] = []
        now_s = self._clock.monotonic_s()
        for one in self._stragglers.for_node(request.node_id, now_s):
            (slot,) = self._places.new_ids(1)
            if len(granted) == request.idle_lanes or not self._places.takes_tasks(request.node_id):
                break
            choose = self._capacities.choose_for(request.node_id, self.liveness.alive(now_s))
            grant = await self._jobs.lease_second(request.node_id, request.epoch, one.ref, slot, choose=choose)
            if grant is not None:
                granted.append(grant)
        return granted

    async def _lost(self, request: LeaseRequest) -> tuple[AttemptRef, ...]:
        if not request.held:
            return ()
        mine = set(await self._jobs.running(request.node_id))
        return tuple(attempt for attempt in request.held if attempt not in mine)

    def _recalled(self, request: LeaseRequest) -> tuple[AttemptRef, ...]:
        """One that waits for room on the node, once another node could begin it at once."""
        now_s = self._clock.monotonic_s()
        waiting = self._attempts.waiting(request.node_id, now_s - limits.RECALL_S)
        if request.reserve or not waiting:
            return ()
        choose = self._capacities.choose_for(request.node_id, self.liveness.alive(now_s))
        for one in waiting:
            if one.needs is None or now_s - one.recalled_s <= limits.RECALL_AGAIN_S:
                continue
            if choose(one.needs, one.hosts, False) is Choice.LATER:
                one.recalled_s = now_s
                return (one.ref,)
        return ()

    async def _reply(
        self,
        request: LeaseRequest,
        granted: Sequence[Granted],
        lost: tuple[AttemptRef, ...] = (),
        recalled: tuple[AttemptRef, ...] = (),
    ) -> LeaseReply:
        """Whatever goes wrong from here on: what the node does not name in its next such poll is offered again then."""
        refs = [AttemptRef(one.task.job_id, one.task.task_id, one.task.attempt) for one in granted]
        self._deliveries.granted(request.node_id, refs, reserve=request.reserve)
        given = [
            Given(ref, one.task.phase, one.task.weight, one.plan.phases[one.task.phase])
            for ref, one in zip(refs, granted, strict=True)
        ]
        self._queues.granted(request.node_id, given, reserve=request.reserve)
        known = set(request.known_phases)
        phases: dict[tuple[str, int], PhaseSpec] = {}
        leases: list[TaskLease] = []
        now_s = self._clock.monotonic_s()
        for grant, ref in zip(granted, refs, strict=True):
            task = grant.task
            phase = grant.plan.phases[task.phase]
            at = (task.job_id, task.phase)
            if at not in known and at not in phases:
                phases[at] = grant.plan.spec(task.job_id, task.phase, grant.owner_id)
            leases.append(self._places.lease_of(grant, request.node_id, phase.task_timeout_s))
            self._attempts.granted(
                Followed(
                    request.node_id, ref, False, now_s, task.phase, phase.task_timeout_s, needs=phase, hosts=task.hosts
                )
            )
        ended = await self._jobs.ended_jobs(sorted({job_id for job_id, _ in known})) if known else []
        return LeaseReply(tuple(leases), tuple(phases.values()), lost, recalled, tuple(ended))

    async def _renew(self, node_id: str, epoch: str, *, begins: bool) -> bool:
        """The node lives; its row is written when a third of the time has gone. False: another epoch took over."""
        now_s = self._clock.monotonic_s()
        known = self._renewed.get(node_id)
        if known is not None and known[0] != epoch and not begins:
            return False
        self.liveness.heard(node_id, now_s)
        if known is not None and known[0] == epoch and known[1] - now_s > limits.LEASE_S * 2 / 3:
            return True
        until_ms = int((self._clock.wall_s() + limits.LEASE_S) * 1000)
        self._renewed[node_id] = epoch, now_s + limits.LEASE_S
        self.liveness.wrote(node_id, epoch, until_ms)
        try:
            self._stir(await self._jobs.renew(node_id, epoch, until_ms, begins=begins))
        except BaseException:
            self._renewed.pop(node_id, None)
            raise
        return True

    async def _take_back(self, request: LeaseRequest) -> None:
        """Offer again what the node was given and does not name."""
        if request.reserve:
            missing = self._deliveries.begin_reserve(request.node_id, request.epoch, request.arrived)
            await self._release(request.node_id, missing)
            return
        now_s = self._clock.monotonic_s()
        self._attempts.named(request.node_id, request.held, request.started, now_s)
        running = await self._jobs.running(request.node_id)
        missing, late = self._deliveries.begin(request.node_id, request.epoch, request.held, running, now_s)
        await self._release(request.node_id, missing)
        await self._release(request.node_id, late, NODE_LOST)

    async def _release(self, node_id: str, attempts: Sequence[AttemptRef], why: str | None = None) -> None:
        """Offer them again. What may have run is remembered with `why` it ended, but no task is blamed."""
        if attempts:
            self._stir(await self._jobs.release(node_id, attempts, delivered=False, why=why))

    # --- reports

    async def report(self, request: ReportRequest) -> ReportReply:
        """Commits what is current, names what is not. BadRequest for a batch beyond limits.REPORT_BATCH_MAX."""
        _check_report(request)
        if request.stopped:
            await self._jobs.charge_stopped(request.node_id, request.stopped)
        await self._release(request.node_id, request.returned)
        stirred = await self._jobs.report(request.node_id, request.results) if request.results else Stirred()
        for result in request.results:
            self._ended(request.node_id, result)
        standing = request.standing
        is_told = standing is not None and standing.longest <= limits.HELD_MAX  # results count whatever is beside them
        if standing is not None and is_told and self._queues.reported(request.node_id, request.epoch, standing):
            self._polls.wake([request.node_id])
        self._stir(stirred)
        self._reserves.wake([request.node_id])
        return ReportReply(tuple(AttemptRef(*name) for name in stirred.stale), is_taken=True)

    def _ended(self, node_id: str, result: TaskResult) -> None:
        one = self._attempts.find(node_id, result.attempt)
        if one is not None and result.failure is None:
            self._stragglers.ended(one, result.usage.task_seconds)


def _check_poll(request: LeaseRequest) -> None:
    """BadRequest for what no agent sends."""
    named = request.held, request.arrived, request.started, request.returned, request.known_phases
    if max(request.standing.longest, *map(len, named)) > limits.HELD_MAX:
        raise BadRequest(f"A poll names at most {limits.HELD_MAX} attempts and phases.")
    if math.isnan(request.wait_s):
        raise BadRequest("A poll waits for a number of seconds.")


def _check_report(request: ReportRequest) -> None:
    """BadRequest for what no agent sends."""
    weight = sum(result.weight for result in request.results)
    if max(weight, len(request.stopped)) > limits.REPORT_BATCH_MAX:
        raise BadRequest(f"A report has at most {limits.REPORT_BATCH_MAX} results.")
    if len(request.returned) > limits.HELD_MAX:
        raise BadRequest(f"A report names at most {limits.HELD_MAX} attempts that are handed back.")
