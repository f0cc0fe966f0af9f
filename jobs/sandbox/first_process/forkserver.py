"""The fork server, first process of a zone: gives each task fresh pid, mount and ipc namespaces and awaits its end.

A program of its own, standard library only, run as
`python -I -S forkserver.py [--enclose ZONE_FILTER_FD] SOCKET_FD FILTER_FD TASK_GROUP_FD INIT_GROUP_FD OWN_GROUP_FD...`;
forkserver.c is the same program in C and speaks the same protocol (protocol.py). It trusts its agent and is not trusted
by it.
"""

import contextlib
import ctypes
import fcntl
import mmap
import os
import platform
import resource
import select
import signal
import socket
import struct
import sys
import time
from collections.abc import Sequence
from typing import NoReturn

REQUEST = struct.Struct("<IIQQQQQQQIIIII")
INPUTS = struct.Struct("<III")
REPLY = struct.Struct("<IIIIQQQQ")
HELLO, ENDED, BROKEN, TAKEN = 0, 1, 2, 3
TASK, KILL, BRING = 1, 2, 3
HAS_OBJECT, HAS_STDIN, IS_INIT, SEES_ZONE, HAS_RANGE, HAS_TERMINAL, HAS_INPUTS = 1, 2, 4, 8, 16, 64, 128
MESSAGE_MAX = 1 << 18
DESCRIPTORS_MAX = 64
VERSION = 3

_NAMESPACES = 0x00020000 | 0x20000000 | 0x08000000  # NEWNS, NEWPID, NEWIPC
_ENCLOSING_NAMESPACES = 0x10000000 | 0x00020000 | 0x02000000  # NEWUSER, NEWNS, NEWCGROUP
_SYS_CLONE = 220 if platform.machine() == "aarch64" else 56
_SYS_MOVE_MOUNT, _SYS_MOUNT_SETATTR = 429, 442
_AT_FDCWD = -100
_MOVE_MOUNT_F_EMPTY_PATH = 4
_MOUNT_ATTR_RDONLY = 1
_NOSUID = 2
_NOSUID_NODEV = 2 | 4
_NOEXEC = 8
_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
_PR_SET_DUMPABLE, _PR_SET_SECCOMP, _PR_CAPBSET_DROP, _PR_SET_SECUREBITS = 4, 22, 24, 28
_PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT = 38, 47
_SECUREBITS_LOCKED = 0x2F  # NOROOT and NO_SETUID_FIXUP with their locks, KEEP_CAPS locked off
_CAPABILITY_VERSION_3 = 0x20080522
_OOM_SCORE = b"800"
_TIOCSCTTY = 0x540E
_TERMINALS = b"newinstance,ptmxmode=0666,mode=0620,uid=0,gid=0,max=64"  # 64: the machine has so many for all
_SHELLS = ("/bin/bash", "/bin/sh")
_DEFAULT_SIGNALS = [number for number in signal.valid_signals() if number not in (signal.SIGKILL, signal.SIGSTOP)]

STEPS = (
    *("none", "clone", "proc", "input", "scratch", "zone", "stdio", "limits", "privileges", "filter", "shell"),
    *("group", "range"),
)
_FED_FROM, _FED_INTO = 3, 4  # descriptors of the process that feeds a range
_PIPE_BYTES = 1 << 20
_STEP = {name: number for number, name in enumerate(STEPS)}
_SHARED = struct.Struct("<IIII")  # step that failed, errno, wait status of the shell, scratch full

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def _check(result: int) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def _long(value: int) -> ctypes.c_long:
    return ctypes.c_long(value)


def _mount(kind: bytes, target: bytes, flags: int, data: bytes | None = None) -> None:
    _check(_libc.mount(kind, target, kind, ctypes.c_ulong(flags), data))


