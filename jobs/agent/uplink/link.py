"""The agent's line to the gateways: leases by long poll from each, results to any, and the clock of the leases held."""

import asyncio
import contextlib
import logging
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from msgspec.structs import replace

from jobs.agent.attempt import Attempt, Stage
from jobs.agent.lanes.lanes import Lanes
from jobs.agent.ports import Gateway
from jobs.agent.uplink.gateways import ANSWER_S, Gateways, backoff_s
from jobs.agent.uplink.reports import Reports
from jobs.model.wire import AttemptRef, LeaseReply, LeaseRequest, PhaseSpec, Standing, TaskLease
from manta.core.clock import Clock
from manta.core.errors import MantaError
from manta.core.limits import (
    HEARTBEAT_S,
    HELD_MAX,
    LEASE_POLL_S,
    LEASE_S,
    PHASES_REMEMBERED_MAX,
    REPORT_BATCH_MAX,
    REPORT_DELAY_S,
)

_LOG = logging.getLogger("manta.agent")
_EARLY_S: Final = 0.1
_QUIET_S: Final = 3.0
"""A gateway that is away no longer than this is being replaced, or the whole store stops: nothing to log."""
_REFUSING_PAUSE_S: Final = 0.5
"""A node that can only refuse tasks asks slowly, so that able nodes get them first."""


