"""`GET /jobs/{id}/document`: what a job was asked to do, every property of it, as JSON that may be posted again."""

from jobs.model.written import written_input, written_plan
from manta.core import limits
from manta.gateway.context import Context
from manta.gateway.http.request import Request
from manta.gateway.http.responses import Response, json_response
from manta.gateway.ops.job_common import find_job


async def job_document(context: Context, request: Request) -> Response:
    """`{"document": …, "more_inputs": …}`: whether there are inputs besides those shown. A function is told by its name
    and size."""
    view = await find_job(context, request)
    inputs = await context.catalog.jobs.first_inputs(view.job_id, limits.JOB_DOCUMENT_INPUTS)
    shown = {"inputs": [written_input(spec) for spec in inputs.specs], "end": view.input_ended}
    return json_response({"document": written_plan(view.plan) | shown, "more_inputs": inputs.more})