def _read_only(path: bytes, further: int = 0) -> None:
    attributes = struct.pack("<QQQQ", _MOUNT_ATTR_RDONLY | further, 0, 0, 0)
    size = ctypes.c_size_t(len(attributes))
    _check(_libc.syscall(_long(_SYS_MOUNT_SETATTR), _long(_AT_FDCWD), path, _long(0), attributes, size))


def _join(group: int) -> None:
    """By its cgroup.procs that the agent opened: the kernel asks for the opener's rights, not for ours."""
    if group >= 0:
        os.write(group, b"0")


class Filter:
    """The seccomp program every task runs under, as the kernel wants it."""

    class _Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p))

    def __init__(self, code: bytes) -> None:
        self._code = ctypes.create_string_buffer(code, len(code))
        self._program = self._Program(len(code) // 8, ctypes.addressof(self._code))

    def apply(self) -> None:
        _check(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        _check(_libc.prctl(_PR_SET_SECCOMP, 2, ctypes.byref(self._program), 0, 0))


class Request:
    """One task as the agent asked for it. `inputs` are (name, mount or -1) of each that was brought before."""

    def __init__(self, message: bytes, descriptors: list[int], inputs: Sequence[tuple[bytes, int]] = ()) -> None:
        _, self.flags, *numbers, name_size, command_size, environment_size = REQUEST.unpack_from(message)
        self.scratch_bytes, self.scratch_inodes, self.data_bytes, self.address_bytes, *more = numbers
        self.file_bytes, self.range_start, self.range_end, self.processes, self.open_files = more
        start = REQUEST.size
        self.name = message[start : start + name_size]
        start += name_size
        self.command = message[start : start + command_size]
        start += command_size
        pairs = message[start : start + environment_size].split(b"\0")[:-1]
        self.environment = dict(pair.split(b"=", 1) for pair in pairs)
        self.descriptors = descriptors
        self.inputs = inputs
        self.stdout, self.stderr, *others = descriptors
        self.object = others.pop(0) if self.flags & HAS_OBJECT else -1
        self.stdin = others.pop(0) if self.flags & HAS_STDIN else -1


def _attach_input(request: Request) -> int:
    """Mounts the object under its name; its descriptor is opened here, through the mount, never taken from outside."""
    several = request.flags & HAS_INPUTS
    if several or request.name:
        inodes = 2 + 2 * max(1, len(request.inputs))
        _mount(b"tmpfs", b"/input", _NOSUID_NODEV | _NOEXEC, b"size=4k,nr_inodes=%d,mode=0555" % inodes)
        path = b"/input/" + request.name
        if several:
            for place, (name, mount) in enumerate(request.inputs):
                os.mkdir(b"/input/%d" % place, 0o555)  # noqa: PTH102 - by bytes
                _place(mount, b"/input/%d/%b" % (place, name))
        else:
            _place(request.object, path)
        _read_only(b"/input")
    if request.stdin >= 0:
        return request.stdin
    return os.open(path if request.name else b"/dev/null", os.O_RDONLY)


def _place(mount: int, path: bytes) -> None:
    """An empty file, and over it the mount if there is one."""
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDONLY, 0o444))
    if mount >= 0:
        _check(_libc.syscall(_long(_SYS_MOVE_MOUNT), _long(mount), b"", _long(_AT_FDCWD), path,
                             _long(_MOVE_MOUNT_F_EMPTY_PATH)))  # fmt: skip


def _open_terminal(agent: int) -> int:
    """In a devpts of the task's own. The agent opens the master there and then sends a byte: nobody in here has its
    file."""
    _mount(b"devpts", b"/dev/pts", _NOSUID | _NOEXEC, _TERMINALS)
    folder = os.open("/dev/pts", os.O_PATH | os.O_DIRECTORY)
    with socket.socket(fileno=os.dup(agent)) as channel:
        socket.send_fds(channel, [b"\0"], [folder])
    if not os.read(agent, 1):
        raise OSError(5, "the agent opened no terminal")
    return os.open("/dev/pts/0", os.O_RDWR | os.O_NOCTTY)


