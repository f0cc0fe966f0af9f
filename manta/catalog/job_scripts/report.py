"""The script that commits what nodes report: outputs and tasks in one transaction, current attempts only (J1, J2)."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from msgspec import structs

from jobs.model.states import Again, Commit, Fail, Outcome, Repeat, Stale, TaskState, settle
from jobs.model.wire import Failure, TaskKind, TaskResult
from manta.catalog.job_records import Stirred
from manta.catalog.job_scripts.attempts import OVERTAKEN, with_attempt
from manta.catalog.job_scripts.double import end_one_of_two, seen_by, with_other
from manta.catalog.job_scripts.ending import reducer_ended
from manta.catalog.job_scripts.finish import move_on
from manta.catalog.job_scripts.loss import merge, put_back
from manta.catalog.job_scripts.map_tasks import part
from manta.catalog.job_scripts.named import Names, add_named, look_up, refusal
from manta.catalog.job_scripts.outputs import NewId, add_output, is_last, target_bucket
from manta.catalog.job_scripts.report_check import check_results
from manta.catalog.job_scripts.unit import Unit, find_unit
from manta.catalog.job_scripts.usage import Spent, charge, counted, save_spent
from manta.catalog.ops import Op, Script
from manta.catalog.rules import blob_taken, check_output
from manta.catalog.task_records import TaskRow
from manta.core.errors import BadRequest
from manta.core.limits import RESOLVE_PAGE

_UNTOLD = Failure("InternalError", "The node did not tell what became of this input of a batch.", retryable=True)


def report(node_id: str, results: Sequence[TaskResult], now_ms: int, new_id: NewId) -> Script[Stirred]:
    """Batches of several jobs are taken job by job, in the order of their ids (a lock order for all gateways)."""
    check_results(results)
    done: list[Stirred] = []
    living: list[str] = []
    if any(one.failure is not None for result in results for one in (result, *result.members)):
        living = [row[0] for row in (yield Op("agents_alive", (now_ms,)))]
    spent: dict[str, Spent] = {}
    cut_room: int | None = RESOLVE_PAGE
    ordered = sorted(results, key=lambda one: one.attempt.job_id)
    for job_id, group in groupby(ordered, key=lambda one: one.attempt.job_id):
        unit = yield from find_unit(job_id, now_ms)
        batch = list(group)
        if unit is None:
            done.append(Stirred(stale=tuple(_name(result) for result in batch)))
            continue
        unit.alive = living
        unit.cut_room = cut_room
        before = counted(unit.job)
        done.append((yield from _report_job(unit, node_id, batch, new_id)))
        cut_room = unit.cut_room
        charge(spent, unit.job, before, unit.ran)
    yield from save_spent(spent, now_ms)
    return merge(done)


def _report_job(unit: Unit, node_id: str, batch: Sequence[TaskResult], new_id: NewId) -> Script[Stirred]:
    rows = yield Op("tasks", (unit.job.job_id, sorted({result.attempt.task_id for result in batch})))
    tasks = {row[1]: TaskRow(*row) for row in rows}
    ends = any(is_last(unit, task.phase) for task in tasks.values())
    target = (yield from target_bucket(unit)) if ends else ""
    names = yield from look_up(unit, [one for result in batch for one in result.members or (result,)])
    apply = _Apply(unit, node_id, new_id, target, names)
    stale: list[tuple[str, int, int]] = []
    for result in batch:
        task = tasks.get(result.attempt.task_id)
        settled = None if task is None else apply(task, result)
        if settled is None:
            stale.append(_name(result))
        else:
            tasks[result.attempt.task_id] = settled
    yield from move_on(unit)
    yield from _check_new(unit)
    yield from unit.flush()
    return unit.stirred(stale)


def _check_new(unit: Unit) -> Script[None]:
    """Conflict for an output in a blob that is another's, or garbage: reported, it would open or keep what is not."""
    claimed = [blob_id for blob_id, _, _ in unit.add_blobs]
    claimed += [version.blob.blob_id for _, version in unit.objects if version.blob is not None]
    if len(set(claimed)) != len(claimed):
        raise BadRequest("A report has the same blob as two outputs.")
    if claimed and (taken := (yield Op("blobs_taken", (claimed,)))):
        raise blob_taken(taken[0][0])


def _name(result: TaskResult) -> tuple[str, int, int]:
    return result.attempt.job_id, result.attempt.task_id, result.attempt.attempt


