"""A job's tasks in words and numbers: when they ran, where, how long. Pure."""

from collections.abc import Iterable, Iterator
from datetime import datetime

from manta.cli.job_progress import plain
from manta.cli.job_rows import duration
from manta.sdk.jobs import Line

_LINE_MAX_CHARS = 4096


def moment_s(text: object) -> float | None:
    """Seconds since the epoch of a time as the store writes it; None for none."""
    return datetime.fromisoformat(text).timestamp() if isinstance(text, str) else None


def task_line(task: Line) -> str:
    """`     7  committed  n1  1.250s  0 books/moby.txt`: a line for people."""
    source = task.get("input") or "reducer"
    retried = f"  (attempt {task['attempt']})" if task["attempt"] > 1 else ""
    words = f"{task['task']:>8}  {task['state']:<9}  {task['node'] or '-':<12}  {_ran(task):>9}  "
    return plain(f"{words}{task['phase']} {source}{retried}")


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
            yield f"(some lines of {piece['missing']} came too fast and are not shown)"
            continue
        task = int(piece["task"])
        *lines, rest = (begun.pop(task, "") + str(piece["text"])).split("\n")
        if rest and (piece["ended"] or len(rest) > _LINE_MAX_CHARS):
            lines.append(rest)
        elif rest:
            begun[task] = rest
        yield from (f"{task}: {plain(line)}" for line in lines)
    yield from (f"{task}: {plain(rest)}" for task, rest in begun.items())
