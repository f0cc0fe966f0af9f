"""Scripts that only read: a job, lists of jobs, and pages of inputs, outputs and errors."""

from collections.abc import Sequence
from typing import Any

import msgspec

from jobs.model.document import JobPlan
from jobs.model.ranges import Range
from jobs.model.states import PhaseCounts, TaskState
from jobs.model.wire import AttemptRef, TaskKind
from manta.auth.policy import Resource
from manta.catalog.job_records import JobView, Line, LinePage, PhaseView, ShuffleRow
from manta.catalog.job_scripts.job_row import JobRow, read_phase, read_plan
from manta.catalog.job_scripts.rights import find_bucket, unreadable
from manta.catalog.ops import Op, Script
from manta.catalog.task_records import INPUT_ONLY, Elder, TaskPage, TaskRow, unpack_members
from manta.core.errors import AccessDenied, NoSuchJob, StaleAttempt
from manta.core.limits import BATCH_INPUTS_MAX, BATCH_ROWS, TASK_WINDOW
from manta.core.names import job_bucket


def view_job(job_id: str) -> Script[JobView]:
    job = yield from _find_job(job_id)
    phases = yield Op("phases", (job_id,))
    return _view(job, [read_phase(row) for row in phases])


def _find_job(job_id: str) -> Script[JobRow]:
    """NoSuchJob, also for one being deleted."""
    rows = yield Op("job_get", (job_id,))
    if not rows or JobRow(*rows[0]).doomed:
        raise NoSuchJob(f"The job {job_id} does not exist.")
    return JobRow(*rows[0])


def _view(job: JobRow, phases: list[PhaseCounts]) -> JobView:
    plan = read_plan(job.plan)
    return JobView(
        job_id=job.job_id,
        owner_id=job.owner_id,
        name=job.name,
        state=job.state,
        created_ms=job.created_ms,
        ended_ms=job.ended_ms,
        input_ended=bool(job.input_ended),
        cancel_reason=job.cancel_reason,
        plan=plan,
        phases=tuple(
            PhaseView(
                counts.kind,
                plan.phases[counts.number].exec,
                {state.name.lower(): int(getattr(counts, state.name.lower())) for state in TaskState},
                counts.complete or counts.kind is TaskKind.REDUCE,
                plan.phases[counts.number].program_name,
            )
            for counts in phases
        ),
        inputs=job.inputs,
        outputs=job.outputs,
        errors=job.errors,
        in_place_bytes=job.in_place,
        moved_bytes=job.moved,
        shuffled_bytes=job.shuffled,
        copied_bytes=job.copied,
        task_seconds=job.task_ms / 1000,
        byte_seconds=job.byte_seconds,
    )


def list_jobs(owner_id: str | None, state: str, name: str, after: str, limit: int) -> Script[list[JobView]]:
    page = (state, name, after or "z", limit)
    rows = yield (Op("jobs_page", page) if owner_id is None else Op("jobs_page_of", (owner_id, *page)))
    views = []
    for row in rows:
        phases = yield Op("phases", (row[0],))
        views.append(_view(JobRow(*row), [read_phase(phase) for phase in phases]))
    return views


def current_task(node_id: str, attempt: AttemptRef) -> Script[TaskRow]:
    """The running task of that attempt; StaleAttempt when it is not the node's."""
    rows = yield Op("tasks", (attempt.job_id, [attempt.task_id]))
    if rows:
        task = TaskRow(*rows[0])
        if task.state == TaskState.RUNNING:
            if task.attempt == attempt.attempt and task.node_id == node_id:
                return task
            elder = yield from _elder(task)
            if elder is not None and elder.attempt == attempt.attempt and elder.node_id == node_id:
                return elder.seen_as(task)
    raise StaleAttempt


def _elder(task: TaskRow) -> Script[Elder | None]:
    rows = yield Op("elders", (task.job_id,))
    return next((Elder(*row) for row in rows if row[0] == task.task_id), None)


def reducer_inputs(node_id: str, attempt: AttemptRef, after: int, limit: int) -> Script[list[ShuffleRow]]:
    task = yield from current_task(node_id, attempt)
    rows = yield Op("shuffle_page", (task.job_id, task.phase, task.reducer, after, limit))
    inputs = [ShuffleRow(*row) for row in rows]
    yield from _check_readable(task.job_id, inputs)
    return inputs


def _check_readable(job_id: str, inputs: Sequence[ShuffleRow]) -> Script[None]:
    """AccessDenied once the job's owner may not read one of them any more. What the job made is its own."""
    named = {one.bucket for one in inputs} - {job_bucket(job_id)}
    if not named:
        return
    rows = yield Op("job_get", (job_id,))
    owner_id = JobRow(*rows[0]).owner_id
    buckets: dict[str, Resource] = {}
    for name in sorted(named):
        bucket = yield from find_bucket(name)
        if bucket is not None:  # what is pinned stays readable when its owner removes its name
            buckets[name] = bucket
    for one in inputs:
        if one.bucket in buckets and (refused := unreadable(owner_id, buckets[one.bucket], one.key)):
            raise AccessDenied(refused.message)