@dataclass(frozen=True, slots=True)
class _Apply:
    """Applies results one by one. `target` is the bucket of final outputs, or why there is none."""

    unit: Unit
    node_id: str
    new_id: NewId
    target: str | Failure
    names: Names

    def __call__(self, task: TaskRow, result: TaskResult) -> TaskRow | None:
        """The task as it is then; None when the attempt is not the current one."""
        unit = self.unit
        current, task = task, seen_by(unit, task, self.node_id, result.attempt.attempt)
        outcome = self._settle(task, result)
        if isinstance(outcome, Stale):
            return None
        if isinstance(outcome, Repeat):
            return task
        unit.count_usage(task, result.usage)
        if task.members is not None and not isinstance(outcome, Again):
            return self._end_batch(task, result, outcome)
        return self._end(current, task, result, outcome)

    def _end_batch(self, task: TaskRow, result: TaskResult, outcome: Outcome) -> TaskRow:
        """Each input by its own result; those that were not committed leave the batch. Fail is of the whole."""
        unit = self.unit
        told = {one.attempt.task_id: one for one in result.members if one.attempt.attempt == result.attempt.attempt}
        ends: dict[int, tuple[TaskResult, Outcome]] = {}
        for one in task.inputs:
            if isinstance(outcome, Fail):
                ends[one.task_id] = result, outcome
                continue
            own = told.get(one.task_id, structs.replace(result, failure=_UNTOLD, members=()))
            ends[one.task_id] = own, self._settle(one, own)
        rest, apart = part(unit, task, {number for number, (_, end) in ends.items() if not isinstance(end, Commit)})
        for one in apart:
            self._end(one, one, *ends[one.task_id])
        if rest is None:
            return task._replace(state=int(TaskState.FAILED))
        for one in rest.inputs:
            self._add_outputs(one, ends[one.task_id][0])
        usage = result.usage
        return unit.change(
            rest, state=int(TaskState.COMMITTED), slot=None, started_ms=usage.started_ms, ended_ms=usage.ended_ms
        )

    def _end(self, current: TaskRow, task: TaskRow, result: TaskResult, outcome: Outcome) -> TaskRow:
        """`current` is the task, `task` the same as the attempt that ended knows it."""
        unit, usage = self.unit, result.usage
        if not isinstance(outcome, Commit):
            earlier = with_attempt(task, usage, unit.now_ms, _code(outcome))
            users = isinstance(outcome, Fail) and not outcome.failure.retryable
            if not (users and task is not current):
                other = end_one_of_two(unit, current, task, earlier)
                if other is not None:
                    return other
            if isinstance(outcome, Again):
                return put_back(unit, current, outcome, unit.alive, earlier)
        if task is not current:
            unit.lost.add(current.node_id)
        state = TaskState.FAILED
        earlier = with_other(unit, current, task, OVERTAKEN) if unit.elders else task.earlier
        if isinstance(outcome, Commit):
            state = TaskState.COMMITTED
            self._add_outputs(task, result)
        elif isinstance(outcome, Fail):
            earlier = with_attempt(task._replace(earlier=earlier), usage, unit.now_ms, outcome.failure.code)
            unit.error(task, outcome.failure, usage, result.stderr)
        if task.phase == 0 and unit.phases[0].kind is TaskKind.REDUCE:
            reducer_ended(unit, task.reducer, state)
        return unit.change(
            task,
            state=int(state),
            slot=None,
            started_ms=usage.started_ms,
            ended_ms=usage.ended_ms,
            earlier=earlier,
        )

    def _settle(self, task: TaskRow, result: TaskResult) -> Outcome:
        retries = self.unit.plan.phases[task.phase].retries
        outcome = settle(task.progress, self.node_id, result, retries)
        if not isinstance(outcome, Commit) or task.members is not None:
            return outcome
        if isinstance(self.target, Failure) and is_last(self.unit, task.phase):
            return Fail(self.target)
        failure = refusal(self.unit, task, result.outputs, self.names)
        if failure is None:
            return outcome
        return settle(task.progress, self.node_id, structs.replace(result, outputs=(), failure=failure), retries)

    def _add_outputs(self, task: TaskRow, result: TaskResult) -> None:
        place = 0
        timeout_ms = int(self.unit.plan.phases[task.phase].task_timeout_s * 1000)
        window_ms = (task.leased_ms + timeout_ms, self.unit.now_ms + timeout_ms)
        for output in result.outputs:
            if output.blob_id is not None:
                check_output(output.blob_id, task.slot, window_ms)
            if output.bucket:
                add_named(self.unit, task, output, self.names, self.new_id())
            else:
                add_output(self.unit, task, output, place, self.new_id, str(self.target))
                place += 1


def _code(outcome: Outcome) -> str:
    """Of what ended the attempt."""
    if isinstance(outcome, Fail):
        return outcome.failure.code
    return outcome.why if isinstance(outcome, Again) else ""
