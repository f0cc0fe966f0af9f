"""The script that opens a finished job again for its failed inputs, a page at a time.

A failed task is run again on the input it kept. An input that was never found is looked up again. Reducers behind a
failed task had to do without it: from the first such phase on everything is done anew, on inputs that were kept for it.
"""

from collections.abc import Sequence

from jobs.model.inputs import InputSpec
from jobs.model.outputs import phase_prefix
from jobs.model.states import JobState, PhaseCounts, TaskState
from jobs.model.wire import Failure, TaskKind, Usage
from manta.catalog.job_chunks import encode_chunks
from manta.catalog.job_records import ANY_NODE, Stirred
from manta.catalog.job_scripts.attempts import last_end, with_attempt
from manta.catalog.job_scripts.resolve import as_written
from manta.catalog.job_scripts.unit import Unit, get_unit
from manta.catalog.ops import Many, Op, Script
from manta.catalog.task_records import TaskRow
from manta.core.errors import JobNotRetried
from manta.core.limits import RESOLVE_PAGE
from manta.core.names import job_bucket


def begin_retry(job_id: str, now_ms: int) -> Script[Stirred]:
    unit = yield from get_unit(job_id, now_ms)
    job = unit.job
    if job.state == JobState.CANCELLED:
        raise JobNotRetried(f"The job {job_id} was cancelled: clone it to run it again.")
    if not job.ended:
        raise JobNotRetried(f"The job {job_id} has not ended: it can be retried once it is done.")
    if not job.errors:
        return Stirred()
    anew = first_anew(unit.phases)
    job.state, job.ended_ms = JobState.QUEUED.value, None
    job.retry, job.cursor, job.tend = anew + 1, 0, 1
    job.retry_until = job.next_task
    for phase in unit.phases:
        phase.complete = False
        if phase.number >= anew:
            _empty(phase)
    yield from unit.save_job()
    return unit.stirred()


def first_anew(phases: Sequence[PhaseCounts]) -> int:
    """The first phase that reduces and lacks something of a failed task before it; one past the last for none.

    A first phase that reduces is done anew as a whole: its inputs are no tasks of their own.
    """
    if phases[0].kind is TaskKind.REDUCE:
        return 0
    failed = next((phase.number for phase in phases if phase.failed), len(phases))
    behind = (phase.number for phase in phases if phase.number > failed and phase.kind is TaskKind.REDUCE)
    return next(behind, len(phases))


def _empty(phase: PhaseCounts) -> None:
    phase.ready = phase.running = phase.committed = phase.failed = phase.cancelled = 0
    phase.waiting = phase.reducers if phase.kind is TaskKind.REDUCE else 0
    phase.opened = False


def retry_page(unit: Unit) -> Script[None]:
    """One page: lines that no longer hold are taken back first, then each task that there was is looked at.

    What was found on earlier pages may run by then, fail again and make tasks of the next phase, which may fail too.
    """
    if unit.job.cursor == 0:
        for take_back in (_outputs, _objects, _errors, _shuffled):
            if (yield from take_back(unit)):
                return
    specs: list[InputSpec] = []
    gone: list[tuple[str, int]] = []
    looked_at, more = 0, True
    while more and looked_at < unit.page:
        rows = yield Op("tasks_page", (unit.job.job_id, unit.job.cursor, unit.rows))
        tasks = [TaskRow(*row) for row in rows]
        older = [task for task in tasks if task.task_id <= unit.job.retry_until]
        for task in older:
            _open_again(unit, task, specs, gone)
        looked_at += len(older)
        more = len(older) == unit.rows
    if gone:
        yield Many("task_delete", gone)
    yield from _write_again(unit, specs)
    if not more:
        unit.job.retry = unit.job.cursor = 0


def _open_again(unit: Unit, task: TaskRow, specs: list[InputSpec], gone: list[tuple[str, int]]) -> None:
    unit.job.cursor = task.task_id
    if task.phase >= _anew(unit):
        _drop(unit, task, gone)
    elif _is_unresolved(task):
        specs.append(as_written(task))
        gone.append((task.job_id, task.task_id))
        unit.job.inputs -= 1
        if task.phase == 0:
            unit.phases[0].failed -= 1
    elif task.phase < 0:
        unit.change(task, state=int(TaskState.WAITING))
    elif task.state == TaskState.FAILED:
        _run_again(unit, task)


