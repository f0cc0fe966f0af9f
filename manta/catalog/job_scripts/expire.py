"""Scripts of what time alone decides: dead nodes lose what they ran, and what waits for them is looked at again.

Each change is of one job alone: one that fails keeps no other waiting (`jobs.scheduler.expiry` goes through them).
"""

import math
from collections.abc import Collection, Mapping, Sequence

from jobs.model.states import TaskState
from jobs.model.wire import Failure
from manta.catalog.job_records import ANY_NODE, QueuePlace, Stirred, Stranded
from manta.catalog.job_scripts.finish import move_on
from manta.catalog.job_scripts.loss import fail_task, locked
from manta.catalog.job_scripts.unit import Unit
from manta.catalog.ops import Op, Script
from manta.catalog.task_records import TaskRow
from manta.core.limits import HOLDER_WAIT_S, REDUCER_PATIENCE_S, RESOLVE_PAGE


def known_agents() -> Script[list[tuple[str, str, int]]]:
    rows = yield Op("agents_all")
    found = {row[0]: (row[0], row[1], int(row[2])) for row in rows}
    queues = yield Op("ready_nodes")
    for (queue,) in queues:
        if queue != ANY_NODE:
            found.setdefault(queue, (queue, "", 0))
    return list(found.values())


def stranded(
    queue: str, after: QueuePlace, alive: Collection[str], dead: Mapping[str, float], now_ms: int
) -> Script[Stranded]:
    """A page of the queue of a dead node: what is offered to nobody who lives, or has waited too long for that."""
    rows = yield Op("ready_window", (queue, *after, RESOLVE_PAGE))
    waiting = [row for row in rows if not _is_fresh(row[3], now_ms)]
    places = [[node, *row[:3]] for row in waiting for node in _takers(row[4] is None, row[5], alive)]
    placed = {tuple(row) for row in (yield Op("ready_placed", (places,)))} if places else set()
    jobs: dict[str, dict[int, int]] = {}
    for owner_id, job_id, task_id, since_ms, blob_id, holders in waiting:
        takers = _takers(blob_id is None, holders, alive)
        unoffered = any((node, owner_id, job_id, task_id) not in placed for node in takers)
        if unoffered or (not takers and _is_given_up(holders.split(","), dead, since_ms, now_ms)):
            jobs.setdefault(job_id, {})[task_id] = int(since_ms)
    last = rows[-1] if len(rows) == RESOLVE_PAGE else None
    return Stranded(jobs, None if last is None else (last[0], last[1], last[2]))


def requeue(
    job_id: str, since: Mapping[int, int], alive: Collection[str], dead: Mapping[str, float], now_ms: int
) -> Script[Stirred]:
    """Those tasks, ready since then, are offered to living holders, to anyone where that is enough, or fail after a
    long wait.

    A task may have been ready for hours: the wait begins when its last holder died.
    """
    for unit, current in (yield from locked([(job_id, task_id) for task_id in since], now_ms)):
        for task in current:
            if task.state == TaskState.READY:
                _requeue(unit, task, since[task.task_id], alive, dead)
        yield from move_on(unit)
        yield from unit.flush()
        return unit.stirred()
    return Stirred()


def _requeue(unit: Unit, task: TaskRow, since_ms: int, alive: Collection[str], dead: Mapping[str, float]) -> None:
    takers = _takers(task.blob_id is None, task.holders, alive)
    if takers:
        unit.offer_since(task, takers, since_ms)
    elif _is_given_up(task.nodes, dead, since_ms, unit.now_ms):
        unit.withdraw(task)
        waited = f"No living node has held its input for {HOLDER_WAIT_S:.0f} s: {task.holders}."
        fail_task(unit, task, Failure("InternalError", waited))


def _takers(anywhere: bool, holders: str, alive: Collection[str]) -> list[str]:
    return [ANY_NODE] if anywhere else [node for node in holders.split(",") if node in alive]


def _is_given_up(holders: Sequence[str], dead: Mapping[str, float], since_ms: int, now_ms: int) -> bool:
    """Nobody has lived who holds it, and it was ready, for as long as a holder is waited for."""
    long_dead = min(dead.get(node, math.inf) for node in holders) > HOLDER_WAIT_S
    # The future is what a clock set back left behind.
    return long_dead and not now_ms - int(HOLDER_WAIT_S * 1000) <= since_ms <= now_ms


def _is_fresh(since_ms: int, now_ms: int) -> bool:
    return now_ms - int(REDUCER_PATIENCE_S * 1000) <= since_ms <= now_ms


def late_reducers(now_ms: int) -> Script[dict[str, dict[int, int]]]:
    """By job: reducers that waited long enough for their node, and since when."""
    rows = yield Op("ready_reducers", (now_ms - int(REDUCER_PATIENCE_S * 1000), now_ms, RESOLVE_PAGE))
    found: dict[str, dict[int, int]] = {}
    for _, job_id, task_id, since_ms in rows:
        found.setdefault(job_id, {})[task_id] = int(since_ms)
    return found


def free_reducers(job_id: str, since: Mapping[int, int], now_ms: int) -> Script[Stirred]:
    """Any node may take them."""
    for unit, current in (yield from locked([(job_id, task_id) for task_id in since], now_ms)):
        for task in current:
            if task.state == TaskState.READY:
                unit.offer_since(task, [ANY_NODE], since[task.task_id])
        yield from unit.flush()
        return unit.stirred()
    return Stirred()
