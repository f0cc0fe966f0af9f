"""Runs a task that takes a batch: each input as a task of its own, one after another in the same zone.

What a command sees and leaves is what it would without a batch; a program takes the inputs in one process. A result
waits for those of its batch, and all are reported together; outputs are stored while the next input runs.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from typing import Final

from msgspec import structs

from jobs.agent.attempt import Attempt
from jobs.agent.outcome import infrastructure_failure
from jobs.agent.peer_meter import MeteredPeers
from jobs.agent.streams.outputs import Outputs
from jobs.agent.tasks.ended import Ended
from jobs.agent.tasks.in_turns import run_in_turns
from jobs.agent.tasks.runner import CHECKED_TOGETHER, Runner
from jobs.model.wire import AttemptRef, TaskResult, Usage
from jobs.sandbox.api import TaskEnd, Zone
from manta.core.limits import REPORT_OUTPUTS_MAX

_STORING_MAX: Final = 4
"""Inputs of one batch whose outputs are being stored; more hold the batch."""


@dataclass(slots=True)
class BatchEnded(Ended):
    """The parts of a batch: those whose outputs are being stored, and the results of the others."""

    storing: deque[asyncio.Task[TaskResult]] = field(default_factory=deque)
    results: list[TaskResult] = field(default_factory=list)
    output_count: int = 0


class BatchRunner:
    """A `lanes.TaskRunner` over the one for single inputs."""

    def __init__(self, runner: Runner, outputs: Outputs, peers: MeteredPeers) -> None:
        self._runner = runner
        self._outputs = outputs
        self._peers = peers

    def prepare(self, attempts: Sequence[Attempt]) -> None:
        self._runner.prepare([attempt for attempt in attempts if not attempt.lease.batch])

    async def run(self, attempt: Attempt, zone: Zone, environment: dict[str, str]) -> Ended:
        """Raises `ZoneBroken`: then none of the batch counts."""
        with self._peers.map_inputs_of([attempt]):
            return await self._run(attempt, zone, environment)

    async def _run(self, attempt: Attempt, zone: Zone, environment: dict[str, str]) -> Ended:
        if not attempt.lease.batch:
            return await self._runner.run(attempt, zone, environment)
        ended = BatchEnded(*self._runner.begin())
        attempt.zone = zone
        try:
            await self._run_all(attempt, zone, environment, ended)
        except BaseException:
            await self.abandon(attempt, ended)
            raise
        finally:
            attempt.zone = None
        return ended

    async def _run_all(self, attempt: Attempt, zone: Zone, environment: dict[str, str], ended: BatchEnded) -> None:
        parts = [attempt.of_input(one) for one in attempt.lease.batch]
        runs = (
            run_in_turns(self._runner, attempt, parts, zone, environment)
            if attempt.spec.program is not None
            else self._run_apart(parts, zone, environment)
        )
        wall_s = 0.0
        async with contextlib.aclosing(runs):
            async for part, one in runs:
                wall_s += one.end.wall_s if one.end is not None else 0.0
                ended.storing.append(asyncio.create_task(self._runner.finish(part, one)))
                if len(ended.storing) > _STORING_MAX:
                    await self._take(attempt, ended)
                if attempt.lost:
                    return
        ended.end = TaskEnd(0, None, core_dumped=False, overrun=None, wall_s=wall_s, cpu_s=0.0)

    async def _run_apart(
        self, parts: Sequence[Attempt], zone: Zone, environment: dict[str, str]
    ) -> AsyncGenerator[tuple[Attempt, Ended], None]:
        for place, part in enumerate(parts):
            if place % CHECKED_TOGETHER == 0:
                self._runner.prepare(parts[place : place + CHECKED_TOGETHER])
            yield part, await self._runner.run(part, zone, environment)

    async def _take(self, attempt: Attempt, ended: BatchEnded) -> None:
        """The oldest that is being stored, under its own number."""
        result = await asyncio.shield(ended.storing[0])
        ended.storing.popleft()
        if ended.output_count + len(result.outputs) > REPORT_OUTPUTS_MAX:
            result = await self._too_many(result)
        ended.output_count += len(result.outputs)
        number = attempt.lease.batch[len(ended.results)].number
        ref = AttemptRef(attempt.ref.job_id, number, attempt.ref.attempt)
        ended.results.append(structs.replace(result, attempt=ref))

    async def _too_many(self, result: TaskResult) -> TaskResult:
        """Alone it is within the limits: it leaves the batch, to be a task of its own."""
        await self._outputs.discard(*(one.blob_id for one in result.outputs if one.blob_id is not None))
        failure = infrastructure_failure(f"The outputs of its batch are more than {REPORT_OUTPUTS_MAX} together.")
        return structs.replace(result, outputs=(), failure=failure)

    async def finish(self, attempt: Attempt, ended: Ended) -> TaskResult:
        if not isinstance(ended, BatchEnded):
            return await self._runner.finish(attempt, ended)
        while ended.storing:
            await self._take(attempt, ended)
        return TaskResult(attempt.ref, _usage_of(attempt, ended), members=tuple(ended.results))

    async def abandon(self, attempt: Attempt, ended: Ended) -> Usage:
        """No result of it is reported: what is stored already is removed, what is on its way runs out first."""
        if not isinstance(ended, BatchEnded):
            return await self._runner.abandon(attempt, ended)
        while ended.storing:
            with contextlib.suppress(Exception):
                ended.results.append(await ended.storing[0])
            ended.storing.popleft()
        blobs = [output.blob_id for one in ended.results for output in one.outputs if output.blob_id is not None]
        if blobs:
            await self._outputs.discard(*blobs)
        return _usage_of(attempt, ended)


def _usage_of(attempt: Attempt, ended: BatchEnded) -> Usage:
    """Of all parts that ran."""
    parts = [one.usage for one in ended.results]
    return Usage(
        started_ms=min((one.started_ms for one in parts), default=ended.started_ms),
        ended_ms=max((one.ended_ms for one in parts), default=ended.started_ms),
        task_seconds=attempt.untaken_s + sum(one.task_seconds for one in parts),
        in_place_bytes=sum(one.in_place_bytes for one in parts),
        moved_bytes=attempt.moved_bytes + sum(one.moved_bytes for one in parts),
        copied_bytes=sum(one.copied_bytes for one in parts),
    )
