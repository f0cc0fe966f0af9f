"""How an attempt ended, in the words of its error record (docs/jobs.md). Pure but for the log."""

import logging
import signal
from typing import Final

from jobs.agent.output_limit import Exceeded
from jobs.model.units import scratch_most
from jobs.model.wire import Failure, PhaseSpec
from jobs.sandbox.api import Overrun, TaskEnd
from manta.core.errors import InternalError
from manta.core.limits import MIB, TASK_PIDS_MAX

_LOG = logging.getLogger("manta.agent")
USER_TASK_ERROR: Final = "UserTaskError"
TASK_INIT_ERROR: Final = "TaskInitError"
INTERNAL_ERROR: Final = "InternalError"


def failure_of(end: TaskEnd, spec: PhaseSpec, exceeded: Exceeded | None = None) -> Failure | None:
    """None for success: exit status 0 of the first process, within every limit."""
    if exceeded is not None:
        return _user_error(end, _exceeded_message(exceeded), retryable=exceeded.by_disk)
    if end.overrun is not None:
        return _user_error(end, _overrun_message(end.overrun, spec))
    if end.signal is not None:
        core = " and dumped core" if end.core_dumped else ""
        return _user_error(end, f"The task was ended by signal {_signal_name(end.signal)}{core}.")
    if end.exit_status != 0:
        return _user_error(end, f"The task ended with exit status {end.exit_status}{_hint(end.exit_status)}.")
    return None


def infrastructure_failure(message: str) -> Failure:
    """The store's own fault: the task is tried again, on another holder if there is one."""
    return Failure(code=INTERNAL_ERROR, message=message, retryable=True)


def own_fault(error: Exception) -> Failure:
    """What no one foresaw ends one attempt, not the agent; the log has the rest."""
    return infrastructure_failure(unforeseen(error).message)


def unforeseen(error: Exception) -> InternalError:
    """The same while something of the attempt is done beside its task."""
    _LOG.error("An attempt failed in the agent", exc_info=error)
    return InternalError(f"The node failed while it ran the task: {type(error).__name__}.")


def init_failure(message: str) -> Failure:
    return Failure(code=TASK_INIT_ERROR, message=message)


def unfit_failure(message: str) -> Failure:
    """Another node may have more: it is tried there before that is the end."""
    return Failure(code=TASK_INIT_ERROR, message=message, retryable=True)


def _user_error(end: TaskEnd, message: str, *, retryable: bool = False) -> Failure:
    return Failure(USER_TASK_ERROR, message, end.exit_status, end.signal, retryable)


def _exceeded_message(exceeded: Exceeded) -> str:
    limit = f"The task wrote more than its output limit of {_size(exceeded.limit_bytes)}"
    if exceeded.by_disk:
        share = "its share of what is free on the node's disk"
        return f"{limit}, {share}, and was ended: write less in one task, or free space on the node."
    return f"{limit} and was ended: write less in one task, for example by splitting its input."


def _overrun_message(overrun: Overrun, spec: PhaseSpec) -> str:
    memory, scratch = _size(spec.memory_bytes), _size(spec.scratch_bytes)
    match overrun:
        case Overrun.TIMEOUT:
            return f"The task ran longer than its timeout of {spec.timeout_s:g} s and was ended: raise `timeout`."
        case Overrun.MEMORY:
            return f"The task needed more than its memory limit of {memory} and was ended: raise `memory`."
        case Overrun.PIDS:
            return f"The task started more than {TASK_PIDS_MAX} processes and failed: start fewer at a time."
        case Overrun.SCRATCH if spec.scratch_bytes > scratch_most(spec.memory_bytes):
            # A job that is older than the bound on what a document may ask for.
            return (
                f"The task filled its scratch, at most its `disk` of {scratch} and three quarters of its `memory` of "
                f"{memory}, and failed: raise both."
            )
        case Overrun.SCRATCH:
            return f"The task filled its scratch limit of {scratch} and failed: raise `disk`, and `memory` with it."
        case Overrun.KILLED:
            return "The task was killed."


def _signal_name(number: int) -> str:
    try:
        return f"{number} ({signal.Signals(number).name})"
    except ValueError:
        return str(number)


def _hint(status: int | None) -> str:
    return {126: " (command not executable)", 127: " (command not found)"}.get(status or 0, "")


def _size(size_bytes: int) -> str:
    return f"{size_bytes // MIB} MiB" if size_bytes >= MIB else f"{size_bytes} bytes"
