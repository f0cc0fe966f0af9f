"""A job's tasks in words and numbers: when they ran, where, how long. Pure."""

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Final

from manta.cli.job_rows import duration
from manta.cli.plain import plain
from manta.sdk.following import Line

_LINE_MAX_CHARS = 4096
_LOST: Final = {
    "NodeLost": "lost: node stopped answering",
    "NodeStopped": "lost: node was stopped",
    "Overtaken": "lost: another attempt finished first",
    "JobCancelled": "cancelled",
}


def moment_s(text: object) -> float | None:
    """Seconds since the epoch of a time as the store writes it; None for none."""
    return datetime.fromisoformat(text).timestamp() if isinstance(text, str) else None


def ranged(name: str, entry: Line) -> str:
    """`books/moby.txt  range 0-65536` where only that of the object is meant."""
    return f"{name}  range {entry['range']}" if entry.get("range") else name


def task_lines(task: Line) -> Iterator[str]:
    """`     7  committed  n1  1.250s  0 books/moby.txt`: for people. A line more for each of its other attempts."""
    source = ranged(task.get("input") or "reducer", task)
    numbered = task["attempt"] > 1 or bool(task["earlier"])
    end = end_text(task.get("why"), task["state"])
    notes = [f"attempt {task['attempt']}"] if numbered else []
    notes += [end] if end not in (task["state"], "") else []
    yield _line(str(task["task"]), task["state"], task, f"{task['phase']} {source}{_noted(notes)}")
    for one in task["earlier"]:
        yield _line("", "", one, _noted([f"attempt {one['attempt']}", end_text(one["why"], "running")]).strip())


def _line(number: str, state: str, attempt: Line, words: str) -> str:
    return plain(f"{number:>8}  {state:<9}  {attempt['node'] or '-':<12}  {_ran(attempt):>9}  {words}")


def _noted(notes: list[str]) -> str:
    return f"  ({': '.join(notes)})" if notes else ""


def is_lost(why: str | None) -> bool:
    """Whether that ended an attempt without any fault of its own."""
    return why in _LOST


def end_text(why: str | None, state: str) -> str:
    """How an attempt ended, by the code of what ended it; by its task's state for none."""
    if why is None:
        return state
    return _LOST.get(why, f"failed {why}")


def _ran(task: Line) -> str:
    started_s, ended_s = moment_s(task["started"]), moment_s(task["ended"])
    if started_s is None or ended_s is None:
        return "-"
    ran_s = max(0.0, ended_s - started_s)
    return f"{ran_s:.3f}s" if ran_s < 60 else duration(ran_s)


def prefixed(pieces: Iterable[Line]) -> Iterator[str]:
    """What tasks say, line by line, each behind its task's number. A line that does not end is cut."""
    begun: dict[int, str] = {}
    for piece in pieces:
        if "missing" in piece:
            yield f"(lines of {piece['missing']} may be missing: they came too fast, or it was restarted or is away)"
            continue
        if "refused" in piece:
            yield f"(what tasks say on {piece['refused']} is not shown: {piece['message']})"
            continue
        task = int(piece["task"])
        *lines, rest = (begun.pop(task, "") + str(piece["text"])).split("\n")
        if rest and (piece["ended"] or len(rest) > _LINE_MAX_CHARS):
            lines.append(rest)
        elif rest:
            begun[task] = rest
        yield from (f"{task}: {plain(line)}" for line in lines)
    yield from (f"{task}: {plain(rest)}" for task, rest in begun.items())
