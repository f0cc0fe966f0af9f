"""What follows from changed counts: reducers open, the job ends."""

from typing import Any

from jobs.model.states import EndJob, OpenReducers, TaskState, advance, place_reducers
from manta.catalog.job_records import ANY_NODE
from manta.catalog.job_scripts.ending import end_inputs
from manta.catalog.job_scripts.map_tasks import close_batches
from manta.catalog.job_scripts.unit import Unit
from manta.catalog.ops import Op, Script


def move_on(unit: Unit) -> Script[None]:
    """To be called after any change of counts, before the flush.

    The job ends once its inputs say how they ended. A cancelled job ends by its last page of cancelling alone: before,
    inputs without a task may be unfinished (J3).
    """
    close_batches(unit)
    _check_errors(unit)
    if unit.job.ended or (unit.job.cancel_reason is not None and not unit.all_cancelled):
        return
    for step in advance(unit.phases, cancelled=unit.job.cancel_reason is not None):
        if isinstance(step, OpenReducers):
            yield from _open_reducers(unit, step.phase)
        elif isinstance(step, EndJob):
            if unit.job.ending and (yield from end_inputs(unit)):
                unit.job.tend = 1
                return
            unit.job.state = step.state.value
            unit.job.ended_ms = unit.now_ms
            unit.job.tend = 1


def _check_errors(unit: Unit) -> None:
    """So many errors, of whatever kind, and the rest is cancelled."""
    most = unit.plan.max_errors
    if most is not None and not unit.stopped and unit.job.errors >= most:
        unit.begin_cancel(f"The job reached its max_errors of {most}.")


def _open_reducers(unit: Unit, number: int) -> Script[None]:
    """Reducers run with zero inputs too. Inputs still to be flushed in this transaction are counted as well."""
    phase = unit.phases[number]
    weights: dict[int, dict[str, int]] = {}
    rows = yield Op("shuffle_weights", (unit.job.job_id, number))
    for reducer, holders, size in rows:
        _weigh(weights, reducer, holders, size)
    for row in unit.shuffles:
        if row[1] == number:
            _weigh(weights, row[2], row[8], row[6])
    alive = yield Op("agents_alive", (unit.now_ms,))
    homes = place_reducers(phase.reducers, weights, [row[0] for row in alive])
    phase.waiting = 0
    for reducer in range(phase.reducers):
        task = unit.new_task(number, TaskState.READY, reducer=reducer, holders=homes[reducer])
        unit.offer(task, [homes[reducer]] if homes[reducer] else [ANY_NODE])


def _weigh(weights: dict[int, dict[str, int]], reducer: Any, holders: str, size: Any) -> None:
    own = weights.setdefault(int(reducer), {})
    for node in holders.split(",") if holders else ():
        own[node] = own.get(node, 0) + int(size)
