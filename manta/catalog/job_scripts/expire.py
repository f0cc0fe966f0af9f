"""The script of what time alone decides: dead nodes lose what they ran, and what waits for them is looked at again."""

import math
from collections.abc import Collection, Mapping

from jobs.model.states import TaskState
from jobs.model.wire import Failure
from manta.catalog.job_records import ANY_NODE, Stirred, TaskRow
from manta.catalog.job_scripts.finish import move_on
from manta.catalog.job_scripts.lease import fail_task, locked, lose_all, merge
from manta.catalog.ops import Op, Script
from manta.core.limits import HOLDER_WAIT_S, REDUCER_PATIENCE_S, RESOLVE_PAGE


def known_agents() -> Script[list[tuple[str, str, int]]]:
    rows = yield Op("agents_all")
    found = {row[0]: (row[0], row[1], int(row[2])) for row in rows}
    queues = yield Op("ready_nodes")
    for (queue,) in queues:
        if queue != ANY_NODE:
            found.setdefault(queue, (queue, "", 0))
    return list(found.values())


def expire(now_ms: int, alive: Collection[str], dead: Mapping[str, float]) -> Script[Stirred]:
    stirred = Stirred()
    for node_id in sorted(dead):
        rows = yield Op("tasks_of_node", (node_id,))
        if rows:
            stirred = merge([stirred, (yield from lose_all([TaskRow(*row) for row in rows], now_ms, delivered=True))])
    queues = yield Op("ready_nodes")
    for (queue,) in queues:
        if queue != ANY_NODE and queue not in alive:
            stirred = merge([stirred, (yield from _requeue(queue, alive, dead, now_ms))])
    return merge([stirred, (yield from _free_reducers(now_ms))])


def _requeue(queue: str, alive: Collection[str], dead: Mapping[str, float], now_ms: int) -> Script[Stirred]:
    """The queue of a dead node: offered to living holders, to anyone where that is enough, failed after a long wait.

    A task may have been ready for hours: the wait begins when its last holder died.
    """
    rows = yield Op("ready_older", (queue, now_ms - int(REDUCER_PATIENCE_S * 1000), now_ms, RESOLVE_PAGE))
    since = {(row[1], row[2]): int(row[0]) for row in rows}
    results: list[Stirred] = []
    for unit, current in (yield from locked(list(since), now_ms)):
        for task in current:
            since_ms = since[task.job_id, task.task_id]
            if task.state != TaskState.READY:
                continue
            if task.blob_id is None:
                unit.offer_since(task, [ANY_NODE], since_ms)
            elif living := [node for node in task.nodes if node in alive]:
                unit.offer_since(task, living, since_ms)
            elif min(dead.get(node, math.inf) for node in task.nodes) > HOLDER_WAIT_S and _is_old(since_ms, now_ms):
                unit.withdraw(task)
                waited = f"No living node has held its input for {HOLDER_WAIT_S:.0f} s: {task.holders}."
                fail_task(unit, task, Failure("InternalError", waited))
        yield from move_on(unit)
        yield from unit.flush()
        results.append(unit.stirred())
    return merge(results)


def _is_old(since_ms: int, now_ms: int) -> bool:
    """Whether it was ready for as long as a holder is waited for; the future is what a clock set back left behind."""
    return not now_ms - int(HOLDER_WAIT_S * 1000) <= since_ms <= now_ms


def _free_reducers(now_ms: int) -> Script[Stirred]:
    """Reducers that waited long enough for their node: any may take them."""
    rows = yield Op("ready_reducers", (now_ms - int(REDUCER_PATIENCE_S * 1000), now_ms, RESOLVE_PAGE))
    since = {(row[1], row[2]): int(row[3]) for row in rows}
    results: list[Stirred] = []
    for unit, current in (yield from locked(list(since), now_ms)):
        for task in current:
            if task.state == TaskState.READY:
                unit.offer_since(task, [ANY_NODE], since[task.job_id, task.task_id])
        yield from unit.flush()
        results.append(unit.stirred())
    return merge(results)
