"""`manta job get`, `list`, `outputs`, `logs` and the others that only read."""

import sys
import time
from collections.abc import Iterable
from typing import Annotated, Any

import typer

from manta.cli import output
from manta.cli.job_page import page
from manta.cli.job_progress import failure_lines
from manta.cli.job_rows import facts
from manta.cli.job_tasks import prefixed, ranged, task_lines
from manta.core.limits import JOB_PAGE_LINES
from manta.sdk import Job, connect

app = typer.Typer()
JobId = Annotated[str, typer.Argument(metavar="JOB", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="JSON lines.")]


@app.command()
def get(job: JobId, json: Json = False) -> None:
    """Show a job's state and counts."""
    with connect() as store:
        status = store.job(job).status()
    if json:
        output.json_line(status)
        return
    output.line(f"{status.id}  {status.state}  {status.name or ''}".rstrip())
    for number, phase in enumerate(status.phases):
        counts = phase.tasks
        output.line(
            f"  {number} {phase.type:<7} {counts.committed} of {counts.total} done, {counts.running} running, "
            f"{counts.failed} failed  {phase.work[:60]}"
        )
    output.line(f"  {facts(status)}")
    for words in filter(None, (status.cancel_reason, status.waits_for)):
        output.line(f"  {words}")


@app.command("ls", hidden=True)
@app.command("list")
def list_(
    state: Annotated[str | None, typer.Option(help="queued, running, done or cancelled.")] = None,
    name: Annotated[str | None, typer.Option(help="Exact name.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=JOB_PAGE_LINES, help="At most so many.")] = 100,
    json: Json = False,
) -> None:
    """Your latest jobs, newest first."""
    with connect() as store:
        for status in store.jobs(state=state, name=name, limit=limit):
            if json:
                output.json_line(status)
            else:
                output.line(f"{status.id}  {status.state:<9}  {status.created or '':<20}  {status.name or ''}".rstrip())


@app.command()
def inputs(job: JobId, json: Json = False) -> None:
    """Print a job's inputs: one that was split has a line for each range."""
    with connect() as store:
        _print_objects(store.job(job).inputs(), json)


@app.command()
def outputs(job: JobId, json: Json = False) -> None:
    """Print the URIs of what a job made; read them with `manta cat`."""
    with connect() as store:
        _print_objects(store.job(job).outputs(), json)


def _print_objects(entries: Iterable[dict[str, Any]], json: bool) -> None:
    for entry in entries:
        name = f"s3://{entry['bucket']}/{entry['key']}" if entry["bucket"] else entry["key"]
        output.json_line(entry) if json else output.line(ranged(name, entry))


@app.command()
def tasks(
    job: JobId,
    state: Annotated[str | None, typer.Option(help="ready, running, committed, failed or cancelled.")] = None,
    json: Json = False,
) -> None:
    """Print a job's tasks: number, state, node, how long it ran, phase, input; its other attempts."""
    with connect() as store:
        for entry in store.job(job).tasks(state=state):
            for line in () if json else task_lines(entry):
                output.line(line)
            if json:
                output.json_line(entry)


@app.command()
def logs(
    job: JobId,
    task: Annotated[int | None, typer.Argument(metavar="[TASK]", help="Its number, as in `manta job tasks`.")] = None,
    follow_it: Annotated[bool, typer.Option("-f", "--follow", help="Until the task, or the job, has ended.")] = False,
) -> None:
    """Print what a task said on stderr (its last 64 KiB); without a task, what each failed one said last.

    With -f and without a task: what all of them say, as they say it, each line behind its task's number.
    """
    with connect() as store:
        found = store.job(job)
        if task is None and follow_it:
            for line in prefixed(found.follow_all_stderr()):
                print(line, flush=True)
            return
        if task is None:
            _show_errors(found, json=False)
            return
        for piece in found.follow_stderr(task) if follow_it else (found.stderr(task),):
            sys.stdout.buffer.write(piece)
            sys.stdout.buffer.flush()


@app.command()
def share(job: JobId) -> None:
    """Print a job as one HTML page that stands alone: `manta job share JOB > page.html`."""
    with connect() as store:
        found = store.job(job)
        lines = found.tasks(), found.outputs(), found.errors()
        output.lines(page(found.status(), found.document(), *lines, time.time()).rstrip())


@app.command()
def errors(job: JobId, json: Json = False) -> None:
    """Print each failure: input, code, message, stderr."""
    with connect() as store:
        _show_errors(store.job(job), json)


def _show_errors(job: Job, json: bool) -> None:
    for entry in job.errors():
        if json:
            output.json_line(entry)
            continue
        for line in failure_lines(entry):
            output.line(line)
