"""The sandbox's pure parts: messages, filters, uids, findings."""

import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.sandbox.filters import seccomp
from jobs.sandbox.filters.syscall_numbers import MACHINES
from jobs.sandbox.filters.syscalls import ALLOWED, MOUNTING, NEVER
from jobs.sandbox.first_process import forkserver, protocol
from jobs.sandbox.first_process.protocol import Flag, Kind, Limits
from jobs.sandbox.probe import Finding, _kernel, refuse_if_missing
from jobs.sandbox.tenants import UID_BASE, UID_COUNT, TenantUids
from manta.core.errors import InvalidArgument, SandboxUnavailable

LIMITS = Limits(1, 2, 3, 4, 5, 6, 7)
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
NAMES = st.text(st.characters(exclude_characters="\0=", exclude_categories=["Cs"]), min_size=1)
X86_64, AARCH64 = MACHINES["x86_64"], MACHINES["aarch64"]
ALLOW, EPERM, ENOSYS, EAFNOSUPPORT, KILL = 0x7FFF0000, 0x50001, 0x50026, 0x50061, 0x80000000


FILE_NAMES = TEXT.filter(lambda name: "/" not in name and name not in (".", "..") and len(name.encode()) <= 255)


@given(FILE_NAMES, TEXT, st.dictionaries(NAMES, TEXT))
def test_the_fork_server_reads_what_the_agent_wrote(name: str, command: str, environment: dict[str, str]) -> None:
    message = protocol.encode_task(Flag.HAS_OBJECT | Flag.HAS_STDIN, LIMITS, name, command, environment, (8, 9))
    request = forkserver.Request(message, [10, 11, 12, 13])
    assert (request.stdout, request.stderr, request.object, request.stdin) == (10, 11, 12, 13)
    assert (request.name.decode(), request.command.decode()) == (name, command)
    assert {key.decode(): value.decode() for key, value in request.environment.items()} == environment
    assert (request.scratch_bytes, request.scratch_inodes, request.data_bytes, request.address_bytes) == (1, 2, 3, 4)
    assert (request.file_bytes, request.processes, request.open_files) == (5, 6, 7)
    assert (request.range_start, request.range_end) == (8, 9)


@given(st.lists(st.tuples(FILE_NAMES, st.booleans()), max_size=200))
def test_the_fork_server_takes_the_inputs_that_the_agent_brought(inputs: list[tuple[str, bool]]) -> None:
    server = forkserver.ForkServer.__new__(forkserver.ForkServer)
    server._inputs = [(b"of a task that never came", -1)] if inputs else []
    mounts = iter(range(1000, 2000))
    for page in protocol.pages(len(inputs)):
        riding = [next(mounts) for _, has_mount in inputs[page] if has_mount]
        server._bring(protocol.encode_inputs(page.start, inputs[page]), riding)
    numbers = iter(range(1000, 2000))
    assert server._inputs == [(name.encode(), next(numbers) if has_mount else -1) for name, has_mount in inputs]


def test_agent_and_fork_server_agree_on_their_layout() -> None:
    assert protocol.REQUEST.format == forkserver.REQUEST.format
    assert protocol.REPLY.format == forkserver.REPLY.format
    assert protocol.INPUTS.format == forkserver.INPUTS.format
    assert len(protocol.STEPS) == len(forkserver.STEPS)
    assert protocol.VERSION == forkserver.VERSION


@pytest.mark.parametrize("field", ["name", "command", "environment"])
def test_a_nul_is_refused(field: str) -> None:
    values: dict[str, Any] = {"name": "n", "command": "c", "environment": {"A": "b"}}
    values[field] = {"A": "b\0c"} if field == "environment" else "x\0y"
    with pytest.raises(InvalidArgument, match="NUL"):
        protocol.encode_task(Flag(0), LIMITS, **values)


@pytest.mark.invariant("S2")
@pytest.mark.parametrize("name", ["../etc/passwd", "/etc/passwd", "a/b", ".", "..", "x" * 256, "é" * 128])
def test_s2_an_input_name_is_never_a_path(name: str) -> None:
    with pytest.raises(InvalidArgument, match="file's name"):
        protocol.encode_task(Flag(0), LIMITS, name, "true", {})


