"""Scripts that make jobs and give them inputs."""

from collections.abc import Sequence

from jobs.model.document import encode_plan
from jobs.model.states import JobState
from jobs.model.wire import TaskKind
from manta.catalog.job_records import JobView, NewJob
from manta.catalog.job_scripts.unit import get_unit
from manta.catalog.job_scripts.views import view_job
from manta.catalog.ops import Many, Op, Script
from manta.core.errors import JobClosed


def create_job(new: NewJob) -> Script[JobView]:
    if new.idempotency is not None:
        earlier = yield Op("job_by_idempotency", (new.owner_id, new.idempotency))
        if earlier:
            return (yield from view_job(earlier[0][0]))
    inserted = yield Op(
        "job_insert",
        (
            new.job_id, new.owner_id, new.plan.name, JobState.QUEUED.value, new.created_ms, encode_plan(new.plan),
            int(new.ended), new.idempotency,
        ),
    )  # fmt: skip
    if not inserted and new.idempotency is not None:
        same = yield Op("job_by_idempotency", (new.owner_id, new.idempotency))
        return (yield from view_job(same[0][0]))
    yield Many(
        "phase_insert",
        [
            (new.job_id, number, phase.kind.value, phase.count, phase.count if phase.kind is TaskKind.REDUCE else 0)
            for number, phase in enumerate(new.plan.phases)
        ],
    )
    yield from _insert_chunks(new.job_id, 0, new.chunks)
    return (yield from view_job(new.job_id))


def add_inputs(job_id: str, chunks: Sequence[tuple[bytes, int]], now_ms: int, *, end: bool) -> Script[None]:
    unit = yield from get_unit(job_id, now_ms)
    if unit.stopped or unit.job.input_ended:
        if not chunks and not unit.stopped:
            return
        raise JobClosed
    last = yield Op("chunk_last", (job_id,))
    yield from _insert_chunks(job_id, last[0][0], chunks)
    unit.job.input_ended = int(end)
    unit.job.tend = 1
    yield from unit.save_job()


def _insert_chunks(job_id: str, last: int, chunks: Sequence[tuple[bytes, int]]) -> Script[None]:
    rows = [(job_id, last + place, specs, total) for place, (specs, total) in enumerate(chunks, 1)]
    if rows:
        yield Many("chunk_insert", rows)
