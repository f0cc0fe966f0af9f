"""Scripts of what nodes lose and give back, and how tasks end or wait anew without a result."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby

from jobs.model.states import NODE_LOST, Again, Fail, Stale, TaskState, lose, offer_to
from jobs.model.wire import AttemptRef, Failure, TaskKind
from manta.catalog.job_records import ANY_NODE, Stirred
from manta.catalog.job_scripts.apart import apart
from manta.catalog.job_scripts.attempts import CANCELLED, with_attempt
from manta.catalog.job_scripts.double import end_one_of_two, seen_by, with_other
from manta.catalog.job_scripts.ending import reducer_ended
from manta.catalog.job_scripts.finish import move_on
from manta.catalog.job_scripts.map_tasks import part
from manta.catalog.job_scripts.unit import Unit, find_unit
from manta.catalog.ops import Op, Script
from manta.catalog.task_records import TaskRow


def renew(node_id: str, epoch: str, until_ms: int, now_ms: int, *, begins: bool) -> Script[Stirred]:
    """A new epoch loses every attempt of the one before: that process is gone, though its last poll may still hang."""
    rows = yield Op("agent_get", (node_id,))
    if rows and rows[0][0] != epoch and not begins:
        return Stirred()
    yield Op("agent_save", (node_id, epoch, until_ms))
    if rows and rows[0][0] == epoch:
        return Stirred()
    running = yield Op("tasks_of_node", (node_id,))
    old = [TaskRow(*row) for row in running]
    return (yield from lose_all([task for task in old if task.epoch != epoch], now_ms, delivered=True))


def release(node_id: str, attempts: Sequence[AttemptRef], now_ms: int, *, delivered: bool, why: str) -> Script[Stirred]:
    rows = yield Op("tasks_of_node", (node_id,))
    named = {(one.job_id, one.task_id, one.attempt) for one in attempts}
    mine = [TaskRow(*row) for row in rows]
    gone = [task for task in mine if (task.job_id, task.task_id, task.attempt) in named]
    return (yield from lose_all(gone, now_ms, delivered=delivered, why=why))


def lose_all(tasks: list[TaskRow], now_ms: int, *, delivered: bool, why: str = NODE_LOST) -> Script[Stirred]:
    """Offer them again. Their ends are remembered, but for those of which nobody knows `why`: they never ran."""
    results: list[Stirred] = []
    alive = yield Op("agents_alive", (now_ms,))
    living = [row[0] for row in alive]
    named = {(task.job_id, task.task_id): (task.node_id, task.attempt) for task in tasks}
    for unit, current in (yield from locked(list(named), now_ms)):
        unit.alive = living
        work = _lose(unit, current, named, delivered=delivered, why=why)
        results.append((yield from apart(unit.job.job_id, work, Stirred())))
    return merge(results)


def _lose(
    unit: Unit, tasks: Sequence[TaskRow], named: Mapping[tuple[str, int], tuple[str, int]], *, delivered: bool, why: str
) -> Script[Stirred]:
    """`named`: which node's attempt of each of these tasks of the job."""
    for task in tasks:
        node_id, attempt = named[task.job_id, task.task_id]
        one = seen_by(unit, task, node_id, attempt)
        outcome = lose(one.progress, node_id, attempt, delivered=delivered)
        if isinstance(outcome, Stale):
            continue
        earlier = with_attempt(one, None, unit.now_ms, why) if why else task.earlier
        if end_one_of_two(unit, task, one, earlier) is not None:
            continue
        if isinstance(outcome, Fail):
            fail_task(unit, one, outcome.failure, earlier)
        elif isinstance(outcome, Again):
            put_back(unit, task, outcome, unit.alive, earlier)
    yield from move_on(unit)
    yield from unit.flush()
    return unit.stirred()