class Link:
    """Leases for `lanes`, until `run` is cancelled; `give_back` then returns what is held."""

    def __init__(
        self, node_id: str, epoch: str, gateways: Gateways, lanes: Lanes, reports: Reports, clock: Clock
    ) -> None:
        self._node_id = node_id
        self._epoch = epoch
        self._gateways = gateways
        self._lanes = lanes
        self._reports = reports
        self._clock = clock
        self._specs: OrderedDict[tuple[str, int], PhaseSpec] = OrderedDict()
        self._changes = [asyncio.Event() for _ in gateways.all]
        self._busy = asyncio.Event()
        """Whether the lane in reserve is all that is free."""
        self._heard_s = clock.monotonic_s()
        self._newest: dict[tuple[Gateway, bool], AttemptRef] = {}
        """The first task of the last answer that had any, to ordinary polls and to those for the lane in reserve."""
        self._told = Standing()
        """The last word sent, to whichever gateway."""
        self._returned: dict[AttemptRef, TaskLease] = {}
        """Handed back, and not yet heard of: tasks that wait until a call names them."""
        self._stopped: set[AttemptRef] = set()
        """Those of `_returned` that had begun."""
        self._named: set[AttemptRef] = set()
        """Those of `_returned` that a call under way names."""
        self.reachable = False

    def changed(self) -> None:
        """There may be room for more tasks, or something to report."""
        if self._worth_asking():
            for change in self._changes:
                change.set()
        self._note_busy()
        self._reports.nudge()

    def _note_busy(self) -> None:
        if self._lanes.reserve_wanted:
            self._busy.set()
        else:
            self._busy.clear()

    def held(self) -> tuple[AttemptRef, ...]:
        """Every attempt this node still works on or has not reported. One that is lost, and being ended, is not: a
        gateway that is told of it would answer at once, over and over."""
        return (*(attempt.ref for attempt in self._lanes.attempts() if not attempt.lost), *self._reports.refs())

    @property
    def has_returned(self) -> bool:
        """Whether something is handed back that no gateway has heard of."""
        return bool(self._returned)

    def standing(self) -> Standing:
        """How things stand in the lanes, for a poll or a report that goes out now."""
        now = self._lanes.standing()
        self._told = replace(
            now,
            queued=self._with_returned(now.queued),
            room=self._room(),
            heard=tuple(self._newest.values()),
            number=self._told.number + 1,
        )
        return self._told

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for gateway, change in zip(self._gateways.all, self._changes, strict=True):
                group.create_task(self._poll(gateway, change))
                group.create_task(self._poll_for_reserve(gateway))
            group.create_task(self._reports.run())
            group.create_task(self._tell_changes())
            group.create_task(self._keep_house())

    def begun(self) -> tuple[AttemptRef, ...]:
        """Those that are more than leased."""
        return tuple(attempt.ref for attempt in self._lanes.attempts() if attempt.stage is not Stage.WAITING)

    async def give_back(self, held: Sequence[AttemptRef], begun: Sequence[AttemptRef]) -> None:
        """Report what is done, hand the rest of `held` back, and begin a new epoch; then tell what was stopped."""
        request = LeaseRequest(self._node_id, f"{self._epoch}-ended", free_lanes=0, wait_s=0.0,
            started=(*begun, *self._stopped)[:HELD_MAX], returned=(*held, *self._returned)[:HELD_MAX], ends=True,
        )  # fmt: skip
        with contextlib.suppress(MantaError, TimeoutError):
            async with asyncio.timeout(ANSWER_S):
                if await self._reports.send_results():
                    await self._gateways.call("lease", request, LeaseReply)
                await self._reports.flush()

    # -- leases ------------------------------------------------------------------------------------------------------

    async def _poll(self, gateway: Gateway, change: asyncio.Event) -> None:
        turn, told, began_s = 0, False, 0.0
        while True:
            await self._until_worth_asking(change)
            asked_s = self._clock.monotonic_s()
            request = self._request()
            try:
                reply = await gateway.call("lease", request, LeaseReply, request.wait_s + ANSWER_S)
            except MantaError as error:
                began_s = asked_s if turn == 0 else began_s
                away_s = self._clock.monotonic_s() - began_s
                if not told and away_s > _QUIET_S:
                    told = True
                    _LOG.warning("No leases from %s for %.0f s: %s", gateway.url, away_s, error.message)
                self._named.difference_update(request.returned)
                await asyncio.sleep(backoff_s(turn))
                turn += 1
                continue
            turn, told = 0, False
            self._heard_of(request.returned)
            if request.wait_s and not (reply.tasks or reply.lost or reply.recalled or reply.ended_jobs):
                await self._pause_if_early(asked_s)
            self._heard_s = max(self._heard_s, asked_s)
            self.reachable = True
            self._note_newest(gateway, reply)
            self.accept(reply)

    async def _poll_for_reserve(self, gateway: Gateway) -> None:
        """While all lanes are busy: a task of a job that has none running would start at once (J8).

        After a poll without an answer another one follows in any case: what was granted to that is offered again then.
        """
        turn, arrived = 0, list[AttemptRef]()
        while True:
            if turn == 0:
                await self._busy.wait()
            asked_s, wanted = self._clock.monotonic_s(), self._busy.is_set()
            request = LeaseRequest(self._node_id, self._epoch, free_lanes=int(wanted),
                wait_s=2 * HEARTBEAT_S if wanted else 0.0, reserve=True, arrived=tuple(arrived),
                capacity=self._lanes.capacity, standing=self.standing(),
            )  # fmt: skip
            try:
                reply = await gateway.call("lease", request, LeaseReply, request.wait_s + ANSWER_S)
            except MantaError:
                await asyncio.sleep(backoff_s(turn))
                turn += 1
                continue
            turn, arrived = 0, [_ref(one) for one in reply.tasks]
            if reply.tasks:
                self._note_newest(gateway, reply, reserve=True)
                self.accept(reply, reserved=True)
            else:
                await self._pause_if_early(asked_s)
            self.changed()

    def _note_newest(self, gateway: Gateway, reply: LeaseReply, *, reserve: bool = False) -> None:
        if reply.tasks:
            self._newest[gateway, reserve] = _ref(reply.tasks[0])

    async def _until_worth_asking(self, change: asyncio.Event) -> None:
        """Until the lanes will soon want more tasks, or it is time to say that we are alive."""
        if self._lanes.unavailable is not None:
            await asyncio.sleep(_REFUSING_PAUSE_S)
            return
        loop = asyncio.get_running_loop()
        until = loop.time() + HEARTBEAT_S
        while not self._worth_asking():
            change.clear()
            try:
                async with asyncio.timeout_at(until):
                    await change.wait()
            except TimeoutError:
                return

    async def _pause_if_early(self, asked_s: float) -> None:
        """A gateway that is about to end answers at once with nothing: not a reason to ask in a tight loop."""
        if self._clock.monotonic_s() - asked_s < _EARLY_S:
            await asyncio.sleep(_EARLY_S)

    def _worth_asking(self) -> bool:
        """Whether lanes will soon want more tasks, or somebody may wait for what is handed back."""
        runnable = self._lanes.waiting - self._lanes.blocked()
        return bool(self._returned) or (self._room() > 0 and runnable <= self._lanes.prefetch // 2)

    def _room(self) -> int:
        return self._lanes.room() if len(self._reports) < 2 * REPORT_BATCH_MAX else 0

    def _request(self) -> LeaseRequest:
        held = self.held()
        room = self._room()
        is_idle = not held and not self._lanes.attempts()
        wait_s = LEASE_POLL_S if is_idle else 2 * HEARTBEAT_S
        returned = tuple(self._returned)[:HELD_MAX]
        self._named.update(returned)
        return LeaseRequest(
            self._node_id,
            self._epoch,
            free_lanes=room,
            wait_s=wait_s if room else 0.0,
            held=held,
            known_phases=tuple(self._specs),
            started=(*self._lanes.started(), *(ref for ref in returned if ref in self._stopped)),
            returned=returned,
            idle_lanes=self._lanes.idle if room else 0,
            capacity=self._lanes.capacity,
            standing=self.standing(),
        )

    def accept(self, reply: LeaseReply, *, reserved: bool = False) -> None:
        """Take in what a gateway granted, and let go of what it took away."""
        for ref in reply.lost:
            if not self._reports.lose(ref):
                self._lanes.lose(ref)
        self._hand_back(self._lanes.recall(reply.recalled))
        for job_id in reply.ended_jobs:
            self._forget_job(job_id)
        for spec in reply.phases:
            self._remember(spec)
        room = len(reply.tasks) if reserved or self._lanes.unavailable is not None else self._lanes.room()
        known = [(lease, self._specs.get((lease.job_id, lease.phase))) for lease in reply.tasks]
        attempts = [Attempt(lease, spec) for lease, spec in known if spec is not None]
        self._lanes.add(attempts[:room])
        self._note_busy()
        if len(attempts) > room:  # another poll was quicker: somebody may wait for these
            self._hand_back(attempts[room:])
            self.changed()

    def _remember(self, spec: PhaseSpec) -> None:
        self._specs[spec.job_id, spec.phase] = spec
        self._specs.move_to_end((spec.job_id, spec.phase))
        while len(self._specs) > PHASES_REMEMBERED_MAX:
            self._specs.popitem(last=False)

    def _forget_job(self, job_id: str) -> None:
        for key in [key for key in self._specs if key[0] == job_id]:
            del self._specs[key]
        self._lanes.forget_job(job_id)

    def _hand_back(self, attempts: Sequence[Attempt]) -> None:
        self._returned.update((attempt.ref, attempt.lease) for attempt in attempts)

    def _heard_of(self, returned: Sequence[AttemptRef]) -> None:
        """A gateway has it that these are handed back."""
        for ref in returned:
            self._returned.pop(ref, None)
        self._stopped.intersection_update(self._returned)
        self._named.intersection_update(self._returned)

    def _with_returned(self, queued: tuple[tuple[str, int, int], ...]) -> tuple[tuple[str, int, int], ...]:
        """Nobody runs what is handed back, although the catalog has it as leased until a call names it."""
        counts: dict[tuple[str, int], int] = {(job_id, phase): count for job_id, phase, count in queued}
        for ref, lease in self._returned.items():
            if ref not in self._named:
                key = lease.job_id, lease.phase
                counts[key] = counts.get(key, 0) + lease.weight
        return tuple((job_id, phase, count) for (job_id, phase), count in counts.items())

    async def _tell_changes(self) -> None:
        """What changes between polls and results, which tell how things stand as well: a task begins, or waits, or is
        handed back, or makes room once its output is stored."""
        while True:
            await asyncio.sleep(REPORT_DELAY_S)
            self._hand_back(self._lanes.hand_back())
            returned = tuple(self._returned.keys() - self._named - self._stopped)[:HELD_MAX]
            if not len(self._reports) and (returned or self._differs(self._told)):
                self._named.update(returned)
                if await self._reports.tell(returned):
                    self._heard_of(returned)
                else:
                    self._named.difference_update(returned)

    def _differs(self, told: Standing) -> bool:
        """Whether somebody else waits now than was told, or may come."""
        now = self._lanes.standing()
        now_waits = self._with_returned(now.queued), now.blocked_jobs
        return now_waits != (told.queued, told.blocked_jobs) or self._room() > (told.room or 0)

    # -- time --------------------------------------------------------------------------------------------------------

    async def _keep_house(self) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_S)
            self.check_leases()
            self._lanes.trim()
            self._lanes.dispatch()
            self.changed()

    def check_leases(self) -> None:
        """Without word from any gateway for the time of a lease, others may have our tasks: end them (J6).

        The first gateway that answers is told: it would miss them only after the time of another lease.
        """
        if self._clock.monotonic_s() - self._heard_s <= LEASE_S:
            return
        self.reachable = False
        for attempt in [attempt for attempt in self._lanes.attempts() if not attempt.lost]:
            self._hand_back([attempt])
            if attempt.stage is not Stage.WAITING:
                self._stopped.add(attempt.ref)
            self._lanes.lose(attempt.ref)


def _ref(lease: TaskLease) -> AttemptRef:
    return AttemptRef(lease.job_id, lease.task_id, lease.attempt)
