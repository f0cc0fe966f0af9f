"""Second attempts: a straggler runs on another node too, and the first attempt to commit wins (J1, J2).

The task's row has the newer attempt, `elders` the other. One that ends without a commit while the other goes on changes
nothing but that it has ended, with one exception: a failure of the user's in the elder attempt decides as if it were
alone. So a second attempt never counts as a failure.
"""

from jobs.model.states import TaskState, double, second_attempts_max
from jobs.model.wire import AttemptRef
from manta.catalog.job_records import Choice, Choose, Granted
from manta.catalog.job_scripts.attempts import with_attempt
from manta.catalog.job_scripts.rights import denied_inputs
from manta.catalog.job_scripts.unit import Unit, find_unit
from manta.catalog.ops import Op, Script
from manta.catalog.task_records import Elder, TaskRow


def lease_second(
    node_id: str, epoch: str, straggler: AttemptRef, slot: str, now_ms: int, choose: Choose
) -> Script[Granted | None]:
    """The task of that attempt for this node as well; None where that cannot be."""
    agent = yield Op("agent_get", (node_id,))
    if not agent or agent[0][0] != epoch:
        return None
    unit = yield from find_unit(straggler.job_id, now_ms)
    rows = yield Op("tasks", (straggler.job_id, [straggler.task_id]))
    if unit is None or not rows or not _may_double(unit, TaskRow(*rows[0]), straggler, node_id):
        return None
    task = TaskRow(*rows[0])
    is_for_here = choose(unit.plan.phases[task.phase], task.hosts, False) is Choice.HERE
    if not is_for_here or (yield from denied_inputs(unit, [task])):
        return None
    second = double(task.progress, node_id)
    unit.save_elder(Elder(task.task_id, task.attempt, task.node_id, task.epoch, task.leased_ms, task.slot))
    unit.job.doubled += 1
    changed = unit.change(task, attempt=second.attempt, node_id=node_id, epoch=epoch, leased_ms=now_ms, slot=slot)
    yield from unit.flush()
    return Granted(changed, unit.job.owner_id, unit.plan)


def _may_double(unit: Unit, task: TaskRow, straggler: AttemptRef, node_id: str) -> bool:
    current = task.state == TaskState.RUNNING and task.attempt == straggler.attempt
    reaches = task.blob_id is None or node_id in task.nodes
    ended = sum(phase.committed + phase.failed for phase in unit.phases)
    return (
        not unit.stopped
        and current
        and task.node_id not in ("", node_id)
        and task.task_id not in unit.elders
        and task.members is None  # some of its inputs might end in one attempt, some in the other
        and reaches
        and unit.job.doubled < second_attempts_max(ended)
    )


def end_one_of_two(unit: Unit, task: TaskRow, one: TaskRow, earlier: str) -> TaskRow | None:
    """The attempt `one` of the task ends without a commit: the task as it goes on, None when there is no other attempt.

    `one` is the task itself, or seen as its elder attempt.
    """
    elder = unit.elders.get(task.task_id)
    if elder is None:
        return None
    if one.attempt == elder.attempt:
        if not task.node_id:
            return None
        unit.save_elder(elder._replace(node_id="", epoch="", slot=None))
        return unit.change(task, earlier=earlier)
    if not elder.node_id:
        return None
    return unit.change(task, node_id="", epoch="", slot=None, earlier=earlier)


def with_other(unit: Unit, task: TaskRow, last: TaskRow, why: str) -> str:
    """What the task remembers once `last` is its last attempt: of two, the other one ends with it, by `why`."""
    elder = unit.elders.get(task.task_id)
    if elder is None:
        return task.earlier
    other = elder.seen_as(task) if last.attempt == task.attempt else task
    return with_attempt(other, None, unit.now_ms, why) if other.node_id else task.earlier


def seen_by(unit: Unit, task: TaskRow, node_id: str, attempt: int) -> TaskRow:
    """The task as the holder of that attempt knows it."""
    elder = unit.elders.get(task.task_id)
    if elder is not None and elder.attempt == attempt and elder.node_id == node_id:
        return elder.seen_as(task)
    return task
