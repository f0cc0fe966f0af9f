"""Runs one attempt in a zone: its input checked, its pipes watched, its end put into words, its output stored."""

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Final

from jobs.agent.attempt import Attempt
from jobs.agent.counters import InputBytes
from jobs.agent.outcome import infrastructure_failure, init_failure, own_fault
from jobs.agent.output_limit import OutputMeter
from jobs.agent.peer_meter import MeteredPeers
from jobs.agent.ports import Caller, LocalStore
from jobs.agent.stderr.store import StderrStore
from jobs.agent.streams.capture import Stdout
from jobs.agent.streams.inputs import InputDenied, ReduceInputs
from jobs.agent.streams.outputs import Outputs
from jobs.agent.streams.pipes import Ends, InPipe, TailPipe
from jobs.agent.streams.ranges import lines_of
from jobs.agent.streams.task_outputs import TaskOutputs
from jobs.agent.tasks.ended import Ended
from jobs.agent.tasks.program_calls import ProgramCalls
from jobs.agent.zones.doors import ZoneWithDoor
from jobs.agent.zones.environment import input_name, task_environment
from jobs.model.wire import Failure, InputRef, Output, TaskKind, TaskResult, Usage
from jobs.sandbox.api import TaskEnd, TaskSpec, Zone
from manta.core.clock import Clock
from manta.core.errands import spawn
from manta.core.errors import InvalidArgument, MantaError, SandboxUnavailable
from manta.core.limits import LEASE_BATCH_MAX, STDERR_IN_ERROR_BYTES, STDERR_KEEP_BYTES

CHECKED_TOGETHER: Final = LEASE_BATCH_MAX
"""Inputs of a batch that are checked at a time, ahead of their turn."""


class ZoneBroken(Exception):
    """The zone cannot run tasks any more: the attempt was not the task's fault."""


def blame(error: BaseException, ended: Ended) -> None:
    """Says in `ended` what is the task's own fault, though it did not begin; raises what is not."""
    if isinstance(error, SandboxUnavailable):
        raise ZoneBroken(error.message) from error
    if not isinstance(error, InvalidArgument):
        raise error
    ended.failure = init_failure(error.message)


