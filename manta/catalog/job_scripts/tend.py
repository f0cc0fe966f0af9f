"""The script of a job's long work, a page at a time: resolve inputs, cancel, clean up after the end, delete."""

from collections.abc import Collection, Sequence
from dataclasses import replace

from jobs.model.states import TaskState
from manta.catalog.job_records import Stirred
from manta.catalog.job_scripts.clone import copy_page
from manta.catalog.job_scripts.ending import ended_as
from manta.catalog.job_scripts.finish import move_on
from manta.catalog.job_scripts.loss import cancel_task
from manta.catalog.job_scripts.map_tasks import cut_page
from manta.catalog.job_scripts.resolve import resolve_page
from manta.catalog.job_scripts.retry import retry_page
from manta.catalog.job_scripts.unit import Unit, find_unit, get_unit
from manta.catalog.ops import Many, Op, Row, Script
from manta.catalog.task_records import INPUT_ONLY, TaskRow
from manta.core.limits import RESOLVE_PAGE, STOPPED_TOLD_S
from manta.core.names import job_bucket


def tend(job_id: str, now_ms: int) -> Script[Stirred]:
    unit = yield from find_unit(job_id, now_ms)
    if unit is None or not unit.job.tend:
        return Stirred()
    if unit.job.ended:
        return (yield from _after_end(unit))
    more_run, ended = (yield from _cancel_running(unit)) if unit.job.cancel_reason is not None else (False, set())
    if more_run or unit.job.retry:
        if not more_run:
            yield from retry_page(unit)
        yield from unit.flush()
        return unit.stirred()
    waits = unit.job.clone_of is not None and (yield from copy_page(unit))
    more = yield from resolve_page(unit)
    if unit.job.cancel_reason is None:
        more = (yield from cut_page(unit)) or more
    elif not more:
        more = yield from _cancel_page(unit, ended)
        unit.all_cancelled = not more
    unit.job.tend = int(more)
    yield from move_on(unit)
    yield from unit.flush()
    return replace(unit.stirred(), more=frozenset()) if waits else unit.stirred()


def cancel(job_id: str, reason: str, now_ms: int) -> Script[Stirred]:
    unit = yield from get_unit(job_id, now_ms)
    return (yield from _cancel(unit, reason))


def _cancel(unit: Unit, reason: str) -> Script[Stirred]:
    """The pages that `tend` then goes through name the nodes that lose attempts."""
    if not unit.stopped:
        unit.begin_cancel(reason)
    yield from unit.save_job()
    return unit.stirred()


def delete(job_id: str, now_ms: int) -> Script[Stirred]:
    unit = yield from get_unit(job_id, now_ms)
    unit.job.doomed = 1
    unit.job.tend = 1
    return (yield from _cancel(unit, "The job was deleted."))


def _cancel_running(unit: Unit) -> Script[tuple[bool, set[int]]]:
    """What runs ends first (J6), since there may be a thousand pages of what does not: (whether there may be more of
    it, the tasks' numbers)."""
    rows = (yield Op("tasks_of_job", (unit.job.job_id, unit.rows))) if unit.job.running else []
    ended: set[int] = set()
    room = unit.page
    for row in rows:
        if room <= 0:
            return True, ended
        task = cancel_task(unit, TaskRow(*row))
        ended.add(task.task_id)
        room -= task.weight
    return len(rows) == unit.rows, ended


def _cancel_page(unit: Unit, ended: Collection[int]) -> Script[bool]:
    """Unfinished tasks in the order of their numbers, but for those `ended` just now; reducers that were never opened
    just count."""
    room = unit.page
    rows: list[Row] | None = None
    while rows is None or len(rows) == unit.rows:
        rows = yield Op("tasks_open", (unit.job.job_id, unit.job.cursor, unit.rows))
        for row in rows:
            if room <= 0:
                return True
            task = TaskRow(*row)
            _cancel_open(unit, task, ended)
            unit.job.cursor = task.task_id
            room -= task.weight
    for phase in unit.phases:
        if phase.waiting:
            phase.move(TaskState.WAITING, TaskState.CANCELLED, phase.waiting)
    return False


def _cancel_open(unit: Unit, task: TaskRow, ended: Collection[int]) -> None:
    state = ended_as(unit, task.reducer) if task.phase == INPUT_ONLY else None
    if state is not None:
        unit.change(task, state=int(state))
    elif task.task_id not in ended:
        cancel_task(unit, task)


def _after_end(unit: Unit) -> Script[Stirred]:
    """Intermediate outputs first, then, where the job is to be deleted, all it has left.

    One that was cancelled just now stays until its nodes have told what they stopped; the sweep comes back to it.
    Those of a job that can be retried stay as long as the job: its reducers will want them again.
    """
    job_id = unit.job.job_id
    kept = unit.job.errors and unit.job.cancel_reason is None and not unit.job.doomed
    shuffled = [] if kept else (yield Op("shuffle_take", (job_id, RESOLVE_PAGE)))
    if shuffled:
        yield Many("shuffle_delete", [(job_id, *row[:3]) for row in shuffled])
        blobs = [(row[3],) for row in shuffled if row[3] is not None]
        if blobs:
            yield Many("blob_release", blobs)
    more = bool(shuffled)
    if not more and unit.job.doomed:
        if unit.job.may_be_owed(told_by(unit.now_ms)):
            return Stirred()
        more = yield from _delete_page(unit)
        if not more:
            return Stirred(jobs=frozenset([job_id]))
    unit.job.tend = int(more)
    yield from unit.save_job()
    return unit.stirred()


def told_by(now_ms: int) -> int:
    """Of jobs that ended until then, nodes have told what they stopped."""
    return now_ms - int(STOPPED_TOLD_S * 1000)


def _delete_page(unit: Unit) -> Script[bool]:
    job_id = unit.job.job_id
    bucket = job_bucket(job_id)
    keys = yield Op("objects_page", (bucket, "", "", RESOLVE_PAGE))
    if keys:
        yield Many("object_delete", [(bucket, row[0]) for row in keys])
        return True
    for table in ("task", "output", "error", "chunk"):
        rows = yield Op(f"{table}_take", (job_id, RESOLVE_PAGE))
        if rows:
            yield Many(f"{table}_delete", [(job_id, row[0]) for row in rows])
            if table == "task":
                yield from _release_failed(rows)
            return True
    yield Op("bucket_drop", (bucket,))
    yield Op("phases_delete", (job_id,))
    yield Op("job_delete", (job_id,))
    return False


def _release_failed(rows: Sequence[Row]) -> Script[None]:
    """The inputs that failed tasks kept for a retry."""
    blobs = [(blob_id,) for _, state, blob_id in rows if state == TaskState.FAILED and blob_id is not None]
    if blobs:
        yield Many("blob_release", blobs)
