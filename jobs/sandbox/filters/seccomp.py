"""The system call filters, as raw BPF. Pure: a machine's name in, bytes out.

Two allow lists (syscalls.py): the zone's, which bubblewrap sets before the fork server starts, has besides what the
fork server needs to build a task; the task's, on top of it, has not. What neither list knows gets ENOSYS; what is
refused by name, EPERM. clone3 gets ENOSYS: its flags lie in memory that a filter cannot read, and libraries then take
clone.

A filter is a binary search over the numbers: the kernel tries every number once when a task's filter is set, and the
calls that it finds allowed whatever their arguments skip the filter from then on.
"""

import struct
from collections.abc import Mapping
from typing import Final

from jobs.sandbox.filters.syscall_numbers import MACHINES, Machine
from jobs.sandbox.filters.syscalls import ALLOWED, MOUNTING, NEVER

_LD, _JEQ, _JGE, _JSET, _RET = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _KILL_PROCESS, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_EPERM, _ENOSYS, _EAFNOSUPPORT = 1, 38, 97
_OFFSET_NUMBER, _OFFSET_ARCHITECTURE, _OFFSET_ARGUMENTS = 0, 4, 16
_X32_BIT = 0x40000000
_JUMP_MAX: Final = 255

_NEWNS, _NEWCGROUP, _NEWUTS, _NEWIPC, _NEWUSER, _NEWPID, _NEWNET = (
    0x20000,
    0x2000000,
    0x4000000,
    0x8000000,
    0x10000000,
    0x20000000,
    0x40000000,
)
_ZONE_NAMESPACES: Final = _NEWCGROUP | _NEWUTS | _NEWUSER | _NEWNET
_ALL_NAMESPACES: Final = _ZONE_NAMESPACES | _NEWNS | _NEWIPC | _NEWPID
# CLONE_NEWTIME lies in the exit signal's byte of clone(): only clone3 and unshare, both refused, can ask for it.

_F_SETLEASE, _F_SET_RW_HINT, _F_SET_FILE_RW_HINT = 1024, 1036, 1038
_CHANGES_THE_FILE: Final = (_F_SETLEASE, _F_SET_RW_HINT, _F_SET_FILE_RW_HINT)
"""What fcntl lets a file's owner do to it through any descriptor, on a read-only mount too: for a node that an ordinary
user runs, its tasks own their inputs."""
_TIOCSTI, _TIOCLINUX, _TIOCSETD = 0x5412, 0x541C, 0x5423
_PERSONALITIES: Final = (0, 0x8, 0x20000, 0x20008, 0x40000, 0xFFFFFFFF)  # what setarch and compilers ask for
_AF_UNIX, _AF_INET, _AF_INET6 = 1, 2, 10

_Body = tuple[bytes, ...]
"""Instructions for one system call, which end in a verdict on every path; the number is loaded when they start."""


def zone_filter(machine: str) -> bytes:
    """What bubblewrap sets for fork server and tasks."""
    return _program(MACHINES[machine], (*ALLOWED, *MOUNTING), NEVER, _ZONE_NAMESPACES)


def task_filter(machine: str) -> bytes:
    """What the fork server sets for a task, on top of the zone's."""
    return _program(MACHINES[machine], ALLOWED, (*NEVER, *MOUNTING), _ALL_NAMESPACES)


def _instruction(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("<HBBI", code, if_true, if_false, value)


_RETURN_ALLOW = _instruction(_RET, _ALLOW)
_RETURN_EPERM = _instruction(_RET, _ERRNO | _EPERM)
_RETURN_EAFNOSUPPORT = _instruction(_RET, _ERRNO | _EAFNOSUPPORT)
_RETURN_ENOSYS = _instruction(_RET, _ERRNO | _ENOSYS)


def _load_argument(index: int) -> bytes:
    return _instruction(_LD, _OFFSET_ARGUMENTS + 8 * index)


def _one_of(argument: int, values: tuple[int, ...], then: bytes, otherwise: bytes) -> _Body:
    tests = [_instruction(_JEQ, value, len(values) - place) for place, value in enumerate(values)]
    return (_load_argument(argument), *tests, otherwise, then)


def _refuse_bits(argument: int, bits: int) -> _Body:
    return (_load_argument(argument), _instruction(_JSET, bits, 1), _RETURN_ALLOW, _RETURN_EPERM)


def _bodies(machine: Machine, allowed: tuple[str, ...], refused: tuple[str, ...], namespaces: int) -> dict[int, _Body]:
    """What to do, by number; a number that is not among them is unknown to the machine's C library too."""
    families = _one_of(0, (_AF_UNIX, _AF_INET, _AF_INET6), _RETURN_ALLOW, _RETURN_EAFNOSUPPORT)
    by_name: dict[str, _Body] = {
        **dict.fromkeys(allowed, (_RETURN_ALLOW,)),
        **dict.fromkeys(refused, (_RETURN_EPERM,)),
        "clone": _refuse_bits(0, namespaces),
        "fcntl": _one_of(1, _CHANGES_THE_FILE, _RETURN_EPERM, _RETURN_ALLOW),
        "ioctl": _one_of(1, (_TIOCSTI, _TIOCLINUX, _TIOCSETD), _RETURN_EPERM, _RETURN_ALLOW),
        "personality": _one_of(0, _PERSONALITIES, _RETURN_ALLOW, _RETURN_EPERM),
        "socket": families,
        "socketpair": families,
    }
    return {machine.numbers[name]: body for name, body in by_name.items() if name in machine.numbers}


def _program(machine: Machine, allowed: tuple[str, ...], refused: tuple[str, ...], namespaces: int) -> bytes:
    code = [
        _instruction(_LD, _OFFSET_ARCHITECTURE),
        _instruction(_JEQ, machine.architecture, 1),
        _instruction(_RET, _KILL_PROCESS),
        _instruction(_LD, _OFFSET_NUMBER),
    ]
    if machine.has_x32:
        code += [_instruction(_JGE, _X32_BIT, 0, 1), _instruction(_RET, _KILL_PROCESS)]
    return b"".join(code + _search(_runs(_bodies(machine, allowed, refused, namespaces))))


def _runs(bodies: Mapping[int, _Body]) -> list[tuple[int, _Body]]:
    """First numbers of runs of calls that are treated alike, ascending from 0; the last run has no end."""
    runs: list[tuple[int, _Body]] = []
    for number in range(max(bodies) + 2):
        body = bodies.get(number, (_RETURN_ENOSYS,))
        if not runs or runs[-1][1] != body:
            runs.append((number, body))
    return runs


def _search(runs: list[tuple[int, _Body]]) -> list[bytes]:
    """A binary search for the run that the loaded number lies in."""
    if len(runs) == 1:
        return list(runs[0][1])
    middle = len(runs) // 2
    below, above = _search(runs[:middle]), _search(runs[middle:])
    if len(below) > _JUMP_MAX:
        raise ValueError("the filter is too long for BPF's short jumps")
    return [_instruction(_JGE, runs[middle][0], len(below), 0), *below, *above]
