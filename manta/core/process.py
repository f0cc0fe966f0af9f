"""What every long-running process of the store does at its start."""

import ctypes
import faulthandler
import os
import resource
import signal
import sys
from typing import Final

GIVE_BACK: Final = signal.SIGUSR1
"""Asks a node to give its running tasks back and take no more; it stores and reads on."""
_PR_SET_PDEATHSIG = 1


def die_with_parent(parent_pid: int) -> None:
    """Ask the kernel for SIGTERM when the parent goes; exit at once if it has gone already."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent_pid:
        sys.exit("The supervisor is gone.")


def raise_descriptor_limit(wanted: int) -> None:
    """Allow this process that many open files, or as many as the system lets it have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        ceiling = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (ceiling, hard))


def keep_stacks() -> None:
    """Write every thread's stack to stderr on a fatal signal, and on SIGUSR2 without dying (promise O3)."""
    faulthandler.enable(all_threads=True)
    faulthandler.register(signal.SIGUSR2, all_threads=True)


def attach_to_supervisor() -> int | None:
    """Tie this process to the supervisor that started it, if one did; the descriptor on which to say `ready`."""
    keep_stacks()
    supervisor = os.environ.pop("MANTA_SUPERVISOR_PID", None)
    ready_fd = os.environ.pop("MANTA_READY_FD", None)
    if supervisor is None or ready_fd is None:
        return None
    die_with_parent(int(supervisor))
    os.set_inheritable(int(ready_fd), False)
    return int(ready_fd)
