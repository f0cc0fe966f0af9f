"""Scripts that make jobs and give them inputs."""

from collections.abc import Sequence

from jobs.model.document import encode_plan
from jobs.model.states import JobState
from jobs.model.wire import TaskKind
from manta.catalog.job_records import JobView, NewJob
from manta.catalog.job_scripts.unit import get_unit
from manta.catalog.job_scripts.views import view_job
from manta.catalog.ops import Many, Op, Script
from manta.core.errors import IdempotencyKeyReused, JobClosed


def create_job(new: NewJob) -> Script[JobView]:
    if new.idempotency is not None:
        earlier = yield Op("job_by_idempotency", (new.owner_id, new.idempotency))
        if earlier:
            return (yield from _same_job(new, earlier[0][0]))
    inserted = yield Op(
        "job_insert",
        (
            new.job_id, new.owner_id, new.plan.name, JobState.QUEUED.value, new.created_ms, encode_plan(new.plan),
            int(new.ended), new.idempotency, new.clone_of,
        ),
    )  # fmt: skip
    if not inserted and new.idempotency is not None:
        same = yield Op("job_by_idempotency", (new.owner_id, new.idempotency))
        return (yield from _same_job(new, same[0][0]))
    yield Many(
        "phase_insert",
        [
            (new.job_id, number, phase.kind.value, phase.count, phase.count if phase.kind is TaskKind.REDUCE else 0)
            for number, phase in enumerate(new.plan.phases)
        ],
    )
    yield from _insert_chunks(new.job_id, 0, new.chunks, None)
    return (yield from view_job(new.job_id))


def _same_job(new: NewJob, job_id: str) -> Script[JobView]:
    """The job that was made of this very request before. IdempotencyKeyReused."""
    view = yield from view_job(job_id)
    chunks = yield Op("chunks_page", (job_id, 0, len(new.chunks)))
    same = [(specs, total) for _, specs, total in chunks] == list(new.chunks)
    if new.clone_of is None:  # what a clone is of may have been ended meanwhile
        same = same and (view.input_ended or not new.ended)
    if not same or view.plan != new.plan:
        raise IdempotencyKeyReused(f"The Idempotency-Key made the job {job_id} of another document: use a new key.")
    return view


def add_inputs(
    job_id: str, chunks: Sequence[tuple[bytes, int]], now_ms: int, *, end: bool, once: str | None
) -> Script[None]:
    """`once`: the same inputs under the same key are added once."""
    unit = yield from get_unit(job_id, now_ms)
    if once is not None and (yield from _was_added(job_id, chunks, once)):
        return
    if unit.stopped or unit.job.input_ended:
        if not chunks and unit.job.cancel_reason is None:  # asked again, it may have ended since
            return
        raise JobClosed
    last = yield Op("chunk_last", (job_id,))
    yield from _insert_chunks(job_id, last[0][0], chunks, once)
    unit.job.input_ended = int(end)
    unit.job.tend = 1
    yield from unit.save_job()


def _was_added(job_id: str, chunks: Sequence[tuple[bytes, int]], once: str) -> Script[bool]:
    """IdempotencyKeyReused where other inputs were added under that key."""
    found = yield Op("chunk_by_idempotency", (job_id, once))
    if not found:
        return False
    rows = yield Op("chunks_page", (job_id, found[0][0] - 1, len(chunks)))
    if [(specs, total) for _, specs, total in rows] != list(chunks):
        raise IdempotencyKeyReused("Other inputs were added under this Idempotency-Key: use a new one.")
    return True


def _insert_chunks(job_id: str, last: int, chunks: Sequence[tuple[bytes, int]], once: str | None) -> Script[None]:
    rows = [
        (job_id, last + place, specs, total, once if place == 1 else None)
        for place, (specs, total) in enumerate(chunks, 1)
    ]
    if rows:
        yield Many("chunk_insert", rows)
