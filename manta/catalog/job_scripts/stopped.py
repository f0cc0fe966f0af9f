"""The script that charges what attempts used which a cancel, a deletion or `max_errors` stopped, once their nodes tell.

A cancelled task's row keeps the epoch of the attempt that was stopped until then: so nothing is charged twice, nor for
what the node was never leased. What the store stopped by itself, a lost lease say, has no such row and is free.
"""

from collections.abc import Mapping, Sequence

from jobs.model.states import TaskState
from jobs.model.wire import StoppedAttempt, Usage
from manta.catalog.job_scripts.apart import apart
from manta.catalog.job_scripts.loss import locked
from manta.catalog.job_scripts.report_check import check_usage
from manta.catalog.job_scripts.unit import Unit
from manta.catalog.job_scripts.usage import Spent, charge, counted, save_spent
from manta.catalog.ops import Script
from manta.catalog.task_records import TaskRow


def stopped(node_id: str, attempts: Sequence[StoppedAttempt], now_ms: int) -> Script[None]:
    """BadRequest for an odd usage."""
    for one in attempts:
        check_usage(one.attempt, one.usage)
    told = {(one.attempt.job_id, one.attempt.task_id, one.attempt.attempt): one.usage for one in attempts}
    names = sorted({(job_id, task_id) for job_id, task_id, _ in told})
    spent: dict[str, Spent] = {}
    for unit, tasks in (yield from locked(names, now_ms)):
        owed = [task for task in tasks if _is_owed(task, node_id)]
        yield from apart(unit.job.job_id, _settle(unit, owed, told, spent), None)
    yield from save_spent(spent, now_ms)


def _is_owed(task: TaskRow, node_id: str) -> bool:
    return task.state == TaskState.CANCELLED and task.node_id == node_id and bool(task.epoch)


def _settle(
    unit: Unit, owed: Sequence[TaskRow], told: Mapping[tuple[str, int, int], Usage], spent: dict[str, Spent]
) -> Script[None]:
    before = counted(unit.job)
    for task in owed:
        usage = told.get((task.job_id, task.task_id, task.attempt))
        if usage is not None:
            unit.count_usage(task, usage)
            unit.change(task, epoch="", started_ms=usage.started_ms, ended_ms=usage.ended_ms)
    if unit.saves:
        yield from unit.flush()
        charge(spent, unit.job, before, unit.ran)
