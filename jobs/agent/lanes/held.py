"""The attempts that a node holds, from their lease to the handing over of their result, and how they end."""

import asyncio
from collections.abc import Sequence
from typing import Protocol

from jobs.agent.attempt import Attempt, Stage
from jobs.agent.outcome import own_fault
from jobs.agent.tasks.ended import Ended
from jobs.model.wire import AttemptRef, Failure, TaskResult, Usage
from jobs.sandbox.api import Zone
from manta.core.clock import Clock


class TaskRunner(Protocol):
    def prepare(self, attempts: Sequence[Attempt]) -> None: ...

    async def run(self, attempt: Attempt, zone: Zone, environment: dict[str, str]) -> Ended: ...

    async def finish(self, attempt: Attempt, ended: Ended) -> TaskResult: ...

    async def abandon(self, attempt: Attempt, ended: Ended) -> Usage: ...


class Results(Protocol):
    def add(self, result: TaskResult) -> None: ...

    def add_stopped(self, attempt: AttemptRef, usage: Usage) -> None: ...


class HeldAttempts:
    """`results` gets each result; of an attempt that was lost, what it used and nothing else."""

    def __init__(self, runner: TaskRunner, clock: Clock, results: Results) -> None:
        self._runner = runner
        self._clock = clock
        self._results = results
        self._attempts: dict[AttemptRef, Attempt] = {}

    def attempts(self) -> list[Attempt]:
        return list(self._attempts.values())

    def __contains__(self, ref: AttemptRef) -> bool:
        return ref in self._attempts

    def get(self, ref: AttemptRef) -> Attempt | None:
        return self._attempts.get(ref)

    def add(self, attempt: Attempt) -> None:
        self._attempts[attempt.ref] = attempt

    def forget(self, attempt: Attempt) -> None:
        self._attempts.pop(attempt.ref, None)

    async def finish(self, attempt: Attempt, ended: Ended) -> None:
        """Store what it made and hand its result over; what was lost meanwhile leaves nothing behind."""
        if not attempt.lost:
            try:
                result = await self._runner.finish(attempt, ended)
            except asyncio.CancelledError:
                if not attempt.lost:
                    raise
            except Exception as error:
                self.refuse(attempt, own_fault(error))
                return
        if attempt.lost:
            self._results.add_stopped(attempt.ref, await self._runner.abandon(attempt, ended))
        else:
            self._hand_over(attempt, result)

    def refuse(self, attempt: Attempt, failure: Failure) -> None:
        """A result for an attempt that did not run."""
        now_ms = int(self._clock.wall_s() * 1000)
        if not attempt.lost:
            usage = Usage(started_ms=now_ms, ended_ms=now_ms, task_seconds=0.0)
            self._hand_over(attempt, TaskResult(attempt.ref, usage, failure=failure))

    def _hand_over(self, attempt: Attempt, result: TaskResult) -> None:
        self.forget(attempt)
        attempt.stage = Stage.UNREPORTED
        self._results.add(result)
