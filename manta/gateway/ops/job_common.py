"""What the handlers of jobs share: finding the caller's job, and the form in which a job is shown."""

from collections.abc import Iterable

import msgspec

from jobs.model.document import JobPlan
from jobs.scheduler.scheduler import Scheduler
from manta.catalog.job_records import JobView, Line
from manta.core import limits
from manta.core.errors import AccessDenied, InvalidArgument, NoSuchJob
from manta.core.names import check_job_id
from manta.gateway.context import Context
from manta.gateway.datapath.cluster import Cluster
from manta.gateway.http.request import Request
from manta.gateway.http.responses import NDJSON, Response
from manta.gateway.http.xml import timestamp


async def find_job(context: Context, request: Request) -> JobView:
    """The job of the path, if it is the caller's to see; NoSuchJob for another account's."""
    view = await context.catalog.jobs.get_job(check_job_id(request.params["id"]))
    if request.account_id != view.owner_id and not request.principal.is_root:
        raise NoSuchJob(f"The job {view.job_id} does not exist.")
    return view


async def check_output(context: Context, request: Request, plan: JobPlan) -> None:
    """The bucket of `output` exists and is the caller's: told before anything is run."""
    if plan.output is not None:
        bucket = await context.catalog.get_bucket(plan.output[0])
        if bucket.owner_id != request.account_id and not request.principal.is_root:
            raise AccessDenied(f"The bucket {bucket.name!r} of `output` belongs to another account.")


def whole_number(request: Request, name: str, default: int) -> int:
    text = request.query.get(name, "")
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise InvalidArgument(f"`{name}` is a whole number, not {text[:40]!r}.")
    return int(text)


async def job_and_page(context: Context, request: Request) -> tuple[JobView, int, int]:
    """The job of the path, and which of its lines are wanted: those behind `after`, at most `limit`."""
    view = await find_job(context, request)
    limit = whole_number(request, "limit", limits.JOB_PAGE_LINES)
    if not 1 <= limit <= limits.JOB_PAGE_LINES_MAX:
        raise InvalidArgument(f"`limit` lies between 1 and {limits.JOB_PAGE_LINES_MAX}.")
    return view, whole_number(request, "after", 0), limit


def ndjson(values: Iterable[object]) -> Response:
    encode = msgspec.json.Encoder().encode
    return Response(200, None, b"".join(encode(value) + b"\n" for value in values), NDJSON)


def shown_work(command: str, program: str | None) -> dict[str, object]:
    """What a phase runs: its command, or the name of its function."""
    return {"exec": command} if program is None else {"program": program}


def shown_error(line: Line) -> dict[str, object]:
    """A line of a job's errors, its times in the form of all others."""
    times = {name: line.fields.get(name) for name in ("started", "ended")}
    shown = {name: timestamp(moment) if isinstance(moment, int) else None for name, moment in times.items()}
    return {"seq": line.seq, **line.fields, **shown}


def waits_for(context: Context, view: JobView) -> str | None:
    """Why none of its tasks can start just now, as this gateway sees the nodes. None once it has ended."""
    return context.extra(Cluster).shortage(context.config.copies) if view.ended_ms is None else None


def shown_job(context: Context, view: JobView) -> dict[str, object]:
    """The job as JSON values. `complete` of a phase: no more tasks will be added to it."""
    view = context.extra(Scheduler).as_started(view)
    return {
        "id": view.job_id,
        "owner": view.owner_id,
        "name": view.name,
        "state": view.state,
        "created": timestamp(view.created_ms),
        "ended": None if view.ended_ms is None else timestamp(view.ended_ms),
        "input_ended": view.input_ended,
        "cancel_reason": view.cancel_reason,
        "waits_for": waits_for(context, view),
        "phases": [
            {
                "type": phase.kind.value,
                **shown_work(phase.exec, phase.program),
                "tasks": phase.tasks,
                "complete": phase.complete,
            }
            for phase in view.phases
        ],
        "inputs": view.inputs,
        "outputs": view.outputs,
        "errors": view.errors,
        "input_bytes_in_place": view.in_place_bytes,
        "input_bytes_moved": view.moved_bytes,
        "shuffle_bytes_moved": view.shuffled_bytes,
        "output_bytes_copied": view.copied_bytes,
        "task_seconds": view.task_seconds,
        "byte_seconds": view.byte_seconds,
    }