def _mount_scratch(request: Request) -> None:
    options = f"size={request.scratch_bytes},nr_inodes={request.scratch_inodes},mode=0700"
    _mount(b"tmpfs", b"/scratch", _NOSUID_NODEV, options.encode())
    os.chdir("/scratch")
    os.umask(0o022)


def _set_limits(request: Request) -> None:
    for limit, value in (
        (resource.RLIMIT_NPROC, request.processes),
        (resource.RLIMIT_NOFILE, request.open_files),
        (resource.RLIMIT_FSIZE, request.file_bytes),
        (resource.RLIMIT_CORE, 1),  # not 0: with 0 a core_pattern that is a pipe still starts the host's handler
        (resource.RLIMIT_MEMLOCK, 65536),
        (resource.RLIMIT_MSGQUEUE, 65536),
        (resource.RLIMIT_DATA, request.data_bytes),
        (resource.RLIMIT_AS, request.address_bytes),
    ):
        resource.setrlimit(limit, (value, value))


def _drop_privileges() -> None:
    for capability in range(64):
        if _libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0) != 0:
            break
    _check(_libc.prctl(_PR_CAP_AMBIENT, 4, 0, 0, 0))
    _check(_libc.prctl(_PR_SET_SECUREBITS, _SECUREBITS_LOCKED, 0, 0, 0))
    header = struct.pack("<Ii", _CAPABILITY_VERSION_3, 0)
    _check(_libc.capset(header, bytes(24)))


def _spawn(request: Request) -> int:
    shell = _SHELLS[0] if os.access(_SHELLS[0], os.X_OK) else _SHELLS[1]
    arguments: list[str | bytes] = [shell, b"-c", request.command]
    if request.flags & HAS_TERMINAL:
        return _fork_shell(shell, arguments, request.environment)
    try:
        return os.posix_spawn(
            shell, arguments, request.environment, setsid=True, setsigmask=(), setsigdef=_DEFAULT_SIGNALS
        )
    except OSError as error:
        if error.errno != 7:
            raise
        os.write(2, b"the command and its environment are too long for the kernel\n")
        os._exit(0)


def _fork_shell(shell: str, arguments: list[str | bytes], environment: dict[bytes, bytes]) -> int:
    """The shell as leader of a session that has the terminal, which posix_spawn cannot do."""
    pid = os.fork()
    if pid == 0:
        try:
            os.setsid()
            fcntl.ioctl(0, _TIOCSCTTY, 0)
            for number in _DEFAULT_SIGNALS:
                signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
            os.execve(shell, arguments, environment)  # noqa: S606 - the task's own shell
        finally:
            os._exit(126)
    return pid


def _wait(shell: int) -> int:
    """Reaps every orphan of the task until its first process ends."""
    while True:
        pid, status = os.waitpid(-1, 0)
        if pid == shell:
            return status


