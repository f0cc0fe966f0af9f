"""Jobs: `/_manta/v1/jobs…`, JSON and NDJSON. An account sees its own jobs; the root account sees all."""

import asyncio
from collections.abc import Iterable
from io import BytesIO
from itertools import islice
from urllib.parse import quote

import msgspec

from jobs.model.document import parse_document
from jobs.model.inputs import InputSpec, parse_input
from jobs.model.states import JobState
from jobs.model.units import parse_duration
from jobs.scheduler.scheduler import Scheduler
from manta.catalog.job_chunks import encode_chunks
from manta.catalog.job_records import JobView, Line, NewJob
from manta.core import limits
from manta.core.errors import BadRequest, InvalidArgument
from manta.core.names import new_job_id
from manta.gateway.context import Context
from manta.gateway.http.request import Request
from manta.gateway.http.responses import Response, json_response
from manta.gateway.ops.job_common import (
    check_output,
    find_job,
    job_and_page,
    ndjson,
    shown_error,
    shown_job,
    whole_number,
)
from manta.gateway.ops.job_document import job_document
from manta.gateway.ops.job_events import job_events
from manta.gateway.ops.job_explain import explain_job
from manta.gateway.ops.job_said import job_stderr
from manta.gateway.ops.job_stderr import task_stderr
from manta.gateway.ops.job_tasks import job_tasks
from manta.gateway.router import ApiRoute


async def create_job(context: Context, request: Request) -> Response:
    """201 with the job. The same `Idempotency-Key` of the same account gives the job it gave before, to the same
    document; to another one 422."""
    document = parse_document(await request.body.read(limits.JSON_MAX_BYTES))
    await check_output(context, request, document.plan)
    new = NewJob(
        job_id=new_job_id(context.now_ms()),
        owner_id=request.account_id,
        plan=document.plan,
        created_ms=context.now_ms(),
        chunks=tuple(encode_chunks(document.inputs)),
        ended=document.end,
        idempotency=_idempotency_key(request),
    )
    return _created(context, await context.extra(Scheduler).create(new))


def _idempotency_key(request: Request) -> str | None:
    key = request.headers.get("idempotency-key")
    if key is not None and not (0 < len(key) <= limits.IDEMPOTENCY_KEY_MAX_CHARS and key.isprintable()):
        raise InvalidArgument(f"An Idempotency-Key has 1 to {limits.IDEMPOTENCY_KEY_MAX_CHARS} printable characters.")
    return key


async def clone_job(context: Context, request: Request) -> Response:
    """201 with a new job of the same document and owner, whoever asks: a document runs with its writer's rights.

    The same inputs as they were written follow within moments. One `Idempotency-Key` makes one clone of a job.
    """
    view = await find_job(context, request)
    await check_output(context, request, view.plan)
    key = _idempotency_key(request)
    job = NewJob(
        job_id=new_job_id(context.now_ms()),
        owner_id=view.owner_id,
        plan=view.plan,
        created_ms=context.now_ms(),
        ended=view.input_ended,
        idempotency=None if key is None else f"{view.job_id}/clone/{key}",  # not to be taken for one of another job
        clone_of=view.job_id,
    )
    return _created(context, await context.extra(Scheduler).create(job))


async def list_jobs(context: Context, request: Request) -> Response:
    """Lines of jobs, the newest first; `after` is the last id of the page before."""
    principal = request.principal
    views = await context.catalog.jobs.list_jobs(
        None if principal.is_root else principal.account_id,
        state=_state(request.query.get("state", "")),
        name=request.query.get("name", ""),
        after=request.query.get("after", ""),
        limit=min(whole_number(request, "limit", limits.JOB_PAGE_LINES), limits.JOB_PAGE_LINES),
    )
    return ndjson(shown_job(context, view) for view in views)


def _state(name: str) -> str:
    if name and name not in list(JobState):
        raise InvalidArgument(f"`state` is one of {', '.join(JobState)}, not {name[:40]!r}.")
    return name


async def get_job(context: Context, request: Request) -> Response:
    """The job. With `?wait=SECONDS` (at most 60) the answer comes when the job has ended, or has made progress since
    the call came in (then no sooner than after a quarter of a second), or when that time has passed. With `&for=end`
    progress is no reason to answer."""
    view = await find_job(context, request)
    wait = request.query.get("wait")
    what = request.query.get("for")
    if what not in (None, "end"):
        raise InvalidArgument(f"The parameter `for` is `end` or left out, not {what!r}.")
    if wait is not None and view.ended_ms is None:
        seconds = min(parse_duration(wait, "wait"), limits.JOB_WAIT_MAX_S)
        scheduler = context.extra(Scheduler)
        view = await scheduler.wait(view, seconds, for_end=what is not None, is_abandoned=request.is_abandoned)
    return json_response(shown_job(context, view))


