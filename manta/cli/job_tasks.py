"""A job's tasks in words and numbers: when they ran, where, how long. Pure."""

from datetime import datetime

from manta.cli.job_progress import duration, plain
from manta.sdk.jobs import Line


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