def _make_range_pipe() -> None:
    """The object, now stdin, becomes _FED_FROM; stdin is a pipe instead, whose other end is _FED_INTO."""
    reads, writes = os.pipe()
    with contextlib.suppress(OSError):
        fcntl.fcntl(writes, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    keep = [fcntl.fcntl(descriptor, fcntl.F_DUPFD, 16) for descriptor in (0, reads, writes)]
    for descriptor, number in zip(keep, (_FED_FROM, 0, _FED_INTO), strict=True):
        os.dup2(descriptor, number)


def _start_feeder(request: Request, shared: mmap.mmap) -> None:
    """A process of the task, as powerless as the task's own, that moves the range into the pipe without copying it."""
    if os.fork() > 0:
        os.close(_FED_FROM)
        os.close(_FED_INTO)
        return
    try:
        os.closerange(0, 3)
        _feed(request.range_start, request.range_end)
    except OSError as error:
        shared[0:8] = struct.pack("<II", _STEP["range"], error.errno or 5)
    except BaseException:  # nothing may unwind into the task's first process
        shared[0:8] = struct.pack("<II", _STEP["range"], 5)
    os._exit(0)


def _feed(position: int, end: int) -> None:
    """A task that closes its stdin ends this process by SIGPIPE, which is no failure."""
    while position < end:
        moved = os.splice(_FED_FROM, _FED_INTO, min(end - position, _PIPE_BYTES), position)
        if not moved:
            raise OSError(5, "the object is shorter than its range")
        position += moved


def _scratch_full() -> bool:
    state = os.statvfs("/scratch")
    return state.f_bfree == 0 or state.f_ffree == 0


def _first_process(request: Request, program: Filter, group: int, shared: mmap.mmap) -> NoReturn:
    """The task's pid 1. When it ends, the kernel has killed everything of the task."""
    step = "group"
    try:
        _join(group)
        step = "proc"
        _mount(b"proc", b"/proc", _NOSUID_NODEV | _NOEXEC)
        with open("/proc/self/oom_score_adj", "wb") as file:
            file.write(_OOM_SCORE)
        step = "input"
        stdin = _attach_input(request)
        step = "scratch"
        _mount_scratch(request)
        step = "zone"
        if request.flags & IS_INIT:
            os.chdir("/zone")
        elif request.flags & SEES_ZONE:
            _read_only(b"/zone")
        step = "stdio"
        streams = stdin, request.stdout, request.stderr
        if request.flags & HAS_TERMINAL:
            streams = (_open_terminal(stdin),) * 3
        for number, descriptor in enumerate(streams):
            os.dup2(descriptor, number)
        if request.flags & HAS_RANGE:
            _make_range_pipe()
        os.closerange(5 if request.flags & HAS_RANGE else 3, 1 << 20)
        step = "limits"
        _set_limits(request)
        step = "privileges"
        _check(_libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0))
        _drop_privileges()
        step = "filter"
        program.apply()
        if request.flags & HAS_RANGE:
            step = "range"
            _start_feeder(request, shared)
        step = "shell"
        shared[8:12] = struct.pack("<I", 126 << 8)
        status = _wait(_spawn(request))
        shared[8:16] = struct.pack("<II", status, status != 0 and _scratch_full())
    except OSError as error:
        shared[0:8] = struct.pack("<II", _STEP[step], error.errno or 5)
    except BaseException:  # nothing may unwind into the fork server's own loop
        shared[0:8] = struct.pack("<II", _STEP[step], 5)
    os._exit(0)