def locked(names: Sequence[tuple[str, int]], now_ms: int) -> Script[list[tuple[Unit, list[TaskRow]]]]:
    """Each job locked, in the order of their ids, with those (job, task) as they are under the lock."""
    found: list[tuple[Unit, list[TaskRow]]] = []
    for job_id, group in groupby(sorted(names), key=lambda name: name[0]):
        unit = yield from find_unit(job_id, now_ms)
        if unit is not None:
            rows = yield Op("tasks", (job_id, [task_id for _, task_id in group]))
            found.append((unit, [TaskRow(*row) for row in rows]))
    return found


def fail_task(unit: Unit, task: TaskRow, failure: Failure, earlier: str | None = None) -> None:
    """The task ends; where the first phase reduces, its inputs end with it (J3). A batch falls apart.

    `earlier`: what it remembers of its attempts then, if that is more than before.
    """
    if task.members is not None:
        for one in part(unit, task, {one.task_id for one in task.inputs})[1]:
            fail_task(unit, one, failure, earlier)
        return
    if task.phase == 0 and unit.phases[0].kind is TaskKind.REDUCE:
        reducer_ended(unit, task.reducer, TaskState.FAILED)
    kept = task.earlier if earlier is None else earlier
    unit.change(task, state=int(TaskState.FAILED), slot=None, earlier=kept, **_ended_now(unit, task))
    unit.error(task, failure)


def cancel_task(unit: Unit, task: TaskRow, earlier: str | None = None) -> TaskRow:
    """An unfinished task ends with the job; the nodes that run it are told at their next poll.

    `earlier`: what it remembers of its attempts, when the last of them has just ended by itself. One that is stopped
    is charged when its node tells what it used (`job_scripts.stopped`).
    """
    is_stopped = task.state == TaskState.RUNNING and earlier is None
    elder = unit.elders.get(task.task_id)
    if task.state == TaskState.RUNNING:
        if task.node_id:
            unit.lost.add(task.node_id)
        if elder is not None:
            last = elder.seen_as(task) if elder.node_id else task  # it has run for longer
            earlier = with_other(unit, task, last, CANCELLED) if earlier is None else earlier
            task = last
    if task.state == TaskState.READY:
        unit.withdraw(task)
    for one in task.inputs:
        unit.error(one, Failure(CANCELLED, unit.job.cancel_reason or "The job was cancelled."))
    kept = task.earlier if earlier is None else earlier
    epoch = task.epoch if is_stopped else ""
    return unit.change(
        task, state=int(TaskState.CANCELLED), epoch=epoch, slot=None, earlier=kept, **_ended_now(unit, task)
    )


def _ended_now(unit: Unit, task: TaskRow) -> dict[str, int]:
    """Times of an attempt that its node will not tell."""
    if task.state != TaskState.RUNNING:
        return {}
    return {"started_ms": task.leased_ms, "ended_ms": max(task.leased_ms, unit.now_ms)}


def put_back(unit: Unit, task: TaskRow, outcome: Again, alive: Sequence[str], earlier: str) -> TaskRow:
    """Ready again, with another holder before the one that failed; nothing is run again once the job is cancelled.

    `earlier`: the attempts that the task has behind it now.
    """
    if unit.stopped:
        return cancel_task(unit, task, earlier)
    progress = outcome.progress
    changed = unit.change(
        task,
        state=int(progress.state),
        node_id="",
        epoch="",
        faults=progress.faults,
        losses=progress.losses,
        failures=progress.failures,
        slot=None,
        earlier=earlier,
    )
    if task.blob_id is None:
        unit.offer(task, [ANY_NODE])
    else:
        unit.offer(task, offer_to(task.nodes, outcome.avoid, alive))
    return changed


def merge(parts: Iterable[Stirred]) -> Stirred:
    found = list(parts)
    return Stirred(
        ready=frozenset().union(*(part.ready for part in found)),
        lost=frozenset().union(*(part.lost for part in found)),
        jobs=frozenset().union(*(part.jobs for part in found)),
        more=frozenset().union(*(part.more for part in found)),
        stale=tuple(item for part in found for item in part.stale),
    )
