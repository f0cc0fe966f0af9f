"""`manta job …`: submit, feed and watch jobs; what only reads is in `job_reads`."""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from manta.cli import output
from manta.cli.exit_codes import CANCELLED, FAILED, INTERRUPTED, TASK_ERRORS, WAIT_TIMED_OUT
from manta.cli.held_interrupts import held_interrupts
from manta.cli.interruptible import open_stdin
from manta.cli.job_arguments import JobArguments, parse, require_inputs
from manta.cli.job_progress import follow
from manta.cli.job_reads import JobId
from manta.cli.job_reads import app as reads
from manta.cli.job_rows import counted, facts
from manta.core.errors import InvalidArgument, ServiceUnavailable
from manta.sdk import Job, Store, connect
from manta.sdk.jobs import JobStatus, WaitTimedOutError, work_of

app = typer.Typer(no_args_is_help=True, help="Map/reduce jobs on the nodes that hold the objects.")
_RAW = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": ["-h", "--help"]}


def _inputs(given: Iterable[str | dict[str, object]]) -> Iterator[str | dict[str, object]]:
    """What was given, with the lines of stdin where a `-` stands."""
    for item in given:
        if item == "-":
            yield from _typed_lines()
        else:
            yield item


def _typed_lines() -> Iterator[str]:
    """What stdin brings, line by line, without the empty ones."""
    for raw in open_stdin():
        try:
            line = raw.decode().rstrip("\r\n")
        except UnicodeDecodeError:
            raise InvalidArgument(f"A line of stdin is no UTF-8, as keys are: {raw[:80]!r}.") from None
        if line:
            yield line


def _submit(store: Store, arguments: JobArguments, release: Callable[[], None], *, end: bool) -> Job:
    """The job, made while Ctrl-C is held back: it is released where the job can be named."""
    streamed = "-" in arguments.inputs
    job = store.submit(
        arguments.phases,
        inputs=() if streamed else arguments.inputs,
        end=end and not streamed,
        properties=arguments.properties,
    )
    if streamed:
        _stream(job, arguments, release, end=end)
    return job


def _stream(job: Job, arguments: JobArguments, release: Callable[[], None], *, end: bool) -> None:
    """The inputs as stdin brings them. A job that cannot be given all of them waits for more: whose it is, is told."""
    try:
        release()
        job.add(_inputs(arguments.inputs))
        if end:
            job.end()
    except BaseException:
        output.console().print(
            f"Job {job.id} waits for the rest of its input: `manta job add {job.id}` and `manta job end {job.id}`, "
            f"or `manta job cancel {job.id}`."
        )
        raise


@app.command(context_settings=_RAW)
def run(context: typer.Context) -> None:
    """Create a job, wait with a progress bar, print its outputs and each failure with its stderr.

    manta job run [PHASE OPTIONS] -m CMD [[PHASE OPTIONS] -r CMD]… INPUT…

    Options of a phase stand before it: --memory 1G --disk 512M --cpus 0.5
    --timeout 10m --count N --init CMD --env K=V --retries N --split 64M
    --batch N --asset s3://BUCKET/KEY --image s3://BUCKET/KEY.

    Options of the job: --name N --output s3://BUCKET/PREFIX/ --max-errors N
    --where COND --file DOCUMENT --json; --wait SECONDS, after which the
    command ends and the job goes on.

    INPUT is s3://BUCKET/KEY, a prefix that ends in `/`, a glob, or `-` for
    one on each line of stdin. COND is such as 'size>=1M',
    'modified<2026-02-01' or metadata.NAME=TEXT.
    """
    arguments = parse(context.args, _read)
    require_inputs(arguments)
    with connect() as store:
        with held_interrupts() as release:
            job = _submit(store, arguments, release, end=True)
            output.console().print(f"[dim]job {job.id}[/]")
            status = _follow(job, arguments.timeout_s, release)
        _show_outputs(store, job, arguments.json)
        _summary(status)
        if status.inputs == 0:
            output.console().print("[yellow]No object matched the inputs.[/]")
    raise typer.Exit(_exit_of(status))


def _read(name: str) -> bytes:
    return Path(name).read_bytes()


@app.command(context_settings=_RAW)
def create(context: typer.Context) -> None:
    """Create a job and print its id. Without inputs it waits for `manta job add` and `manta job end`.

    Takes what `manta job run` takes: see its --help.
    """
    arguments = _unwatched(context)
    with connect() as store, held_interrupts() as release:
        job = _submit(store, arguments, release, end=bool(arguments.inputs))
        output.json_line({"id": job.id}) if arguments.json else output.line(job.id)


