"""What a job's progress looks like: a row for each phase and one for the job, none wider than the terminal. Pure.

Numbers are never guessed: a total stands there once it is known, a rate once it was measured, time left for both.
"""

from collections import deque
from collections.abc import Sequence
from typing import Final

from manta.cli import output
from manta.sdk.jobs import JobStatus, PhaseStatus

_RATE_WINDOW_S: Final = 15.0
_RATE_MIN_S: Final = 1.0
_BAR_MAX: Final = 30
_BAR_MIN: Final = 6
_DONE, _OPEN = "━", "·"

Row = list[tuple[str, str]]
"""Pieces of text, each with a style of rich's."""


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


def rows(status: JobStatus, rates: Sequence[float | None], width: int) -> list[Row]:
    """The phases, then the job; what does not fit is left out, the least of it first."""
    names = [f"{number} {phase.type}" for number, phase in enumerate(status.phases)]
    column = max(map(len, names), default=0)
    found = [
        _phase_row(name.ljust(column), phase, rate, width)
        for name, phase, rate in zip(names, status.phases, rates, strict=True)
    ]
    waits: list[Row] = [[(status.waits_for[:width], "yellow")]] if status.waits_for else []
    return [*found, *waits, [(fitted(moved(status), width), "dim")]]


def _phase_row(name: str, phase: PhaseStatus, rate_per_s: float | None, width: int) -> Row:
    said = fitted(note(phase, rate_per_s), width - len(name) - 1)
    room = min(_BAR_MAX, width - len(name) - len(said) - 2)
    if room < _BAR_MIN:
        return [(f"{name} ", ""), (said, "")]
    return [(f"{name} ", ""), *_bar(phase, room), (f" {said}", "")]


def _bar(phase: PhaseStatus, width: int) -> Row:
    """Filled as far as tasks have ended; nothing of it while their total is not known, all of it only at the end."""
    counts = phase.tasks
    if not phase.complete or not counts.total:
        return [(_OPEN * width, "dim")]
    ended = counts.finished * width // counts.total
    bad = min(ended, -(-(counts.failed + counts.cancelled) * width // counts.total))
    return [(_DONE * (ended - bad), "green"), (_DONE * bad, "red"), (_OPEN * (width - ended), "dim")]


def fitted(words: Sequence[tuple[int, str]], width: int) -> str:
    """The words in their order, without those of the highest numbers where they would not fit."""
    kept = list(words)
    while len(kept) > 1 and len(_joined(kept)) > width:
        kept.remove(max(kept, key=lambda word: word[0]))
    return _joined(kept)[: max(width, 0)]


def _joined(words: Sequence[tuple[int, str]]) -> str:
    return ", ".join(word for _, word in words)


def note(phase: PhaseStatus, rate_per_s: float | None) -> list[tuple[int, str]]:
    """What a phase's row says, each word with how soon it may be left out: 0 never."""
    counts = phase.tasks
    words = [(0, f"{counts.finished:,} of {counts.total:,}" + ("" if phase.complete else "+"))]
    if counts.running:
        words.append((3, f"{counts.running:,} running"))
    if counts.failed:
        words.append((1, f"{counts.failed:,} failed"))
    if counts.cancelled:
        words.append((2, f"{counts.cancelled:,} cancelled"))
    left = counts.total - counts.finished
    if rate_per_s and left:
        words.append((4, f"{rate_per_s:,.0f}/s" if rate_per_s >= 10 else f"{rate_per_s:.1f}/s"))
        if phase.complete:
            words.append((2, f"{duration(left / rate_per_s)} left"))
    return words


def moved(status: JobStatus) -> list[tuple[int, str]]:
    """What the job's own row says: bytes, and what is not known yet."""
    words = bytes_of(status)
    if not status.input_ended:
        words.append((0, "its input is open"))
    elif not status.phases or not status.phases[0].complete:
        words.append((0, "inputs are still being looked up"))
    return words


def bytes_of(status: JobStatus) -> list[tuple[int, str]]:
    """Those read where they lie, and those that had to move."""
    words = [
        (1, f"{output.size_text(status.input_bytes_in_place)} read in place"),
        (2, f"{output.size_text(status.input_bytes_moved)} moved"),
    ]
    if status.shuffle_bytes_moved:
        words.append((3, f"{output.size_text(status.shuffle_bytes_moved)} shuffled"))
    if status.output_bytes_copied:
        words.append((4, f"{output.size_text(status.output_bytes_copied)} copied"))
    return words


def facts(status: JobStatus) -> str:
    """A job in one line."""
    counts = ", ".join(
        counted(count, word)
        for count, word in ((status.inputs, "input"), (status.outputs, "output"), (status.errors, "error"))
    )
    return f"{counts}; {_joined(bytes_of(status))}; {status.task_seconds:,.1f} task seconds"


def counted(count: int, word: str) -> str:
    """`1 input`, `2,000 inputs`."""
    return f"{count:,} {word}" + ("" if count == 1 else "s")


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
