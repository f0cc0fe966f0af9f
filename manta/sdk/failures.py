"""What a client raises when a job did not do what was asked: the first failure, in one piece."""

from typing import TYPE_CHECKING

from jobs.model.program import RAISED
from manta.core.errors import MantaError

if TYPE_CHECKING:
    from manta.sdk.following import Line
    from manta.sdk.jobs import Job


class JobFailedError(MantaError):
    """The job ended with errors; the first of them is in the message."""

    code = "JobFailed"
    status = 500


def ended(job: "Job") -> "Job":
    """The job once it has ended. JobFailedError tells the first failure in one piece, and how many there are."""
    status = job.wait()
    for line in job.errors() if status.errors else ():
        raise JobFailedError(_told(line, status.errors, job.id))
    if status.state == "cancelled":
        raise JobFailedError(f"Job {job.id} was cancelled: {status.cancel_reason or 'by its owner'}.")
    return job


def _told(line: "Line", failures: int, job_id: str) -> str:
    """Which input, why, and the traceback, or what a command said; what a function printed is left out."""
    where = _where(line)
    _, marked, said = str(line.get("stderr") or "").rstrip().rpartition(f"{RAISED}\n")
    reason = said.rpartition("\n")[2] if marked else f"{line['code']}: {line['message']}"
    more = f"\n{failures - 1:,} more failed: `manta job errors {job_id}`." if failures > 1 else ""
    return f"{where}: {reason}" + (f"\n\n{said}" if said else "") + more


def _where(line: "Line") -> str:
    if not line.get("input"):
        return f"The reducer of phase {line['phase']}"
    return str(line["input"]) if line["code"] == "InvalidInput" else f"s3://{line['input']}"