def test_replies_are_told_apart() -> None:
    ended = protocol.decode_reply(protocol.REPLY.pack(Kind.ENDED, 256, 0, 1, 2_000_000_000, 500_000_000, 4, 0))
    assert (ended.status, ended.scratch_full, ended.wall_s, ended.cpu_s, ended.peak_bytes) == (
        256,
        True,
        2.0,
        0.5,
        4096,
    )
    broken = protocol.decode_reply(protocol.REPLY.pack(Kind.BROKEN, 4, 12, 0, 0, 0, 0, 0))
    assert broken.reason() == "mounting scratch: Cannot allocate memory"


def verdict(program: bytes, architecture: int, number: int, *arguments: int) -> int:
    """Runs the BPF as the kernel does."""
    data = struct.pack("<IIQ6Q", number, architecture, 0, *(arguments + (0,) * (6 - len(arguments))))
    code = [struct.unpack_from("<HBBI", program, offset) for offset in range(0, len(program), 8)]
    place = accumulator = 0
    while True:
        operation, if_true, if_false, value = code[place]
        place += 1
        match operation:
            case 0x20:
                (accumulator,) = struct.unpack_from("<I", data, value)
            case 0x15:
                place += if_true if accumulator == value else if_false
            case 0x35:
                place += if_true if accumulator >= value else if_false
            case 0x45:
                place += if_true if accumulator & value else if_false
            case 0x06:
                return int(value)
            case _:
                raise AssertionError(operation)


@pytest.mark.parametrize("name", ["x86_64", "aarch64"])
def test_the_task_filter_refuses_what_it_names(name: str) -> None:
    machine, program = MACHINES[name], seccomp.task_filter(name)
    for call in (*NEVER, *MOUNTING):
        if call in machine.numbers:
            assert verdict(program, machine.architecture, machine.numbers[call]) == EPERM, call
    for call in MOUNTING:
        number = machine.numbers[call]
        assert verdict(seccomp.zone_filter(name), machine.architecture, number) == ALLOW, call


BY_ARGUMENT = {"clone", "fcntl", "ioctl", "personality", "socket", "socketpair"}


@pytest.mark.parametrize("name", ["x86_64", "aarch64"])
def test_the_filters_allow_what_they_name_and_nothing_else(name: str) -> None:
    machine = MACHINES[name]
    names = {number: call for call, number in machine.numbers.items()}
    assert len(names) == len(machine.numbers)
    for filter_, allowed in (
        (seccomp.task_filter(name), {*ALLOWED}),
        (seccomp.zone_filter(name), {*ALLOWED, *MOUNTING}),
    ):
        for number in (*range(600), 1 << 20, (1 << 30) - 1):
            call = names.get(number)
            if call not in BY_ARGUMENT:
                expected = ALLOW if call in allowed else ENOSYS if call is None else EPERM
                assert verdict(filter_, machine.architecture, number) == expected, (call, number)


def test_the_lists_do_not_contradict_each_other() -> None:
    assert not {*ALLOWED} & {*NEVER, *MOUNTING}
    known = {*MACHINES["x86_64"].numbers, *MACHINES["aarch64"].numbers}
    assert {*ALLOWED, *NEVER, *MOUNTING} == known
    assert len(seccomp.task_filter("x86_64")) < 4096 * 8  # what the C fork server has room for


