"""Watching a job on a terminal: a row for each phase, failures above it as they happen. Numbers are never guessed."""

import sys
import time
from collections import deque
from collections.abc import Iterator

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.text import Text

from manta.cli import output
from manta.sdk.jobs import Job, JobStatus, Line, PhaseStatus

_STDERR_LINES = 12
_RATE_WINDOW_S = 15.0
_RATE_MIN_S = 1.0
_INTERVAL_S = 0.5


class Rate:
    """How many a second, over the last quarter of a minute; None before there is enough to tell."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def add(self, now_s: float, count: int) -> None:
        if self._seen and count < self._seen[-1][1]:
            self._seen.clear()
        self._seen.append((now_s, count))
        while len(self._seen) > 2 and self._seen[1][0] <= now_s - _RATE_WINDOW_S:
            self._seen.popleft()

    def per_s(self) -> float | None:
        if not self._seen or self._seen[-1][0] - self._seen[0][0] < _RATE_MIN_S:
            return None
        (began_s, first), (now_s, last) = self._seen[0], self._seen[-1]
        return (last - first) / (now_s - began_s)


def note(phase: PhaseStatus, rate_per_s: float | None) -> str:
    """What a phase's row says behind its bar. A total stands there only once no more tasks can come."""
    counts = phase.tasks
    words = [
        f"{counts.finished:,} of {counts.total:,}" if phase.complete else f"{counts.finished:,} of {counts.total:,}+"
    ]
    if counts.running:
        words.append(f"{counts.running:,} running")
    if counts.failed:
        words.append(f"{counts.failed:,} failed")
    if counts.cancelled:
        words.append(f"{counts.cancelled:,} cancelled")
    left = counts.total - counts.finished
    if rate_per_s and left:
        words.append(f"{rate_per_s:,.0f}/s" if rate_per_s >= 10 else f"{rate_per_s:.1f}/s")
        if phase.complete:
            words.append(f"{duration(left / rate_per_s)} left")
    return ", ".join(words)


def duration(seconds: float) -> str:
    """`42s`, `3m 07s`, `2h 05m`, `4d 03h`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02d}s"
    if whole < 86_400:
        return f"{whole // 3600}h {whole % 3600 // 60:02d}m"
    return f"{whole // 86_400}d {whole % 86_400 // 3600:02d}h"


def moved(status: JobStatus) -> str:
    """The job's own row: bytes read where they lie, and bytes that had to move."""
    words = [
        f"{output.size_text(status.input_bytes_in_place)} read in place",
        f"{output.size_text(status.input_bytes_moved)} moved",
    ]
    if status.shuffle_bytes_moved:
        words.append(f"{output.size_text(status.shuffle_bytes_moved)} shuffled")
    if not status.input_ended:
        words.append("its input is open")
    elif not status.phases or not status.phases[0].complete:
        words.append("inputs are still being looked up")
    return ", ".join(words)


def failure_lines(entry: Line) -> list[str]:
    """An error of a job in words, with the end of what its task said on stderr. Nothing in it moves the cursor."""
    source = entry.get("input") or f"task {entry.get('task')}"
    said = str(entry.get("stderr") or "").rstrip().splitlines()[-_STDERR_LINES:]
    lines = [f"{entry['code']}: {entry['message']}  ({source})", *(f"    {line}" for line in said)]
    return [plain(line) for line in lines]


def plain(text: str) -> str:
    """The text with control characters shown, not sent to the terminal."""
    return "".join(char if char.isprintable() or char == "\t" else f"\\x{ord(char):02x}" for char in text)


def follow(job: Job, timeout_s: float | None) -> JobStatus:
    """Wait until the job has ended, each failure told on stderr as it happens; a bar on a terminal."""
    if output.animated():
        return _with_bar(job, timeout_s)
    last: JobStatus | None = None
    told = 0
    for last in job.watch(timeout_s=timeout_s):
        for entry in _news(job, last, told):
            told = int(entry["seq"])
            for line in failure_lines(entry):
                print(line, file=sys.stderr)
    assert last is not None
    return last


def _news(job: Job, status: JobStatus, told: int) -> Iterator[Line]:
    """Failures after the last one told. A job without errors is not asked for them."""
    return job.errors(after=told) if status.errors else iter(())


class _Bar(ProgressColumn):
    """A bar that fills up to a known total, and only moves while there is none."""

    def __init__(self) -> None:
        super().__init__()
        self._bar = BarColumn(bar_width=30)

    def render(self, task: Task) -> object:  # type: ignore[override]
        return self._bar.render(task) if task.fields["bar"] else Text("")


def _with_bar(job: Job, timeout_s: float | None, console: Console | None = None) -> JobStatus:
    console = console or output.console()
    columns = (TextColumn("{task.description:<10}"), _Bar(), TextColumn("{task.fields[note]}", markup=False))
    with Progress(*columns, console=console, transient=True) as bar:
        rows: list[TaskID] = []
        rates: list[Rate] = []
        total: TaskID | None = None
        told = 0
        last: JobStatus | None = None
        for last in job.watch(timeout_s=timeout_s, interval_s=_INTERVAL_S):
            now_s = time.monotonic()
            for entry in _news(job, last, told):
                told = int(entry["seq"])
                for line in failure_lines(entry):
                    console.print(Text(line, style="red" if not line.startswith(" ") else "dim"))
            for number, phase in enumerate(last.phases):
                if number == len(rows):
                    rows.append(bar.add_task(f"{number} {phase.type}", total=None, note="", bar=True))
                    rates.append(Rate())
                counts = phase.tasks
                rates[number].add(now_s, counts.finished)
                known = counts.total if phase.complete else None
                shown = note(phase, rates[number].per_s())
                bar.update(rows[number], completed=counts.finished, total=known, note=shown)
            if total is None:
                total = bar.add_task("", total=None, note="", bar=False)
            bar.update(total, note=moved(last))
    assert last is not None
    return last