def _anew(unit: Unit) -> int:
    return unit.job.retry - 1


def _drop(unit: Unit, task: TaskRow, gone: list[tuple[str, int]]) -> None:
    """A task that its phase will make anew; `begin_retry` has taken it out of the counts."""
    gone.append((task.job_id, task.task_id))
    if task.state == TaskState.FAILED and task.blob_id is not None:
        unit.release.append((task.blob_id,))


def _is_unresolved(task: TaskRow) -> bool:
    """An input that was not found, or one whose bytes an earlier version of this store did not keep."""
    written = task.phase <= 0 and task.state == TaskState.FAILED
    return written and (not task.version_id or (task.phase == 0 and task.size > 0 and task.blob_id is None))


def _run_again(unit: Unit, task: TaskRow) -> None:
    if task.size > 0 and task.blob_id is None:
        unit.error(task, Failure("InternalError", "Its input was not kept when it failed: clone the job."))
        return
    spared = 1 if unit.job.doubled else 0  # a second attempt may have had the next number
    unit.change(
        task, state=int(TaskState.READY), attempt=task.attempt + spared, node_id="", epoch="", faults=0, losses=0,
        failures=0, slot=None, started_ms=None, ended_ms=None, earlier=_with_failed(task),
    )  # fmt: skip
    unit.offer(task, task.nodes if task.blob_id is not None else (ANY_NODE,))


def _with_failed(task: TaskRow) -> str:
    if task.started_ms is None or task.ended_ms is None or last_end(task):
        return task.earlier
    return with_attempt(task, Usage(task.started_ms, task.ended_ms, 0.0), task.ended_ms, "Failed")


def _write_again(unit: Unit, specs: Sequence[InputSpec]) -> Script[None]:
    """A list of none, as far as clones go: its inputs are in the list in which the user wrote them."""
    if specs:
        last = (yield Op("chunk_last", (unit.job.job_id,)))[0][0]
        chunks = enumerate(encode_chunks(specs), last + 1)
        yield Many("chunk_insert", [(unit.job.job_id, number, data, 0, None) for number, (data, _) in chunks])


def _outputs(unit: Unit) -> Script[bool]:
    """Lines of final outputs, if those are made anew."""
    job_id = unit.job.job_id
    rows = (yield Op("output_take", (job_id, RESOLVE_PAGE))) if _anew(unit) < len(unit.phases) else []
    if rows:
        yield Many("output_delete", [(job_id, row[0]) for row in rows])
        unit.job.outputs -= len(rows)
        unit.job.outputs_gone += len(rows)
    return bool(rows)


def _objects(unit: Unit) -> Script[bool]:
    """What tasks that are done anew have put into the job's bucket: the new ones' names differ. An object under
    `output`, or in another bucket, stays until it is replaced: it is the user's."""
    bucket = job_bucket(unit.job.job_id)
    for phase in unit.phases[_anew(unit) :]:
        rows = yield Op("objects_page", (bucket, phase_prefix(phase.kind, phase.number), "", RESOLVE_PAGE))
        if rows:
            yield Many("object_delete", [(bucket, row[0]) for row in rows])
            return True
    return False


def _errors(unit: Unit) -> Script[bool]:
    job_id = unit.job.job_id
    rows = yield Op("error_take", (job_id, RESOLVE_PAGE))
    if rows:
        yield Many("error_delete", [(job_id, row[0]) for row in rows])
        unit.job.errors -= len(rows)
        unit.job.errors_gone += len(rows)
    return bool(rows)


def _shuffled(unit: Unit) -> Script[bool]:
    """What reducers that run anew had made for phases behind them."""
    job_id = unit.job.job_id
    rows = yield Op("shuffle_after", (job_id, _anew(unit), RESOLVE_PAGE))
    if rows:
        yield Many("shuffle_delete", [(job_id, *row[:3]) for row in rows])
        blobs = [(row[3],) for row in rows if row[3] is not None]
        if blobs:
            yield Many("blob_release", blobs)
    return bool(rows)
