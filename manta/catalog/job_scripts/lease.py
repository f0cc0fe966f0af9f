"""Scripts of leases: what a node holds, gets, gives back and loses."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from jobs.model.states import NODE_LOST, Again, Claim, Fail, JobState, Stale, TaskState, grant, lose, offer_to, share
from jobs.model.wire import AttemptRef, Failure, TaskKind
from manta.catalog.job_records import ANY_NODE, Granted, Leaves, Stirred, TaskRow
from manta.catalog.job_scripts.attempts import CANCELLED, with_attempt
from manta.catalog.job_scripts.double import end_one_of_two, seen_by, with_other
from manta.catalog.job_scripts.ending import reducer_ended
from manta.catalog.job_scripts.finish import move_on
from manta.catalog.job_scripts.map_tasks import part
from manta.catalog.job_scripts.rights import denied_inputs
from manta.catalog.job_scripts.turns import find_turns, idle_claims
from manta.catalog.job_scripts.unit import Unit, find_unit
from manta.catalog.job_scripts.views import current_task
from manta.catalog.ops import Many, Op, Script
from manta.core.limits import LEFT_PAGE, LEFT_PAGES


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


def lease(
    node_id: str, epoch: str, slots: Sequence[str], now_ms: int, without: Collection[str], leaves: Leaves
) -> Script[list[Granted]]:
    """Tasks for that many slots, taken in turn from the accounts and jobs that have the fewest running."""
    granted: list[Granted] = []
    if not (yield from _is_current(node_id, epoch)):
        return granted
    turns = yield from find_turns(node_id)
    locks = _Locks()
    rest: dict[str, Claim] = {}
    while len(granted) < len(slots):
        rest = rest or (yield from turns.next_claims(len(slots) - len(granted), without))
        if not rest:
            break
        shares = share(len(slots) - len(granted), list(rest.values()), turns.accounts)
        for job_id in sorted(shares):
            wanted = slots[len(granted) :][: shares[job_id]]
            unit = yield from locks.unit(job_id, now_ms)
            found = yield from _lease_of_job(unit, node_id, epoch, wanted, leaves)
            granted.extend(found)
            turns.accounts[rest[job_id].owner_id] += len(found)
            rest[job_id] = replace(rest[job_id], running=rest[job_id].running + len(found))
            if len(found) < shares[job_id]:
                del rest[job_id]
    return granted


def lease_idle(
    node_id: str, epoch: str, slots: Sequence[str], now_ms: int, without: Collection[str], leaves: Leaves
) -> Script[list[Granted]]:
    """One task each of jobs that have none running."""
    granted: list[Granted] = []
    if not (yield from _is_current(node_id, epoch)):
        return granted
    locks = _Locks()
    for claim in (yield from idle_claims(node_id)):
        if len(granted) < len(slots) and claim.job_id not in without:
            unit = yield from locks.unit(claim.job_id, now_ms)
            granted += yield from _lease_of_job(unit, node_id, epoch, slots[len(granted) :][:1], leaves)
    return granted


@dataclass(slots=True)
class _Locks:
    """Jobs locked in the order of their turns. `last`: the greatest id of them.

    Everybody else locks jobs in the order of their ids. So only a later id is waited for; another job that is locked by
    somebody else just now keeps its tasks until the next poll.
    """

    last: str = ""

    def unit(self, job_id: str, now_ms: int) -> Script[Unit | None]:
        unit = yield from find_unit(job_id, now_ms, wait=job_id > self.last)
        self.last = max(self.last, job_id)
        return unit


def _is_current(node_id: str, epoch: str) -> Script[bool]:
    agent = yield Op("agent_get", (node_id,))
    return bool(agent) and agent[0][0] == epoch


def _lease_of_job(
    unit: Unit | None, node_id: str, epoch: str, slots: Sequence[str], leaves: Leaves
) -> Script[list[Granted]]:
    if unit is None or unit.stopped:
        return []
    tasks: dict[int, TaskRow] = {}
    for queue in (node_id, ANY_NODE):
        if len(tasks) < len(slots):
            found = yield from _take_from(unit, queue, len(slots) - len(tasks), leaves)
            tasks.update((task.task_id, task) for task in found)
    if not tasks:
        return []
    granted: list[Granted] = []
    readable = yield from _readable(unit, list(tasks.values()))
    for slot, task in zip(slots, readable, strict=False):
        leased = grant(task.progress, node_id)
        unit.withdraw(task)
        changed = unit.change(
            task,
            state=int(leased.state),
            attempt=leased.attempt,
            node_id=node_id,
            epoch=epoch,
            leased_ms=unit.now_ms,
            started_ms=None,
            ended_ms=None,
            slot=slot,
        )
        granted.append(Granted(changed, unit.job.owner_id, unit.plan))
    unit.job.state = JobState.RUNNING.value
    if len(readable) < len(tasks):
        yield from move_on(unit)
    yield from unit.flush()
    return granted


def _take_from(unit: Unit, queue: str, most: int, leaves: Leaves) -> Script[list[TaskRow]]:
    """Tasks of that queue that this node does not leave to others: those are moved on, and hide nothing behind them."""
    page = most
    for _ in range(LEFT_PAGES):
        rows = yield Op("ready_tasks", (queue, unit.job.owner_id, unit.job.job_id, page))
        taken: list[TaskRow] = []
        left: list[TaskRow] = []
        for task in (TaskRow(*row) for row in rows):
            (left if leaves(unit.plan.phases[task.phase], _holders(task)) else taken).append(task)
        if queue == ANY_NODE or not left:
            break
        yield from _move_on(unit, queue, left)
        if len(taken) >= most:
            break
        page = max(most, LEFT_PAGE)
    return taken[:most]


def _move_on(unit: Unit, queue: str, left: Sequence[TaskRow]) -> Script[None]:
    """Out of that node's queue, into those of the others that may run them: they may stand in this one alone."""
    owner_id, now_ms = unit.job.owner_id, unit.now_ms
    others = [
        (node, owner_id, task.job_id, task.task_id, now_ms)
        for task in left
        for node in _holders(task) or [ANY_NODE]
        if node != queue
    ]
    yield Many("ready_insert", others)
    yield Many("ready_delete", [(queue, owner_id, task.job_id, task.task_id) for task in left])


