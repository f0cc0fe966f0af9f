"""What tasks cost, added up for their owner day by day: one row for each account and day, which outlives the jobs."""

from manta.catalog.job_scripts.job_row import JobRow
from manta.catalog.ops import Many, Script
from manta.core.clock import day_of
from manta.core.limits import BYTE_SECONDS_MAX

Spent = list[int]
"""tasks, task_ms, byte_seconds, in_place, moved, shuffled, copied."""


def counted(job: JobRow) -> Spent:
    """The job's counters now; `charge` takes what they have grown by since."""
    return [0, job.task_ms, job.byte_seconds, job.in_place, job.moved, job.shuffled, job.copied]


def charge(spent: dict[str, Spent], job: JobRow, before: Spent, attempts: int) -> None:
    """To the job's owner. `attempts` counts every one that was run, whatever came of it."""
    growth = [now - then for now, then in zip(counted(job), before, strict=True)]
    growth[0] = attempts
    known = spent.get(job.owner_id, [0] * len(growth))
    spent[job.owner_id] = [min(a + b, BYTE_SECONDS_MAX - 1) for a, b in zip(known, growth, strict=True)]


def charge_time(owner_id: str, task_ms: int, byte_seconds: int, now_ms: int) -> Script[None]:
    """What no job's attempt has cost."""
    yield from save_spent({owner_id: [0, task_ms, min(byte_seconds, BYTE_SECONDS_MAX - 1), 0, 0, 0, 0]}, now_ms)


def save_spent(spent: dict[str, Spent], now_ms: int) -> Script[None]:
    """After every change of a job, and in the order of accounts: transactions that meet here wait in one direction."""
    rows = [(owner, day_of(now_ms), *counts) for owner, counts in sorted(spent.items()) if any(counts)]
    if rows:
        yield Many("usage_add", rows)
