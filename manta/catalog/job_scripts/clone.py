"""The inputs of a clone, copied from the job it is of a page at a time: nobody need wait, and nothing stays open."""

from manta.catalog.job_scripts.unit import JobRow, Unit
from manta.catalog.ops import Many, Op, Script
from manta.core.limits import CLONE_CHUNKS_PAGE


def copy_page(unit: Unit) -> Script[None]:
    """Of a cancelled clone nothing more is copied: inputs that it never had are not its own."""
    job = unit.job
    source = yield Op("job_get", (job.clone_of,))
    if unit.stopped or not source or JobRow(*source[0]).doomed:
        if not unit.stopped:
            unit.begin_cancel(f"The job {job.clone_of} was deleted before its inputs were copied.")
        job.clone_of = None
        return
    page = yield Op("chunks_page", (job.clone_of, job.clone_after, CLONE_CHUNKS_PAGE))
    last = (yield Op("chunk_last", (job.job_id,)))[0][0]
    rows = [(job.job_id, last + place, specs, total, None) for place, (_, specs, total) in enumerate(page, 1)]
    if rows:
        yield Many("chunk_insert", rows)
        job.clone_after = page[-1][0]
    if len(page) < CLONE_CHUNKS_PAGE:
        job.clone_of = None