def attempt_rights(node_id: str, attempt: AttemptRef) -> Script[tuple[TaskRow, str, JobPlan]]:
    """The task, its job's owner and plan. StaleAttempt when the attempt is not the node's, or its job is stopped."""
    task = yield from current_task(node_id, attempt)
    rows = yield Op("job_get", (attempt.job_id,))
    if not rows:
        raise StaleAttempt
    job = JobRow(*rows[0])
    if job.cancel_reason is not None or job.ended:
        raise StaleAttempt
    return task, job.owner_id, read_plan(job.plan)


def get_task(job_id: str, task_id: int) -> Script[TaskRow]:
    """By the number of an input of a batch: that input, as if it had a task of its own."""
    rows = yield Op("tasks", (job_id, [task_id]))
    if not rows:
        return (yield from _batch_input(job_id, task_id))
    task = TaskRow(*rows[0])
    if task.state == TaskState.RUNNING and not task.node_id:
        elder = yield from _elder(task)
        return task if elder is None else elder.seen_as(task)
    return task


def _batch_input(job_id: str, number: int) -> Script[TaskRow]:
    before = max(0, number - BATCH_INPUTS_MAX - 1)
    for row in (yield Op("tasks_window", (job_id, before, number, -1, BATCH_INPUTS_MAX + 1))):
        for one in TaskRow(*row).inputs:
            if one.task_id == number:
                return one
    raise NoSuchJob(f"The job {job_id} has no task {number}.")


def tasks_page(job_id: str, after: int, limit: int, state: TaskState | None) -> Script[TaskPage]:
    """The tasks of the numbers behind `after`, a window of them at most: few may be in that state. Fewer than `limit`
    where each may have many inputs."""
    job = yield from _find_job(job_id)
    if any(phase.batch > 1 for phase in read_plan(job.plan).phases):
        limit = min(limit, BATCH_ROWS)
    end = job.next_task
    last = min(after + TASK_WINDOW, end)
    wanted = -1 if state is None else int(state)
    found = yield Op("tasks_window", (job_id, after, last, wanted, limit))
    tasks = tuple(TaskRow(*row) for row in found)
    reached = tasks[-1].task_id if len(tasks) == limit else last
    elders = (yield Op("elders", (job_id,))) if job.doubled and not job.ended else []
    return TaskPage(tasks, reached if reached < end else None, tuple(Elder(*row) for row in elders))


def inputs_page(job_id: str, after: int, limit: int) -> Script[LinePage]:
    """`seq` is the task's number: inputs are numbered in the order in which they were resolved. Those of the numbers
    behind `after`, a window of them at most."""
    job = yield from _find_job(job_id)
    plan = read_plan(job.plan)
    phase = INPUT_ONLY if plan.phases[0].kind is TaskKind.REDUCE else 0
    last = min(after + TASK_WINDOW, job.next_task)
    most = max(one.batch for one in plan.phases)
    if most == 1:
        found = yield Op("inputs_page", (job_id, phase, after, last, limit))
        lines = [_input_line(*row[:7]) for row in found]
    else:
        lines = yield from _batched_inputs(job_id, phase, after, last, limit, most)
    reached = lines[-1].seq if len(lines) == limit else last
    return LinePage(tuple(lines), reached if reached < job.next_task else None)


def _batched_inputs(job_id: str, phase: int, after: int, last: int, limit: int, most: int) -> Script[list[Line]]:
    """Numbers of a batch's inputs follow its own, some maybe in rows of their own: read from before `after` on, a few
    rows at a time, and told only as far as every row is known."""
    lines: list[Line] = []
    known = max(0, after - most - 1)
    while True:
        rows = yield Op("inputs_page", (job_id, phase, known, last, BATCH_ROWS))
        lines += [line for row in rows for line in _input_lines(*row) if after < line.seq <= last]
        lines.sort(key=lambda line: line.seq)
        if len(rows) < BATCH_ROWS:
            return lines[:limit]
        known = rows[-1][0]
        if len(lines) >= limit and lines[limit - 1].seq <= known:
            return lines[:limit]


def _input_lines(
    number: int, state: int, bucket: str, key: str, version: str, start: int, end: int, members: bytes | None
) -> list[Line]:
    if members is None:
        return [_input_line(number, state, bucket, key, version, start, end)]
    return [
        _input_line(one.number, state, one.bucket, one.key, one.version_id, 0, 0) for one in unpack_members(members)
    ]


def _input_line(seq: int, state: int, bucket: str, key: str, version: str, start: int, end: int) -> Line:
    fields = {"bucket": bucket, "key": key, "version": version, "state": TaskState(state).name.lower()}
    if end:
        fields["range"] = str(Range(start, end))
    return Line(seq, fields)


def outputs_page(job_id: str, after: int, limit: int) -> Script[list[Line]]:
    yield from view_job(job_id)
    rows = yield Op("outputs_page", (job_id, after, limit))
    names = ("bucket", "key", "size", "phase", "task")
    return [Line(row[0], dict(zip(names, row[1:], strict=True))) for row in rows]


def errors_page(job_id: str, after: int, limit: int) -> Script[list[Line]]:
    yield from view_job(job_id)
    rows = yield Op("errors_page", (job_id, after, limit))
    return [Line(seq, _record(record)) for seq, record in rows]


def _record(data: bytes) -> dict[str, Any]:
    record: dict[str, Any] = msgspec.json.decode(data)
    return record