class ForkServer:
    """Runs one task at a time; a KILL that comes when none runs is dropped."""

    def __init__(self, channel: socket.socket, program: Filter, task_group: int, init_group: int) -> None:
        self._channel = channel
        self._program = program
        self._task_group = task_group
        self._init_group = init_group
        self._shared = mmap.mmap(-1, mmap.PAGESIZE)
        self._inputs: list[tuple[bytes, int]] = []

    def serve(self) -> None:
        self._channel.send(REPLY.pack(HELLO, VERSION, 0, 0, 0, 0, 0, 0))
        while True:
            message, descriptors, _, _ = socket.recv_fds(
                self._channel, MESSAGE_MAX, DESCRIPTORS_MAX, socket.MSG_CMSG_CLOEXEC
            )
            if not message:
                return
            order = struct.unpack_from("<I", message)[0]
            if order == BRING:
                self._bring(message, descriptors)
                self._channel.send(REPLY.pack(TAKEN, 0, 0, 0, 0, 0, 0, 0))
            elif order == TASK:
                answer = self._run(Request(message, descriptors, tuple(self._inputs)))
                self._drop_inputs()
                self._channel.send(answer)

    def _bring(self, message: bytes, descriptors: list[int]) -> None:
        """A page of the next task's inputs; the first page replaces those of a task that never came."""
        _, first, count = INPUTS.unpack_from(message)
        if first == 0:
            self._drop_inputs()
        mounts = iter(descriptors)
        for entry in message[INPUTS.size :].split(b"\0")[:count]:
            self._inputs.append((entry[1:], next(mounts) if entry[:1] == b"+" else -1))

    def _drop_inputs(self) -> None:
        for _, mount in self._inputs:
            if mount >= 0:
                os.close(mount)
        self._inputs.clear()

    def _run(self, request: Request) -> bytes:
        self._shared[0 : _SHARED.size] = bytes(_SHARED.size)
        started = time.monotonic_ns()
        try:
            pid = self._clone(request)
        except OSError as error:
            return REPLY.pack(BROKEN, _STEP["clone"], error.errno or 5, 0, 0, 0, 0, 0)
        finally:
            for descriptor in request.descriptors:
                os.close(descriptor)
        killed = self._await(pid)
        _, status, usage = os.wait4(pid, 0)
        return self._reply(status, usage, killed, time.monotonic_ns() - started)

    def _clone(self, request: Request) -> int:
        flags = _long(_NAMESPACES | signal.SIGCHLD)
        pid = _check(_libc.syscall(_long(_SYS_CLONE), flags, _long(0), _long(0), _long(0), _long(0)))
        if pid == 0:
            group = self._init_group if request.flags & IS_INIT else self._task_group
            _first_process(request, self._program, group, self._shared)
        return pid

    def _await(self, pid: int) -> bool:
        """Waits for the task's pid 1, or kills it when told to; True when it was told."""
        killed = False
        end = os.pidfd_open(pid)
        try:
            poller = select.poll()
            poller.register(end, select.POLLIN)
            poller.register(self._channel, select.POLLIN)
            while all(descriptor != end for descriptor, _ in poller.poll()):
                if not self._channel.recv(MESSAGE_MAX):
                    sys.exit(0)  # the agent is gone: the zone ends with this process, and the task with the zone
                os.kill(pid, signal.SIGKILL)
                killed = True
        finally:
            os.close(end)
        return killed

    def _reply(self, status: int, usage: resource.struct_rusage, killed: bool, wall_ns: int) -> bytes:
        step, code, shell_status, full = _SHARED.unpack_from(self._shared)
        if step:
            return REPLY.pack(BROKEN, step, code, 0, 0, 0, 0, 0)
        ended_by = shell_status if status == 0 else status
        cpu_ns = int((usage.ru_utime + usage.ru_stime) * 1e9)
        return REPLY.pack(ENDED, ended_by, killed, full, wall_ns, cpu_ns, usage.ru_maxrss, 0)


def enclose(file: int) -> None:
    """What bubblewrap does for a zone and an OCI runtime does not.

    A second user namespace, under which the zone's mounts cannot be changed any more, the zone's system call filter,
    and an end with whoever started it.
    """
    with os.fdopen(file, "rb") as code:
        zone = Filter(code.read())
    _read_only(b"/", _NOSUID_NODEV)
    _check(_libc.unshare(_ENCLOSING_NAMESPACES))
    for name, text in (("setgroups", "deny"), ("uid_map", "0 0 1"), ("gid_map", "0 0 1")):
        with open(f"/proc/self/{name}", "w") as map_file:
            map_file.write(text)
    _check(_libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0))
    zone.apply()


def main() -> None:
    for number in (signal.SIGPIPE, signal.SIGINT, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    _libc.prctl(_PR_SET_NAME, b"forkserver", 0, 0, 0)
    given = sys.argv[1:]
    zone_filter = int(given[1]) if given[0] == "--enclose" else -1
    channel_number, filter_number, task_group, init_group, *own_groups = map(int, given[2 if zone_filter >= 0 else 0 :])
    channel = socket.socket(fileno=channel_number)
    with os.fdopen(filter_number, "rb") as file:
        program = Filter(file.read())
    for group in own_groups:
        _join(group)
        os.close(group)
    if zone_filter >= 0:
        enclose(zone_filter)
    ForkServer(channel, program, task_group, init_group).serve()


if __name__ == "__main__":
    main()