class Runner:
    """`run` holds a lane, `finish` does not."""

    def __init__(
        self,
        node_id: str,
        store: LocalStore,
        inputs: ReduceInputs,
        outputs: Outputs,
        caller: Caller,
        stderr: StderrStore,
        clock: Clock,
        peers: MeteredPeers,
    ) -> None:
        self._node_id = node_id
        self._caller = caller
        self._store = store
        self._inputs = inputs
        self._outputs = outputs
        self._stderr = stderr
        self._clock = clock
        self._counters = peers.counters
        self._peers = peers
        self._loop = asyncio.get_running_loop()
        self._errands: set[asyncio.Task[None]] = set()

    def prepare(self, attempts: Sequence[Attempt]) -> None:
        """Check the inputs of waiting attempts together, ahead of their turn."""
        if len(attempts) > 1:
            spawn(self._errands, self.check_ahead(attempts))

    async def check_ahead(self, attempts: Sequence[Attempt]) -> None:
        refs = [attempt.lease.input for attempt in attempts if attempt.lease.input is not None]
        blobs = [(ref.blob_id, ref.size) for ref in refs if ref.blob_id is not None]
        if len(blobs) > 1:
            with self._peers.map_inputs_of(attempts):
                await self._store.check_ahead(blobs)

    def begin(self) -> tuple[int, InputBytes, OutputMeter]:
        """When an attempt begins, what it has read and what it has put out."""
        return self._now_ms(), InputBytes(), self._outputs.meter()

    async def run(self, attempt: Attempt, zone: Zone, environment: dict[str, str]) -> Ended:
        """The attempt in that zone, to the death of its last process. Raises `ZoneBroken`.

        A range in which no line begins is not run: it has succeeded without an output.
        """
        ended = Ended(*self.begin())
        blob = await self.checked(attempt, ended)
        if ended.failure is not None or attempt.lost or (ended.lines is not None and ended.lines.size == 0):
            return ended
        stdin, stdout, stderr = self._open_pipes(attempt, ended.meter)
        task = TaskSpec(
            command=attempt.spec.exec,
            env=task_environment(environment, attempt.spec, attempt.lease, ended.lines),
            timeout_s=attempt.spec.timeout_s,
            stdout_fd=stdout.write_fd,
            stderr_fd=stderr.write_fd,
            blob=blob,
            input_name=input_name(attempt.lease.input.key) if attempt.lease.input is not None else None,
            stdin_fd=stdin.read_fd if stdin is not None else None,
            stdin_range=ended.lines,
        )
        try:
            ended.end = await self._run_served(attempt, zone, task, stdin, ended)
        except BaseException as error:
            await self.drop(attempt, ended, stdout, stderr)
            blame(error, ended)
            return ended
        ended.stdout = stdout
        ended.stderr = stderr.finish()
        return ended

    async def checked(self, attempt: Attempt, ended: Ended) -> str | None:
        """The blob of a map task's input, verified, and `ended.lines`; `ended.failure` where it cannot be read here."""
        if attempt.spec.kind is not TaskKind.MAP or attempt.lease.input is None:
            return None
        try:
            blob = await self._verified(attempt.lease.input)
            ended.lines = await lines_of(self._store, attempt.lease.input)
        except MantaError as error:
            ended.failure = infrastructure_failure(f"The input could not be read on this node: {error.message}")
            return None
        return blob

    async def drop(self, attempt: Attempt, ended: Ended, stdout: Stdout, stderr: TailPipe) -> None:
        """What was opened for an attempt that did not run to its end."""
        await stdout.discard()
        if ended.programs is not None:
            await ended.programs.outputs.discard()
        stderr.close()
        self._stderr.forget(attempt.ref.job_id, attempt.number, attempt.lease.attempt)

    async def finish(self, attempt: Attempt, ended: Ended) -> TaskResult:
        """The result to report, once the output is durable everywhere it has to be."""
        if ended.end is not None:
            self._stderr.keep(attempt.ref.job_id, attempt.number, attempt.lease.attempt, ended.stderr)
        failure = ended.failure_of(attempt.spec)
        outputs: tuple[Output, ...] = ()
        if ended.stdout is not None and failure is None:
            try:
                outputs = await self._store_outputs(attempt, ended, ended.stdout)
                failure = ended.failure_of(attempt.spec)
            except MantaError as error:
                failure = infrastructure_failure(f"The output could not be stored: {error.message}")
        elif ended.stdout is not None:
            await ended.stdout.discard()
        if failure is not None:
            outputs = ()
            if ended.programs is not None:
                await ended.programs.outputs.discard()
        return self._result(attempt, ended, outputs, failure)

    async def abandon(self, attempt: Attempt, ended: Ended) -> Usage:
        """Forget an attempt whose lease was lost, with what it wrote, but for what it used."""
        self._stderr.forget(attempt.ref.job_id, attempt.number, attempt.lease.attempt)
        if ended.stdout is not None:
            await ended.stdout.discard()
        if ended.programs is not None:
            await ended.programs.outputs.discard()
        await self._outputs.discard(attempt.lease.slot.blob_id)
        return ended.usage(attempt, self._now_ms())

    def _open_pipes(self, attempt: Attempt, meter: OutputMeter) -> tuple[InPipe | None, Stdout, TailPipe]:
        """All of them or none: OSError when this process may open no more files."""
        with contextlib.ExitStack() as undo:
            stdin = InPipe(self._loop) if attempt.spec.kind is TaskKind.REDUCE else None
            if stdin is not None:
                undo.callback(stdin.close)
            stdout, stderr = self.open_output(attempt, meter)
            undo.pop_all()
        return stdin, stdout, stderr

    def open_output(
        self, attempt: Attempt, meter: OutputMeter, shared: tuple[Ends, Ends] | tuple[None, None] = (None, None)
    ) -> tuple[Stdout, TailPipe]:
        """Both or none, and its stderr can be watched from here on."""
        stdout = Stdout(
            self._loop, self._store, attempt.lease.slot.blob_id, lambda: self._kill(attempt), meter, shared[0]
        )
        try:
            stderr = TailPipe(self._loop, STDERR_KEEP_BYTES, shared[1])
        except BaseException:
            stdout.close()
            raise
        self._stderr.watch(attempt.ref.job_id, attempt.number, attempt.lease.attempt, stderr)
        return stdout, stderr

    async def _verified(self, ref: InputRef) -> str | None:
        return None if ref.blob_id is None else await self._store.checked(ref.blob_id, ref.size)

    async def _run_served(
        self, attempt: Attempt, zone: Zone, task: TaskSpec, stdin: InPipe | None, ended: Ended
    ) -> TaskEnd:
        """With the zone's door open to the task's programs, for this attempt alone."""
        if not isinstance(zone, ZoneWithDoor):
            return await self._run_fed(attempt, zone, task, stdin, ended)
        self.admit(attempt, zone, ended)
        try:
            return await self._run_fed(attempt, zone, task, stdin, ended)
        finally:
            await zone.door.shut()

    def admit(self, attempt: Attempt, zone: ZoneWithDoor, ended: Ended) -> None:
        """The zone's door is this attempt's, until it is shut."""
        ended.programs = ProgramCalls(
            self._node_id,
            attempt.ref,
            TaskOutputs(
                self._node_id,
                attempt.ref,
                self._store,
                self._outputs,
                self._caller,
                ended.meter,
                inline_bytes=attempt.spec.inline_bytes,
            ),
            self._inputs,
            self._caller,
            lambda: self._kill(attempt),
        )
        zone.door.admit(ended.programs.serve)

    async def _run_fed(
        self, attempt: Attempt, zone: Zone, task: TaskSpec, stdin: InPipe | None, ended: Ended
    ) -> TaskEnd:
        feeder = self._loop.create_task(self._feed(attempt, stdin, ended)) if stdin is not None else None
        attempt.zone = zone
        try:
            return await zone.run(task)
        finally:
            attempt.zone = None
            if feeder is not None and stdin is not None:
                feeder.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await feeder
                stdin.close()

    async def _feed(self, attempt: Attempt, stdin: InPipe, ended: Ended) -> None:
        try:
            await self._inputs.stream(attempt.ref, stdin, ended.counted)
        except InputDenied as error:
            ended.failure = Failure(error.code, f"An input of the reducer may not be read: {error.message}")
            self._kill(attempt)
        except MantaError as error:
            ended.failure = infrastructure_failure(f"An input of the reducer could not be read: {error.message}")
            self._kill(attempt)
        except Exception as error:
            ended.failure = own_fault(error)
            self._kill(attempt)

    def _kill(self, attempt: Attempt) -> None:
        spawn(self._errands, attempt.kill())

    async def _store_outputs(self, attempt: Attempt, ended: Ended, stdout: Stdout) -> tuple[Output, ...]:
        """stdout is an output only where no program put out another."""
        outputs: tuple[Output, ...] = ()
        if ended.programs is not None and ended.programs.outputs.replaces_stdout:
            await stdout.discard()
            await self._outputs.discard(attempt.lease.slot.blob_id)
        else:
            captured = await stdout.finish()
            if ended.failure_of(attempt.spec) is not None:
                return ()
            stored = await self._outputs.store(
                attempt.ref,
                attempt.lease.slot,
                captured,
                ended.meter,
                further=attempt.is_further,
                inline_bytes=attempt.spec.inline_bytes,
            )
            outputs = (stored,)
        if ended.programs is not None:
            outputs += await ended.programs.outputs.store()
        self._counters.output_bytes += sum(output.size for output in outputs if output.version_id is None)
        return outputs

    def _result(
        self, attempt: Attempt, ended: Ended, outputs: tuple[Output, ...], failure: Failure | None
    ) -> TaskResult:
        usage = ended.usage(attempt, self._now_ms())
        self._counters.add(usage, failed=failure is not None)
        stderr = ended.stderr[-STDERR_IN_ERROR_BYTES:] if failure is not None else b""
        return TaskResult(attempt.ref, usage, outputs, failure, stderr)

    def _now_ms(self) -> int:
        return int(self._clock.wall_s() * 1000)