def _holders(task: TaskRow) -> list[str]:
    """The nodes that may run it; none for any."""
    return [] if task.blob_id is None else task.nodes


def _readable(unit: Unit, tasks: Sequence[TaskRow]) -> Script[list[TaskRow]]:
    """Those whose input the job's owner may read now; what was withdrawn since it was looked up fails."""
    denied = yield from denied_inputs(unit, tasks)
    left: list[TaskRow] = []
    for task in tasks:
        numbers = {one.task_id for one in task.inputs} & denied.keys()
        if not numbers:
            left.append(task)
            continue
        unit.withdraw(task)
        rest, apart = (None, [task]) if task.members is None else part(unit, task, numbers)
        for one in apart:
            fail_task(unit, one, denied[one.task_id])
        if rest is not None:
            left.append(rest)
    return left


def set_slot(node_id: str, attempt: AttemptRef, slot: str, now_ms: int) -> Script[None]:
    unit = yield from find_unit(attempt.job_id, now_ms)
    task = yield from current_task(node_id, attempt)
    if unit is not None:
        elder = unit.elders.get(task.task_id)
        if elder is not None and elder.attempt == attempt.attempt:
            unit.save_elder(elder._replace(slot=slot))
        else:
            unit.change(task, slot=slot)
        yield from unit.flush()


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
        for task in current:
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
                put_back(unit, task, outcome, living, earlier)
        yield from move_on(unit)
        yield from unit.flush()
        results.append(unit.stirred())
    return merge(results)


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

    `earlier`: what it remembers of its attempts, when the last of them has just ended by itself.
    """
    elder = unit.elders.get(task.task_id)
    if task.state == TaskState.RUNNING:
        if task.node_id:
            unit.lost.add(task.node_id)
        if elder is not None:
            last = elder.seen_as(task) if not task.node_id else task
            earlier = with_other(unit, task, last, CANCELLED) if earlier is None else earlier
            task = last
    if task.state == TaskState.READY:
        unit.withdraw(task)
    for one in task.inputs:
        unit.error(one, Failure(CANCELLED, unit.job.cancel_reason or "The job was cancelled."))
    kept = task.earlier if earlier is None else earlier
    return unit.change(task, state=int(TaskState.CANCELLED), slot=None, earlier=kept, **_ended_now(unit, task))


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
