"""Scripts of leases: what tasks a node gets."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from jobs.model.states import Claim, JobState, grant, share
from jobs.model.wire import AttemptRef
from manta.catalog.job_records import ANY_NODE, Choice, Choose, Granted
from manta.catalog.job_scripts.apart import apart
from manta.catalog.job_scripts.finish import move_on
from manta.catalog.job_scripts.loss import fail_task
from manta.catalog.job_scripts.map_tasks import part
from manta.catalog.job_scripts.rights import denied_inputs
from manta.catalog.job_scripts.turns import find_turns, idle_claims
from manta.catalog.job_scripts.unit import Unit, find_unit
from manta.catalog.job_scripts.views import current_task
from manta.catalog.ops import Many, Op, Script
from manta.catalog.task_records import TaskRow
from manta.core.limits import LEFT_PAGE, LEFT_PAGES


def lease(
    node_id: str, epoch: str, slots: Sequence[str], now_ms: int, without: Collection[str], choose: Choose
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
            found = yield from apart(job_id, _lease_of_job(unit, node_id, epoch, wanted, choose), [])
            granted.extend(found)
            turns.accounts[rest[job_id].owner_id] += len(found)
            rest[job_id] = replace(rest[job_id], running=rest[job_id].running + len(found))
            if len(found) < shares[job_id]:
                del rest[job_id]
    return granted


def lease_idle(
    node_id: str, epoch: str, slots: Sequence[str], now_ms: int, without: Collection[str], choose: Choose
) -> Script[list[Granted]]:
    """One task each of jobs that have none running."""
    granted: list[Granted] = []
    if not (yield from _is_current(node_id, epoch)):
        return granted
    locks = _Locks()
    for claim in (yield from idle_claims(node_id)):
        if len(granted) < len(slots) and claim.job_id not in without:
            unit = yield from locks.unit(claim.job_id, now_ms)
            work = _lease_of_job(unit, node_id, epoch, slots[len(granted) :][:1], choose)
            granted += yield from apart(claim.job_id, work, [])
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
    unit: Unit | None, node_id: str, epoch: str, slots: Sequence[str], choose: Choose
) -> Script[list[Granted]]:
    if unit is None or unit.stopped:
        return []
    tasks: dict[int, TaskRow] = {}
    for queue in (node_id, ANY_NODE):
        if len(tasks) < len(slots):
            found = yield from _take_from(unit, queue, len(slots) - len(tasks), choose)
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


def _take_from(unit: Unit, queue: str, most: int, choose: Choose) -> Script[list[TaskRow]]:
    """Tasks of that queue that this node is to have. What others are to have for good is moved on, and hides nothing
    behind it."""
    page = most
    for _ in range(LEFT_PAGES):
        rows = yield Op("ready_tasks", (queue, unit.job.owner_id, unit.job.job_id, page))
        chosen: dict[Choice, list[TaskRow]] = {choice: [] for choice in Choice}
        for task in (TaskRow(*row) for row in rows):
            chosen[choose(unit.plan.phases[task.phase], task.hosts, unit.job.running == 0)].append(task)
        taken, left = chosen[Choice.HERE], chosen[Choice.ELSEWHERE]
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
        for node in task.hosts or [ANY_NODE]
        if node != queue
    ]
    yield Many("ready_insert", others)
    yield Many("ready_delete", [(queue, owner_id, task.job_id, task.task_id) for task in left])


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
