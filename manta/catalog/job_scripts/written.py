"""The inputs of a job as they were written: the first of them, for whoever reads its document."""

from jobs.model.inputs import InputSpec
from manta.catalog.job_chunks import decode_chunk
from manta.catalog.job_records import WrittenInputs
from manta.catalog.ops import Op, Script


def first_inputs(job_id: str, limit: int) -> Script[WrittenInputs]:
    """At most `limit` of them, read chunk by chunk: each may be a page of them, or one."""
    found: list[InputSpec] = []
    after = 0
    for _ in range(limit + 1):
        rows = yield Op("chunks_page", (job_id, after, 1))
        if not rows or len(found) > limit:
            break
        after, specs, total = rows[0]
        found += decode_chunk(specs) if total else ()
    else:
        return WrittenInputs(tuple(found[:limit]), more=True)
    return WrittenInputs(tuple(found[:limit]), more=len(found) > limit)