@pytest.mark.parametrize("name", ["x86_64", "aarch64"])
def test_the_filters_judge_arguments(name: str) -> None:
    machine, task, zone = MACHINES[name], seccomp.task_filter(name), seccomp.zone_filter(name)
    call, numbers = machine.architecture, machine.numbers
    for flag in (0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000):
        assert verdict(task, call, numbers["clone"], flag | 17) == EPERM
    assert verdict(zone, call, numbers["clone"], 0x20000 | 0x8000000 | 0x20000000 | 17) == ALLOW
    assert verdict(zone, call, numbers["clone"], 0x10000000 | 17) == EPERM
    assert verdict(task, call, numbers["clone"], 0x3D0F00) == ALLOW  # a thread
    assert verdict(task, call, 435) == ENOSYS  # clone3
    assert verdict(task, call, numbers["personality"], 0x20000) == ALLOW
    assert verdict(task, call, numbers["personality"], 0x400000) == EPERM  # READ_IMPLIES_EXEC
    assert [verdict(task, call, numbers["fcntl"], 0, command) for command in (1024, 1036, 1038)] == [EPERM] * 3
    assert verdict(task, call, numbers["fcntl"], 0, 3) == ALLOW
    assert verdict(task, call, numbers["ioctl"], 0, 0x5412) == EPERM
    assert verdict(task, call, numbers["ioctl"], 0, (1 << 32) | 0x5412) == EPERM  # the kernel reads 32 bits of it
    assert verdict(task, call, numbers["ioctl"], 0, 0x541C) == EPERM
    assert verdict(task, call, numbers["ioctl"], 0, 0x5423) == EPERM
    assert verdict(task, call, numbers["ioctl"], 0, 0x5401) == ALLOW
    assert [verdict(task, call, numbers["socket"], family) for family in (1, 2, 10)] == [ALLOW] * 3
    assert [verdict(task, call, numbers["socket"], family) for family in (16, 17, 38, 40)] == [EAFNOSUPPORT] * 4


@given(st.integers(0, 0xFFFFFFFF))
def test_other_architectures_and_x32_are_killed(architecture: int) -> None:
    program = seccomp.task_filter("x86_64")
    if architecture != X86_64.architecture:
        assert verdict(program, architecture, 0) == KILL
    assert verdict(program, X86_64.architecture, 0x40000000 | (architecture & 0x3FF)) == KILL
    assert verdict(program, X86_64.architecture, 0) == ALLOW
    assert verdict(seccomp.task_filter("aarch64"), AARCH64.architecture, 63) == ALLOW


@pytest.mark.parametrize(
    ("machine", "header"),
    [
        ("x86_64", Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")),
        ("aarch64", Path("/usr/include/asm-generic/unistd.h")),
    ],
)
def test_numbers_are_the_kernels(machine: str, header: Path) -> None:
    if not header.exists():
        pytest.skip(f"the kernel's headers are not installed: {header}")
    words = [line.split() for line in header.read_text().splitlines() if line.startswith("#define __NR")]
    known = {line[1].split("_", 3)[-1]: int(line[2]) for line in words if len(line) > 2 and line[2].isdigit()}
    numbers = MACHINES[machine].numbers
    checked = [name for name in numbers if name in known]
    assert len(checked) > 50
    assert {name: numbers[name] for name in checked} == {name: known[name] for name in checked}


@given(st.lists(st.text(), unique=True, max_size=40))
def test_no_two_tenants_share_a_uid(tenants: list[str]) -> None:
    uids = TenantUids(count=64)
    given_out = [uids.uid(tenant) for tenant in tenants]
    assert len(set(given_out)) == len(tenants)
    assert [uids.uid(tenant) for tenant in tenants] == given_out


@given(st.text())
def test_nodes_of_one_machine_agree_on_a_tenants_uid(tenant: str) -> None:
    uid = TenantUids().uid(tenant)
    assert uid == TenantUids().uid(tenant)
    assert UID_BASE <= uid < UID_BASE + UID_COUNT


@pytest.mark.parametrize(
    ("release", "ok"), [("6.18.44-x", True), ("5.14.0", True), ("5.13.9", False), ("4.19", False), ("odd", False)]
)
def test_old_kernels_are_refused(release: str, ok: bool) -> None:
    assert _kernel(release).ok is ok


def test_the_first_missing_thing_is_named_with_its_remedy() -> None:
    fine = Finding("a", True, "there")
    optional = Finding("b", False, "absent", "Install b.", required=False)
    missing = Finding("c", False, "absent", "Install c.")
    refuse_if_missing([fine, optional])
    with pytest.raises(SandboxUnavailable, match=r"c: absent. Install c."):
        refuse_if_missing([fine, optional, missing])