def _unwatched(context: typer.Context) -> JobArguments:
    """The arguments of a command that does not wait for a job."""
    arguments = parse(context.args, _read)
    if arguments.timeout_s is not None:
        raise InvalidArgument("--wait is for `manta job run`: nothing is waited for here.")
    return arguments


def _work(phase: Mapping[str, Any]) -> str:
    return work_of(phase.get("exec", ""), phase.get("program", ""))


@app.command(context_settings=_RAW)
def explain(context: typer.Context) -> None:
    """Show what `manta job run` with these arguments would do: inputs, bytes, nodes, tasks. Nothing is run."""
    arguments = _unwatched(context)
    with connect() as store:
        plan = store.explain(arguments.phases, inputs=list(_inputs(arguments.inputs)), properties=arguments.properties)
    if arguments.json:
        output.json_line(plan)
        return
    more = "" if plan["complete"] else " and more"
    output.line(f"{counted(plan['inputs'], 'input')}{more}, {output.size_text(plan['input_bytes'])}")
    for code, count in plan["unreadable"].items():
        output.line(f"  {count:,} cannot be read: {code}")
    for one in plan["missing"]:
        output.line(f"  phase {one['phase']} cannot have {one['object']}: {one['message']}")
    for number, phase in enumerate(plan["phases"]):
        output.line(f"  {number} {phase['type']:<7} {counted(phase['tasks'], 'task')}  {_work(phase)[:60]}")
    for node in plan["nodes"]:
        output.line(
            f"  {node['node']}  holds {node['inputs']:,} ({output.size_text(node['bytes'])}), "
            f"runs about {node['tasks']:,}"
        )


@app.command()
def add(job: JobId, inputs: Annotated[list[str] | None, typer.Argument(metavar="INPUT…")] = None) -> None:
    """Add inputs; without any, or where one is `-`, one per line from stdin."""
    with connect() as store:
        added = store.job(job).add(_inputs(inputs or ["-"]))
        output.console().print(f"[dim]{counted(added, 'line')} of input[/]")


@app.command()
def end(job: JobId) -> None:
    """No more inputs will come."""
    with connect() as store:
        store.job(job).end()


@app.command()
def cancel(job: JobId) -> None:
    """Stop a job; each unfinished input becomes a JobCancelled error."""
    with connect() as store:
        store.job(job).cancel()


@app.command()
def retry(job: JobId) -> None:
    """Open a finished job again for its failed inputs only; `manta job wait` then waits for it."""
    with connect() as store:
        _summary(store.job(job).retry())


@app.command()
def clone(job: JobId) -> None:
    """Create a new job of the same document and inputs, and print its id."""
    with connect() as store, held_interrupts():
        output.line(store.job(job).clone().id)


@app.command("rm")
def remove(job: JobId) -> None:
    """Remove a job with the outputs in its own bucket. One that still runs is cancelled."""
    with connect() as store:
        store.job(job).delete()


@app.command()
def wait(job: JobId, timeout: Annotated[float | None, typer.Option(help="Seconds.")] = None) -> None:
    """Wait until a job has ended; the exit code says how."""
    with connect() as store:
        status = _follow(store.job(job), timeout)
    _summary(status)
    raise typer.Exit(_exit_of(status))


def _follow(job: Job, timeout_s: float | None, release: Callable[[], None] | None = None) -> JobStatus:
    """Wait, with a bar on a terminal; failures are told as they happen. Ctrl-C leaves the job running and says so."""
    try:
        if release is not None:
            release()
        return follow(job, timeout_s)
    except WaitTimedOutError as error:
        output.console().print(error.message)
        raise typer.Exit(WAIT_TIMED_OUT) from None
    except ServiceUnavailable as error:
        output.console().print(f"{error.message} The job goes on when it is back: `manta job wait {job.id}`.")
        raise typer.Exit(FAILED) from None
    except KeyboardInterrupt:
        output.console().print(f"The job goes on: `manta job wait {job.id}`, or `manta job cancel {job.id}`.")
        raise typer.Exit(INTERRUPTED) from None


def _show_outputs(store: Store, job: Job, json: bool) -> None:
    for entry in job.outputs():
        if json:
            output.json_line(entry)
            continue
        for chunk in store.stream(f"s3://{entry['bucket']}/{entry['key']}"):
            sys.stdout.buffer.write(chunk)
    sys.stdout.buffer.flush()


def _summary(status: JobStatus) -> None:
    output.console().print(f"[dim]{status.state}: {facts(status)}[/]")
    if status.cancel_reason:
        output.console().print(status.cancel_reason, style="dim", markup=False)


def _exit_of(status: JobStatus) -> int:
    if status.state == "cancelled":
        return CANCELLED
    return TASK_ERRORS if status.errors else 0


app.add_typer(reads)
