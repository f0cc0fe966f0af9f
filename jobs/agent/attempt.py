"""One attempt of one task, from its lease to the gateway's acknowledgement of its result."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final

from msgspec import structs

from jobs.model.wire import AttemptRef, BatchInput, InputRef, PhaseSpec, TaskLease
from jobs.sandbox.api import Zone

_KILL_AGAIN_S: Final = 0.2


class Stage(Enum):
    WAITING = auto()
    RUNNING = auto()
    FINISHING = auto()
    UNREPORTED = auto()


@dataclass(slots=True, eq=False)
class Attempt:
    """`lost`: the lease is no longer this node's. What runs is killed, and nothing is reported."""

    lease: TaskLease
    spec: PhaseSpec
    ref: AttemptRef = field(init=False)
    stage: Stage = Stage.WAITING
    since_s: float = 0.0
    """When it came to that stage, by the agent's monotonic clock."""
    lost: bool = False
    zone: Zone | None = None
    worker: asyncio.Task[None] | None = None

    is_further: bool = False
    """Its output is not the one that the task's own slot is for."""
    moved_bytes: int = 0
    """Of a map task's input, what was read from other nodes (J5: none); of all inputs of a batch."""
    untaken_s: float = 0.0
    """Of a batch in turns, how long its processes ran with no input that they had taken."""

    def __post_init__(self) -> None:
        self.ref = AttemptRef(self.lease.job_id, self.lease.task_id, self.lease.attempt)

    @property
    def number(self) -> int:
        """By which its stderr and its outputs are named: the task's, or that of the input of a batch."""
        return self.lease.task_id

    @property
    def input_blobs(self) -> tuple[str, ...]:
        """Of a map task's input, or of each of a batch; an empty object has none."""
        inputs: Sequence[InputRef | None] = [one.input for one in self.lease.batch] or [self.lease.input]
        return tuple(ref.blob_id for ref in inputs if ref is not None and ref.blob_id is not None)

    def of_input(self, one: BatchInput) -> "Attempt":
        """The part of a batch that runs for this input, with the rights of the whole."""
        is_further = one.slot.blob_id != self.lease.slot.blob_id
        lease = structs.replace(self.lease, task_id=one.number, input=one.input, slot=one.slot, batch=())
        part = Attempt(lease, self.spec, is_further=is_further)
        part.ref = self.ref
        return part

    @property
    def group(self) -> tuple[str, int]:
        """Tasks of one group share their zones."""
        return self.lease.job_id, self.lease.phase

    async def kill(self) -> None:
        """End the task, asking until it is dead: a zone that is about to start one has nothing to kill yet."""
        while self.zone is not None:
            await self.zone.kill()
            await asyncio.sleep(_KILL_AGAIN_S)
