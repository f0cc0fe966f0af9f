"""Watching a job: on a terminal rows that are drawn anew as it moves, and everywhere each failure as it happens."""

import sys
import time
from collections.abc import Iterator

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from manta.cli import output
from manta.cli.job_rows import Rate, counted, rows
from manta.cli.job_tasks import ranged
from manta.cli.plain import plain
from manta.sdk.following import Line
from manta.sdk.jobs import Job, JobStatus

_CANCELLED = "JobCancelled"
_STDERR_LINES = 12
_INTERVAL_S = 0.5


def failure_lines(entry: Line) -> list[str]:
    """An error of a job in words, with the end of what its task said on stderr. Nothing in it moves the cursor.

    The task's number is there for `manta job logs JOB TASK`.
    """
    source = ", ".join(filter(None, (ranged(entry.get("input") or "", entry), f"task {entry['task']}")))
    said = str(entry.get("stderr") or "").rstrip().splitlines()[-_STDERR_LINES:]
    lines = [f"{entry['code']}: {entry['message']}  ({source})", *(f"    {line}" for line in said)]
    return [plain(line) for line in lines]


def follow(job: Job, timeout_s: float | None) -> JobStatus:
    """Wait until the job has ended, each failure and what it waits for told on stderr as it happens; a bar on a
    terminal."""
    if output.animated():
        return _with_bar(job, timeout_s, output.console())
    failures = _Failures(job)
    last: JobStatus | None = None
    waits_for: str | None = None
    for last in job.watch(timeout_s=timeout_s):
        if last.waits_for is not None and last.waits_for != waits_for:
            print(plain(last.waits_for), file=sys.stderr)
        waits_for = last.waits_for
        for line in failures.news(last):
            print(line, file=sys.stderr)
    for line in failures.unfinished():
        print(line, file=sys.stderr)
    assert last is not None
    return last


class _Failures:
    """What fails, in words, as it happens. What a cancel left unfinished says one thing: it is told once, counted."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._told = 0
        self._unfinished = 0
        self._cancelled: Line = {}

    def news(self, status: JobStatus) -> Iterator[str]:
        """Since it was last asked. A job without errors is not asked for them."""
        for entry in self._job.errors(after=self._told) if status.errors else ():
            self._told = int(entry["seq"])
            if entry["code"] == _CANCELLED:
                self._unfinished += 1
                self._cancelled = entry
            else:
                yield from failure_lines(entry)

    def unfinished(self) -> list[str]:
        """By a cancel, once the job has ended."""
        if self._unfinished < 2:
            return failure_lines(self._cancelled) if self._unfinished else []
        where = f"{counted(self._unfinished, 'unfinished input')}: `manta job errors {self._job.id}` lists them"
        return [plain(f"{self._cancelled['code']}: {self._cancelled['message']}  ({where})")]


def _with_bar(job: Job, timeout_s: float | None, console: Console) -> JobStatus:
    """Drawn when something is new, never by itself: what stands still stands still."""
    rates: list[Rate] = []
    failures = _Failures(job)
    last: JobStatus | None = None
    with Live(console=console, transient=True, auto_refresh=False) as live:
        for last in job.watch(timeout_s=timeout_s, interval_s=_INTERVAL_S):
            for line in failures.news(last):
                console.print(Text(line, style="" if line.startswith(" ") else "red"))
            rates += [Rate() for _ in last.phases[len(rates) :]]
            for rate, phase in zip(rates, last.phases, strict=True):
                rate.add(time.monotonic(), phase.tasks.finished)
            shown = rows(last, [rate.per_s() for rate in rates], console.width - 1)
            live.update(Group(*(Text.assemble(*row, no_wrap=True, overflow="crop") for row in shown)), refresh=True)
    for line in failures.unfinished():
        console.print(Text(line, style="red"))
    assert last is not None
    return last
