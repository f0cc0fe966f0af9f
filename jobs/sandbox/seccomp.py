"""The system call filters, as raw BPF. Pure: a machine's name in, bytes out.

Two of them: the zone's (bubblewrap sets it before the fork server starts) refuses what neither fork server nor task
ever needs; the task's refuses also what the fork server needs to build a task. A refused call fails with EPERM; clone3
with ENOSYS, because its flags lie in memory that a filter cannot read and libraries then fall back to clone.
"""

import struct
from dataclasses import dataclass
from typing import Final

from jobs.sandbox.syscalls import MACHINES, MOUNTING, NEVER, Machine

_LD, _JEQ, _JGE, _JSET, _RET = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _KILL_PROCESS, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_EPERM, _ENOSYS, _EAFNOSUPPORT = 1, 38, 97
_OFFSET_NUMBER, _OFFSET_ARCHITECTURE, _OFFSET_ARGUMENTS = 0, 4, 16
_X32_BIT = 0x40000000

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

_F_SETLEASE: Final = 1024
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C
_AF_UNIX, _AF_INET, _AF_INET6 = 1, 2, 10


@dataclass(frozen=True, slots=True)
class _Rule:
    """Instructions for one system call, entered with its number loaded; they end in a verdict on every path."""

    syscall: str
    body: tuple[bytes, ...]


def zone_filter(machine: str) -> bytes:
    """What bubblewrap sets for fork server and tasks."""
    return _program(MACHINES[machine], NEVER, _ZONE_NAMESPACES)


def task_filter(machine: str) -> bytes:
    """What the fork server sets for a task, on top of the zone's."""
    return _program(MACHINES[machine], NEVER + MOUNTING, _ALL_NAMESPACES)


def _instruction(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("<HBBI", code, if_true, if_false, value)


_RETURN_ALLOW = _instruction(_RET, _ALLOW)
_RETURN_EPERM = _instruction(_RET, _ERRNO | _EPERM)
_RETURN_EAFNOSUPPORT = _instruction(_RET, _ERRNO | _EAFNOSUPPORT)
_RETURN_ENOSYS = _instruction(_RET, _ERRNO | _ENOSYS)


def _load_argument(index: int) -> bytes:
    return _instruction(_LD, _OFFSET_ARGUMENTS + 8 * index)


def _refuse_values(syscall: str, argument: int, values: tuple[int, ...]) -> _Rule:
    tests = [_instruction(_JEQ, value, len(values) - place) for place, value in enumerate(values)]
    return _Rule(syscall, (_load_argument(argument), *tests, _RETURN_ALLOW, _RETURN_EPERM))


def _allow_families(syscall: str, values: tuple[int, ...]) -> _Rule:
    tests = [_instruction(_JEQ, value, len(values) - place) for place, value in enumerate(values)]
    return _Rule(syscall, (_load_argument(0), *tests, _RETURN_EAFNOSUPPORT, _RETURN_ALLOW))


def _refuse_bits(syscall: str, argument: int, bits: int) -> _Rule:
    return _Rule(syscall, (_load_argument(argument), _instruction(_JSET, bits, 1), _RETURN_ALLOW, _RETURN_EPERM))


def _program(machine: Machine, refused: tuple[str, ...], namespaces: int) -> bytes:
    sockets = (_AF_UNIX, _AF_INET, _AF_INET6)
    rules = (
        _refuse_bits("clone", 0, namespaces),
        _Rule("clone3", (_RETURN_ENOSYS,)),
        _refuse_values("fcntl", 1, (_F_SETLEASE,)),
        _refuse_values("ioctl", 1, (_TIOCSTI, _TIOCLINUX)),
        _allow_families("socket", sockets),
        _allow_families("socketpair", sockets),
    )
    code = [
        _instruction(_LD, _OFFSET_ARCHITECTURE),
        _instruction(_JEQ, machine.architecture, 1),
        _instruction(_RET, _KILL_PROCESS),
        _instruction(_LD, _OFFSET_NUMBER),
    ]
    if machine.has_x32:
        code += [_instruction(_JGE, _X32_BIT, 0, 1), _instruction(_RET, _KILL_PROCESS)]
    for rule in rules:
        code += [_instruction(_JEQ, machine.numbers[rule.syscall], 0, len(rule.body)), *rule.body]
    for name in refused:
        number = machine.numbers.get(name)
        if number is not None:
            code += [_instruction(_JEQ, number, 0, 1), _RETURN_EPERM]
    return b"".join([*code, _RETURN_ALLOW])
