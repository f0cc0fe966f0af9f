"""Results on their way to a gateway: kept until acknowledged, sent together, at once when somebody waits for them.

What an attempt used that came to no result is told as well, for whoever pays for it.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Collection
from itertools import islice
from typing import Final

import msgspec

from jobs.agent.outcome import infrastructure_failure
from jobs.agent.ports import Caller
from jobs.model.wire import AttemptRef, ReportReply, ReportRequest, Standing, StoppedAttempt, TaskResult, Usage
from manta.core.errors import BadRequest, Conflict, MantaError
from manta.core.limits import (
    HELD_MAX,
    REPORT_AT_ONCE_S,
    REPORT_BATCH_MAX,
    REPORT_DELAY_S,
    REPORT_OUTPUTS_MAX,
    REPORT_PAUSE_S,
)

_LOG = logging.getLogger("manta.agent")
_PAUSE_S: Final = 1.0


class Reports:
    """One call at a time: what ends meanwhile goes with the next. The result of a long task is on its way within
    REPORT_PAUSE_S. `discard` removes outputs that were not committed.

    `urgent` says whether results of these jobs should go now; others wait for their neighbours a moment. With each
    goes how things are `standing` in the lanes without them.
    """

    def __init__(
        self,
        node_id: str,
        epoch: str,
        caller: Caller,
        urgent: Callable[[Collection[str]], bool],
        standing: Callable[[], Standing],
        discard: Callable[[TaskResult], None],
        on_change: Callable[[], None],
    ) -> None:
        self._node_id = node_id
        self._epoch = epoch
        self._caller = caller
        self._urgent = urgent
        self._standing = standing
        self._discard = discard
        self._on_change = on_change
        self._pending: dict[AttemptRef, TaskResult] = {}
        self._stopped: dict[AttemptRef, Usage] = {}
        self._sent: set[AttemptRef] = set()
        self._wake = asyncio.Event()
        self._delaying = False
        """Whether what is pending waits for its neighbours."""
        self._hurries = False
        """Whether a task is among them that took so long that it has few neighbours."""
        self._reported_s = 0.0
        self._room = REPORT_BATCH_MAX
        """How many go together: one at which gateways fail is found by halves, and the others go on."""

    def __len__(self) -> int:
        return len(self._pending)

    def add(self, result: TaskResult) -> None:
        self._pending[result.attempt] = result
        if result.usage.task_seconds >= REPORT_AT_ONCE_S and not self._hurries:
            self._hurries = True
            self._wake.set()  # whoever waits for its neighbours now waits REPORT_PAUSE_S at most
        self.nudge()

    @property
    def has_stopped(self) -> bool:
        """Whether what stopped attempts used is still to be told."""
        return bool(self._stopped)

    def add_stopped(self, attempt: AttemptRef, usage: Usage) -> None:
        """The oldest of very many is forgotten: no gateway has answered for long."""
        if usage.task_seconds > 0:
            self._stopped[attempt] = usage
            while len(self._stopped) > HELD_MAX:
                del self._stopped[next(iter(self._stopped))]
            self.nudge()

    def nudge(self) -> None:
        """Look again whether it is time to send."""
        if (self._pending or self._stopped) and (not self._delaying or self._is_due()):
            self._wake.set()

    def refs(self) -> list[AttemptRef]:
        return list(self._pending)

    def lose(self, ref: AttemptRef) -> bool:
        """Forget the result of a lost attempt. It may have been committed unheard, so its output is left alone."""
        self._sent.discard(ref)
        result = self._pending.pop(ref, None)
        if result is not None:
            self.add_stopped(ref, result.usage)
        return result is not None

    async def run(self) -> None:
        """Send what is added, for ever."""
        while True:
            await self._until_due()
            if not await self.flush():
                await asyncio.sleep(_PAUSE_S)

    async def flush(self) -> bool:
        """What is pending, and what stopped attempts used. False when no gateway took it: it stays for the next."""
        sent = await self.send_results()
        return await self._tell_stopped() and sent

    async def tell(self, returned: tuple[AttemptRef, ...]) -> bool:
        """What is handed back, and how things stand. False when no gateway took it: the next poll tells both."""
        try:
            return (await self._call(returned=returned)).is_taken
        except MantaError:
            return False

    async def send_results(self) -> bool:
        """One call with what is pending. False when no gateway took it."""
        self._hurries, self._reported_s = False, asyncio.get_running_loop().time()
        batch = self._next_batch()
        if not batch:
            return True
        again = {result.attempt for result in batch} & self._sent
        self._sent.update(result.attempt for result in batch)
        try:
            reply = await self._call(batch)
        except (BadRequest, Conflict) as error:
            self._refused(batch, error)
            return True
        except MantaError as error:
            _LOG.warning("%d results wait for a gateway: %s", len(self._pending), error.message)
            self._room = max(1, sum(result.weight for result in batch) // 2)
            self._put_last(batch)
            return False
        self._room = min(2 * self._room, REPORT_BATCH_MAX)
        self._acknowledged(batch, set(reply.stale), again)
        return True

    async def _tell_stopped(self) -> bool:
        told = tuple(StoppedAttempt(*one) for one in islice(self._stopped.items(), REPORT_BATCH_MAX))
        if not told:
            return True
        try:
            await self._call(stopped=told)
        except (BadRequest, Conflict) as error:
            _LOG.error("The gateway refused what %d stopped tasks used: %s", len(told), error.message)
        except MantaError as error:
            _LOG.warning("What %d stopped tasks used waits for a gateway: %s", len(told), error.message)
            return False
        for one in told:
            self._stopped.pop(one.attempt, None)
        return True

    async def _call(
        self,
        results: tuple[TaskResult, ...] = (),
        stopped: tuple[StoppedAttempt, ...] = (),
        returned: tuple[AttemptRef, ...] = (),
    ) -> ReportReply:
        request = ReportRequest(self._node_id, self._epoch, results, stopped, self._standing(), returned)
        return await self._caller.call("report", request, ReportReply)

    def _next_batch(self) -> tuple[TaskResult, ...]:
        """As many as one report takes, counted by inputs and by outputs."""
        room, outputs_room = self._room, REPORT_OUTPUTS_MAX
        batch: list[TaskResult] = []
        for result in self._pending.values():
            room -= result.weight
            outputs_room -= result.output_count
            if min(room, outputs_room) < 0 and batch:
                break
            batch.append(result)
        return tuple(batch)

    def _put_last(self, batch: tuple[TaskResult, ...]) -> None:
        for result in batch:
            if self._pending.pop(result.attempt, None) is not None:
                self._pending[result.attempt] = result

    async def _until_due(self) -> None:
        while not (self._pending or self._stopped):
            self._wake.clear()
            await self._wake.wait()
        self._delaying = True
        try:
            async with asyncio.timeout(REPORT_DELAY_S):
                while not self._is_due():
                    self._wake.clear()
                    await self._wake_or_pause()
        except TimeoutError:
            return
        finally:
            self._delaying = False

    def _is_due(self) -> bool:
        if self._stopped or len(self._pending) >= REPORT_BATCH_MAX or (self._hurries and self._pause_s() <= 0):
            return True
        return self._urgent({ref.job_id for ref in self._pending})

    def _pause_s(self) -> float:
        """A node with many lanes has long tasks end all the time."""
        return self._reported_s + REPORT_PAUSE_S - asyncio.get_running_loop().time()

    async def _wake_or_pause(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._pause_s() if self._hurries else None):
                await self._wake.wait()

    def _acknowledged(self, batch: tuple[TaskResult, ...], stale: set[AttemptRef], again: set[AttemptRef]) -> None:
        """`again` were sent before: what is stale of them may have been committed then, unheard."""
        for result in batch:
            self._sent.discard(result.attempt)
            if self._pending.pop(result.attempt, None) is None or result.attempt not in stale:
                continue
            self.add_stopped(result.attempt, result.usage)
            if result.attempt not in again:
                self._discard(result)
        self._on_change()

    def _refused(self, batch: tuple[TaskResult, ...], error: MantaError) -> None:
        """A batch that the gateway does not take goes one by one; what is refused alone would be refused for ever.

        Its attempt is reported as failed then: one that is only forgotten would be run again without end. Its outputs
        are left to the sweeper, since a blob that the gateway does not take may be another's.
        """
        if len(batch) > 1:
            self._room = 1
            return
        (result,) = batch
        _LOG.error("The gateway refused the result of %s: %s", result.attempt, error.message)
        self._sent.discard(result.attempt)
        held = self._pending.pop(result.attempt, None) is not None
        if held and (result.outputs or result.members or result.failure is None):
            failure = infrastructure_failure(f"The task's result was refused: {error.message}")
            self.add(msgspec.structs.replace(result, outputs=(), stderr=b"", failure=failure, members=()))
