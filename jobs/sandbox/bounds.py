"""A zone's limits in the kernel's terms: rlimits and tmpfs sizes for each process, control groups for a task. Pure."""

from collections.abc import Set
from typing import Final

from jobs.sandbox.api import ZoneSpec
from jobs.sandbox.cgroups.discovery import CPU, CPU_TIME, MEMORY, PIDS, Survey
from jobs.sandbox.cgroups.tree import GroupLimits
from jobs.sandbox.first_process.protocol import Limits
from manta.core.limits import GIB, TASK_OPEN_FILES_MAX, TASK_PIDS_MAX, TASK_SCRATCH_OF_MEMORY

_PAGE_BYTES: Final = 4096
_SCRATCH_BYTES_PER_INODE: Final = 4096
_SCRATCH_INODES_MIN: Final = 1024
_MEMORY_BYTES_PER_INODE: Final = 8192
"""An empty file in a tmpfs takes about 1 KiB of the kernel's memory: all inodes together then an eighth at most."""
_ADDRESS_SPACE_FACTOR: Final = 4
_UNBOUNDED: Final = 1 << 62
_ZONE_PIDS_BESIDE_TASK: Final = 16


def limits_of(spec: ZoneSpec, holds: Set[str] = frozenset()) -> Limits:
    """What the zone's tasks may use, given which controllers hold for a task as a whole.

    Where memory holds, it needs no help from rlimits, which count what a program reserves instead of what it touches.
    Without, address space is wider than memory, since programs reserve more than they touch.
    """
    grouped = MEMORY in holds
    scratch = scratch_bytes_of(spec, holds)
    inodes = max(scratch // _SCRATCH_BYTES_PER_INODE, _SCRATCH_INODES_MIN)
    return Limits(
        scratch=scratch,
        scratch_inodes=min(inodes, spec.memory_bytes // _MEMORY_BYTES_PER_INODE) if grouped else inodes,
        data=_UNBOUNDED if grouped else spec.memory_bytes,
        address=_UNBOUNDED if grouped else _ADDRESS_SPACE_FACTOR * (spec.memory_bytes + GIB),
        file=_UNBOUNDED
        if spec.workplaces
        else scratch + _PAGE_BYTES,  # a page more, so that a full scratch is ENOSPC, not a signal
        processes=TASK_PIDS_MAX + (_ZONE_PIDS_BESIDE_TASK if PIDS in holds else 0),  # the group's limit comes first
        open_files=TASK_OPEN_FILES_MAX,
    )


def scratch_bytes_of(spec: ZoneSpec, holds: Set[str]) -> int:
    """Scratch pages count as the task's memory: at most three quarters of it, so that a full scratch is no OOM."""
    if MEMORY not in holds:
        return spec.scratch_bytes
    return min(spec.scratch_bytes, int(spec.memory_bytes * TASK_SCRATCH_OF_MEMORY) // _PAGE_BYTES * _PAGE_BYTES)


def group_limits_of(spec: ZoneSpec, holds: Set[str]) -> GroupLimits:
    """`init` has the zone's folder besides: what it leaves there stays charged to its own group."""
    init_bytes = spec.memory_bytes + scratch_bytes_of(spec, holds) if spec.init else 0
    return GroupLimits(spec.memory_bytes, init_bytes, TASK_PIDS_MAX, spec.cpus)


def means(survey: Survey) -> dict[str, str]:
    """Which limit holds by what means, in words, for `manta doctor` and the node's status."""

    def by(controller: str, held: str, otherwise: str) -> str:
        version = survey.version_of(controller)
        if version is not None:
            return f"cgroup v{version}: {held}"
        return f"{otherwise} ({survey.missing[controller]})"

    per_process = "RLIMIT_DATA and RLIMIT_AS, per process; not the sum of a task's processes"
    return {
        "timeout": "the task's first process is killed",
        "memory": by(MEMORY, "the task as a whole, scratch included", per_process),
        "processes": by(PIDS, "the task as a whole", "RLIMIT_NPROC in the zone's user namespace"),
        "scratch": "size and inodes of the task's tmpfs, RLIMIT_FSIZE",
        "open files": "RLIMIT_NOFILE, per process",
        "cpu": by(CPU, "a quota where asked for, else one process's share of a busy machine", "none"),
        "cpu time": by(CPU_TIME, "measured for the zone", "measured by wait4 for the task's reaped processes"),
    }