async def add_inputs(context: Context, request: Request) -> Response:
    """One input a line: a JSON string or object, or the bare `s3://bucket/key`. 202 with how many were taken.

    With an `Idempotency-Key` a repeated request adds nothing; the same key with other inputs is 422.
    """
    view = await find_job(context, request)
    body = await request.body.read(limits.JOB_INPUTS_MAX_BYTES)
    chunks = await read_inputs(body)
    await context.extra(Scheduler).add_inputs(view.job_id, chunks, end=False, once=_idempotency_key(request))
    return json_response({"added": sum(count for _, count in chunks)}, 202)


async def read_inputs(body: bytes) -> list[tuple[bytes, int]]:
    """The inputs in lines of NDJSON, packed page by page; other requests get their turn between two pages."""
    chunks: list[tuple[bytes, int]] = []
    lines = BytesIO(body)
    while page := list(islice(lines, limits.RESOLVE_PAGE)):
        chunks += encode_chunks(_parse_line(line) for line in page if not line.isspace())
        await asyncio.sleep(0)
    return chunks


async def end_inputs(context: Context, request: Request) -> Response:
    view = await find_job(context, request)
    await context.extra(Scheduler).add_inputs(view.job_id, (), end=True)
    return await _answer(context, view)


async def cancel_job(context: Context, request: Request) -> Response:
    """The job as it is then; its unfinished inputs become JobCancelled errors within moments."""
    view = await find_job(context, request)
    await context.extra(Scheduler).cancel(view.job_id, "The job was cancelled by its owner.")
    return await _answer(context, view)


async def retry_job(context: Context, request: Request) -> Response:
    """The job, opened again for its failed inputs only; as it was when none has failed."""
    view = await find_job(context, request)
    await context.extra(Scheduler).retry(view.job_id)
    return await _answer(context, view)


async def delete_job(context: Context, request: Request) -> Response:
    view = await find_job(context, request)
    await context.extra(Scheduler).delete(view.job_id)
    return Response(204)


async def job_inputs(context: Context, request: Request) -> Response:
    view, after, limit = await job_and_page(context, request)
    return _pages(await context.catalog.jobs.inputs(view.job_id, after, limit))


async def job_outputs(context: Context, request: Request) -> Response:
    view, after, limit = await job_and_page(context, request)
    return _pages(await context.catalog.jobs.outputs(view.job_id, after, limit))


async def job_errors(context: Context, request: Request) -> Response:
    view, after, limit = await job_and_page(context, request)
    return ndjson(shown_error(line) for line in await context.catalog.jobs.errors(view.job_id, after, limit))


async def _answer(context: Context, view: JobView) -> Response:
    return json_response(shown_job(context, await context.catalog.jobs.get_job(view.job_id)))


def _parse_line(line: bytes) -> InputSpec:
    text = line.strip()
    try:
        return parse_input(msgspec.json.decode(text) if text[:1] in (b'"', b"{") else text.decode("utf-8"))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest(f"Not an input: {text[:80]!r}: {error}.") from None


def _pages(lines: Iterable[Line]) -> Response:
    return ndjson({"seq": line.seq, **line.fields} for line in lines)


def _created(context: Context, view: JobView) -> Response:
    return json_response(shown_job(context, view), 201, {"Location": quote(f"/_manta/v1/jobs/{view.job_id}")})


API_ROUTES = (
    ApiRoute("CreateJob", create_job, "POST", "v1/jobs"),
    ApiRoute("ListJobs", list_jobs, "GET", "v1/jobs"),
    ApiRoute("ExplainJob", explain_job, "POST", "v1/jobs/explain"),
    ApiRoute("GetJob", get_job, "GET", "v1/jobs/{id}", long=True),
    ApiRoute("DeleteJob", delete_job, "DELETE", "v1/jobs/{id}"),
    ApiRoute("AddJobInputs", add_inputs, "POST", "v1/jobs/{id}/inputs"),
    ApiRoute("EndJobInputs", end_inputs, "POST", "v1/jobs/{id}/end"),
    ApiRoute("CancelJob", cancel_job, "POST", "v1/jobs/{id}/cancel"),
    ApiRoute("RetryJob", retry_job, "POST", "v1/jobs/{id}/retry"),
    ApiRoute("CloneJob", clone_job, "POST", "v1/jobs/{id}/clone"),
    ApiRoute("JobDocument", job_document, "GET", "v1/jobs/{id}/document"),
    ApiRoute("JobEvents", job_events, "GET", "v1/jobs/{id}/events", long=True),
    ApiRoute("JobTasks", job_tasks, "GET", "v1/jobs/{id}/tasks"),
    ApiRoute("JobStderr", job_stderr, "GET", "v1/jobs/{id}/stderr", long=True),
    ApiRoute("TaskStderr", task_stderr, "GET", "v1/jobs/{id}/tasks/{task}/stderr", long=True),
    ApiRoute("JobInputs", job_inputs, "GET", "v1/jobs/{id}/inputs"),
    ApiRoute("JobOutputs", job_outputs, "GET", "v1/jobs/{id}/outputs"),
    ApiRoute("JobErrors", job_errors, "GET", "v1/jobs/{id}/errors"),
)
