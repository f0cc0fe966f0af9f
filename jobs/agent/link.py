"""The agent's line to the gateways: leases by long poll from each, results to any, and the clock of the leases held."""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final, TypeVar

import msgspec

from jobs.agent.attempt import Attempt
from jobs.agent.lanes import Lanes
from jobs.agent.ports import Gateway
from jobs.agent.reports import Reports
from jobs.agent.transport import GatewayUnreachable
from jobs.model.wire import AttemptRef, LeaseReply, LeaseRequest, PhaseSpec
from manta.core.clock import Clock
from manta.core.errors import MantaError
from manta.core.limits import HEARTBEAT_S, LEASE_POLL_S, LEASE_S, REPORT_BATCH_MAX

_LOG = logging.getLogger("manta.agent")
Reply = TypeVar("Reply", bound=msgspec.Struct)
SPECS_MAX: Final = 32
"""Phases that the agent remembers; a task of one it forgot is not accepted, and comes again with its phase."""
_ANSWER_S: Final = 5.0
"""A gateway that has nothing to wait for answers within this time."""
_BACKOFF_S: Final = (0.05, 0.1, 0.2, 0.4, 0.8, 1.0)
_REFUSING_PAUSE_S: Final = 0.5
"""A node that can only refuse tasks asks slowly, so that able nodes get them first."""


class Gateways:
    """Calls that any gateway may answer: the one that answered last is asked first."""

    def __init__(self, gateways: Sequence[Gateway]) -> None:
        self._gateways = list(gateways)

    async def call(self, name: str, message: msgspec.Struct, kind: type[Reply]) -> Reply:
        """The reply of the first that answers; GatewayUnreachable when none did within the time of a lease."""
        loop = asyncio.get_running_loop()
        give_up_s = loop.time() + LEASE_S
        turn = 0
        while True:
            for gateway in list(self._gateways):
                try:
                    reply = await gateway.call(name, message, kind, _ANSWER_S)
                except GatewayUnreachable as error:
                    last = error
                else:
                    self._prefer(gateway)
                    return reply
            if not self._gateways or loop.time() > give_up_s:
                raise last if self._gateways else GatewayUnreachable("No gateway is configured.")
            await asyncio.sleep(backoff_s(turn))
            turn += 1

    def _prefer(self, gateway: Gateway) -> None:
        if self._gateways[0] is not gateway:
            self._gateways.remove(gateway)
            self._gateways.insert(0, gateway)


def backoff_s(turn: int) -> float:
    return _BACKOFF_S[min(turn, len(_BACKOFF_S) - 1)]


class Link:
    """Leases for `lanes`, until `run` is cancelled; `give_back` then returns what is held."""

    def __init__(
        self, node_id: str, epoch: str, gateways: Sequence[Gateway], lanes: Lanes, reports: Reports, clock: Clock
    ) -> None:
        self._node_id = node_id
        self._epoch = epoch
        self._gateways = gateways
        self._lanes = lanes
        self._reports = reports
        self._clock = clock
        self._specs: OrderedDict[tuple[str, int], PhaseSpec] = OrderedDict()
        self._changes = [asyncio.Event() for _ in gateways]
        self._heard_s = clock.monotonic_s()
        self.reachable = False

    def changed(self) -> None:
        """There may be room for more tasks, or something to report."""
        for change in self._changes:
            change.set()
        self._reports.nudge()

    def held(self) -> tuple[AttemptRef, ...]:
        """Every attempt this node still works on or has not reported."""
        return (*(attempt.ref for attempt in self._lanes.attempts()), *self._reports.refs())

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for gateway, change in zip(self._gateways, self._changes, strict=True):
                group.create_task(self._poll(gateway, change))
            group.create_task(self._reports.run())
            group.create_task(self._keep_house())

    async def give_back(self) -> None:
        """Report what is done; name nothing as held, so that all else is offered again at once."""
        if self._reports:
            await self._reports.flush()
        request = LeaseRequest(self._node_id, self._epoch, free_lanes=0, wait_s=0.0)
        for gateway in self._gateways:
            try:
                await gateway.call("lease", request, LeaseReply, _ANSWER_S)
            except MantaError:
                continue
            return

    # -- leases ------------------------------------------------------------------------------------------------------

    async def _poll(self, gateway: Gateway, change: asyncio.Event) -> None:
        turn = 0
        while True:
            await self._until_worth_asking(change)
            asked_s = self._clock.monotonic_s()
            request = self._request()
            try:
                reply = await gateway.call("lease", request, LeaseReply, request.wait_s + _ANSWER_S)
            except MantaError as error:
                if turn == 0:
                    _LOG.warning("No leases from %s: %s", gateway.url, error.message)
                await asyncio.sleep(backoff_s(turn))
                turn += 1
                continue
            turn = 0
            self._heard_s = max(self._heard_s, asked_s)
            self.reachable = True
            self.accept(reply)

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

    def _worth_asking(self) -> bool:
        return self._room() > 0 and self._lanes.waiting <= self._lanes.prefetch // 2

    def _room(self) -> int:
        return self._lanes.room() if len(self._reports) < 2 * REPORT_BATCH_MAX else 0

    def _request(self) -> LeaseRequest:
        held = self.held()
        room = self._room()
        wait_s = LEASE_POLL_S if not held else 2 * HEARTBEAT_S
        return LeaseRequest(
            self._node_id,
            self._epoch,
            free_lanes=room,
            wait_s=wait_s if room else 0.0,
            held=held,
            known_phases=tuple(self._specs),
        )

    def accept(self, reply: LeaseReply) -> None:
        """Take in what a gateway granted, and let go of what it took away."""
        for ref in reply.lost:
            if not self._reports.lose(ref):
                self._lanes.lose(ref)
        for job_id in reply.ended_jobs:
            self._forget_job(job_id)
        for spec in reply.phases:
            self._remember(spec)
        room = self._lanes.room() if self._lanes.unavailable is None else len(reply.tasks)
        known = [(lease, self._specs.get((lease.job_id, lease.phase))) for lease in reply.tasks]
        self._lanes.add([Attempt(lease, spec) for lease, spec in known if spec is not None][:room])

    def _remember(self, spec: PhaseSpec) -> None:
        self._specs[spec.job_id, spec.phase] = spec
        self._specs.move_to_end((spec.job_id, spec.phase))
        while len(self._specs) > SPECS_MAX:
            self._specs.popitem(last=False)

    def _forget_job(self, job_id: str) -> None:
        for key in [key for key in self._specs if key[0] == job_id]:
            del self._specs[key]
        self._lanes.forget_job(job_id)

    # -- time --------------------------------------------------------------------------------------------------------

    async def _keep_house(self) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_S)
            self.check_leases()
            self._lanes.trim()
            self._lanes.dispatch()

    def check_leases(self) -> None:
        """Without word from any gateway for the time of a lease, others may have our tasks: end them (J6)."""
        if self._clock.monotonic_s() - self._heard_s <= LEASE_S:
            return
        self.reachable = False
        for attempt in self._lanes.attempts():
            self._lanes.lose(attempt.ref)
