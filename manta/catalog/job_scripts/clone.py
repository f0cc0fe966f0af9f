"""The inputs of a clone, copied from the job it is of a page at a time: nobody need wait, and nothing stays open."""

from manta.catalog.job_scripts.job_row import JobRow
from manta.catalog.job_scripts.unit import Unit
from manta.catalog.ops import Many, Op, Script
from manta.core.limits import CLONE_CHUNKS_PAGE


def copy_page(unit: Unit) -> Script[bool]:
    """Whether it waits for inputs that are not there yet.

    Of a cancelled clone nothing more is copied: inputs that it never had are not its own.

    Whether the other job goes is asked after its inputs were read: they are removed only once it says so. One that is
    a clone itself may still be getting them: then there is more to come.
    """
    job = unit.job
    page = yield Op("chunks_page", (job.clone_of, job.clone_after, CLONE_CHUNKS_PAGE))
    source = yield from _find(str(job.clone_of))
    if unit.stopped or source is None or source.doomed:
        if not unit.stopped:
            unit.begin_cancel(f"The job {job.clone_of} was deleted before its inputs were copied.")
        job.clone_of = None
        return False
    last = (yield Op("chunk_last", (job.job_id,)))[0][0]
    written = [(specs, total) for _, specs, total in page if total]
    rows = [(job.job_id, last + place, specs, total, None) for place, (specs, total) in enumerate(written, 1)]
    if rows:
        yield Many("chunk_insert", rows)
    if page:
        job.clone_after = page[-1][0]
    if len(page) < CLONE_CHUNKS_PAGE and source.clone_of is None:
        job.clone_of = None
    return not page and job.clone_of is not None


def _find(job_id: str) -> Script[JobRow | None]:
    rows = yield Op("job_get", (job_id,))
    return JobRow(*rows[0]) if rows else None
