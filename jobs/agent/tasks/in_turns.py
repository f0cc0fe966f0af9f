"""Runs the inputs of a batch one after another in one process of their program, as long as they end well.

An input that fails takes its process with it, so that it is judged as a task of its own would be; those behind it have
another one.
"""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Final

from jobs.agent.attempt import Attempt
from jobs.agent.tasks.ended import Ended
from jobs.agent.tasks.runner import CHECKED_TOGETHER, Runner, blame
from jobs.agent.tasks.turn_process import NotTakenError, TurnProcess
from jobs.agent.zones.doors import ZoneWithDoor
from jobs.agent.zones.environment import input_name, turn_environment
from jobs.model.wire import Failure
from jobs.programs.turns import IN_TURNS
from jobs.sandbox.api import TaskEnd, TaskInput, Zone

_FEWEST: Final = 8
"""Inputs that a process is given at least, however many fail: each has to be mounted for it."""


@dataclass(frozen=True, slots=True)
class _Turn:
    """`failure` is why the input cannot be read here."""

    part: Attempt
    blob: str | None
    failure: Failure | None


async def run_in_turns(
    runner: Runner, attempt: Attempt, parts: Sequence[Attempt], zone: Zone, environment: dict[str, str]
) -> AsyncGenerator[tuple[Attempt, Ended], None]:
    """Each part and how it ended, in their order; fewer when the attempt is lost meanwhile. Raises `ZoneBroken`."""
    waiting = await _checked(runner, parts)
    share = len(waiting)
    while waiting and not attempt.lost:
        taken, failed = 0, False
        given = waiting[:share]
        process = _start(attempt, given, zone, environment)
        try:
            for place, turn in enumerate(given):
                try:
                    ended = await _run_turn(runner, process, turn, place, zone)
                except NotTakenError as error:
                    attempt.untaken_s += error.wall_s
                    break
                taken += 1
                failed = ended.end is not None and not _is_well(ended.end)
                yield turn.part, ended
                if attempt.lost or process.has_ended:
                    break
        finally:
            await process.end()
        waiting = waiting[taken:]
        share = max(_FEWEST, share // 2) if failed else 2 * share


async def _checked(runner: Runner, parts: Sequence[Attempt]) -> list[_Turn]:
    turns: list[_Turn] = []
    for place, part in enumerate(parts):
        if place % CHECKED_TOGETHER == 0:
            await runner.check_ahead(parts[place : place + CHECKED_TOGETHER])
        ended = Ended(*runner.begin())
        blob = await runner.checked(part, ended)
        turns.append(_Turn(part, blob, ended.failure))
    return turns


def _start(attempt: Attempt, turns: Sequence[_Turn], zone: Zone, environment: dict[str, str]) -> TurnProcess:
    refs = [turn.part.lease.input for turn in turns]
    inputs = [TaskInput(turn.blob, input_name(ref.key if ref else "")) for turn, ref in zip(turns, refs, strict=True)]
    spec = attempt.spec
    command = f"exec {spec.exec} {IN_TURNS}"  # no shell stays: a process of the task but its own is one to be ended
    return TurnProcess(zone, command, environment, inputs, spec.timeout_s)


async def _run_turn(runner: Runner, process: TurnProcess, turn: _Turn, place: int, zone: Zone) -> Ended:
    part, ended = turn.part, Ended(*runner.begin())
    if turn.failure is not None:
        ended.failure = turn.failure
        return ended
    stdout, stderr = runner.open_output(part, ended.meter, (process.stdout, process.stderr))
    part.zone = zone
    try:
        end = await _told(runner, process, turn, place, zone, ended)
        await (stdout.end() if _is_well(end) else stdout.discard())
    except BaseException as error:
        await runner.drop(part, ended, stdout, stderr)
        blame(error, ended)
        return ended
    finally:
        part.zone = None
    ended.end, ended.stdout, ended.stderr = end, stdout, stderr.finish()
    return ended


async def _told(runner: Runner, process: TurnProcess, turn: _Turn, place: int, zone: Zone, ended: Ended) -> TaskEnd:
    """With the zone's door open for this input alone."""
    variables = turn_environment(turn.part.spec, turn.part.lease, place)
    if not isinstance(zone, ZoneWithDoor):
        return await process.turn(variables)
    runner.admit(turn.part, zone, ended)
    try:
        return await process.turn(variables)
    finally:
        await zone.door.shut()


def _is_well(end: TaskEnd) -> bool:
    return end.exit_status == 0 and end.overrun is None
