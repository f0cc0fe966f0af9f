"""How the run of one attempt, or of one input of a batch, has ended, while its output is not stored yet."""

from dataclasses import dataclass

from jobs.agent.attempt import Attempt
from jobs.agent.counters import InputBytes
from jobs.agent.outcome import failure_of, infrastructure_failure
from jobs.agent.output_limit import OutputMeter
from jobs.agent.streams.capture import Stdout
from jobs.agent.tasks.program_calls import ProgramCalls
from jobs.model.ranges import Range
from jobs.model.wire import Failure, PhaseSpec, TaskKind, Usage
from jobs.sandbox.api import TaskEnd


@dataclass(slots=True)
class Ended:
    """An attempt whose processes are dead; its output may still have to be stored."""

    started_ms: int
    counted: InputBytes
    meter: OutputMeter
    stdout: Stdout | None = None
    programs: ProgramCalls | None = None
    stderr: bytes = b""
    end: TaskEnd | None = None
    failure: Failure | None = None
    lines: Range | None = None
    """What a task of a split input read of it."""

    def usage(self, attempt: Attempt, ended_ms: int) -> Usage:
        """What the run cost. A map task that ran has read its input, or its range of it, from the file here."""
        in_place = 0
        if self.end is not None and attempt.spec.kind is TaskKind.MAP and attempt.lease.input is not None:
            in_place = attempt.lease.input.size if self.lines is None else self.lines.size
        return Usage(
            started_ms=self.started_ms,
            ended_ms=ended_ms,
            task_seconds=self.end.wall_s if self.end is not None else 0.0,
            in_place_bytes=in_place,
            moved_bytes=attempt.moved_bytes,
            shuffled_bytes=self.counted.shuffled,
            copied_bytes=self.meter.copied_bytes,
        )

    def failure_of(self, spec: PhaseSpec) -> Failure | None:
        """The agent's own troubles first: they are what ended the task then."""
        if self.failure is not None or self.end is None:
            return self.failure
        if self.programs is not None and self.programs.trouble is not None:
            return infrastructure_failure(f"An output could not be stored: {self.programs.trouble.message}")
        if self.stdout is not None and self.stdout.failure is not None:
            return infrastructure_failure(f"The output could not be stored: {self.stdout.failure.message}")
        return failure_of(self.end, spec, self.meter.exceeded)
