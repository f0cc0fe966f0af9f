"""A running zone: hands tasks to its fork server one at a time and says how each ended."""

import asyncio
import contextlib
import os
import signal
import socket
import stat
from collections.abc import Awaitable, Callable, Sequence

from jobs.sandbox.api import Overrun, TaskEnd, TaskInput, TaskSpec, ZoneInitError, ZoneSpec
from jobs.sandbox.building.launch import Launched
from jobs.sandbox.cgroups import ZoneLease
from jobs.sandbox.first_process import protocol
from jobs.sandbox.first_process.protocol import Flag, Kind, Limits, Reply
from jobs.sandbox.mounts.together import mounted
from jobs.sandbox.plain_command import is_plain
from manta.core.errors import SandboxUnavailable
from manta.core.limits import KILL_GRACE_S, STDERR_IN_ERROR_BYTES

_HELLO_TIMEOUT_S = 30.0
_COMPLAINTS_MAX_BYTES = 4096
_MEMORY_REACHED = 0.9
"""Without a memory cgroup the limit holds per process and a refused allocation leaves no trace but a high peak."""


_KILLED_BEFORE_ITS_START = TaskEnd(None, signal.SIGKILL, False, Overrun.KILLED, 0.0, 0.0)


class ForkServerZone:
    """The Zone of api.py. `mount` asks the broker; `uid` is the zone's own when the node runs as root.

    `groups` are its control groups, where there are any; they are given back when the zone is closed.
    """

    def __init__(
        self,
        spec: ZoneSpec,
        launched: Launched,
        limits: Limits,
        mount: Callable[[str], Awaitable[int]],
        uid: int | None,
        groups: ZoneLease | None,
    ) -> None:
        self._spec = spec
        self._launched = launched
        self._channel = launched.channel
        self._complaints = launched.complaints
        self._limits = limits
        self._mount = mount
        self._uid = uid
        self._groups = groups
        self._loop = asyncio.get_running_loop()
        self._reply: asyncio.Future[Reply] = self._loop.create_future()
        self._busy = True
        self._broken: str | None = None
        self._overrun: Overrun | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._flags = Flag.SEES_ZONE if spec.init else Flag(0)
        self._loop.add_reader(self._channel.fileno(), self._on_message)
        if groups is not None:
            groups.on_overrun = self._end_task

    @property
    def pid(self) -> int:
        """Of the zone's builder, outside."""
        return self._launched.process.pid

    async def greet(self) -> None:
        """Waits until the fork server is ready; SandboxUnavailable with its builder's own words if it never is."""
        try:
            async with asyncio.timeout(_HELLO_TIMEOUT_S):
                hello = await self._reply
        except TimeoutError:
            self._break("its fork server did not answer")
            raise SandboxUnavailable(self._sentence()) from None
        self._busy = False
        if hello.kind is not Kind.HELLO or hello.status != protocol.VERSION:
            self._break("its fork server speaks another version")
            raise SandboxUnavailable(self._sentence())

    async def initialize(self) -> None:
        """Runs `init`; what it leaves in the zone's folder stays for the tasks."""
        if self._spec.init is None:
            return
        output, theirs = os.pipe()
        try:
            try:
                task = TaskSpec(self._spec.init, self._spec.env, self._spec.init_timeout_s, theirs, theirs)
                end = await _drained(output, self._run(task, Flag.IS_INIT))
            finally:
                os.close(theirs)
        finally:
            os.close(output)
        said, ended = end
        if ended.exit_status != 0 or ended.overrun is not None:
            raise ZoneInitError(_init_sentence(ended, said))

    async def run(self, task: TaskSpec) -> TaskEnd:
        return await self._run(task, self._flags)

    async def kill(self) -> None:
        if self._busy:
            self._end_task(Overrun.KILLED)

    async def close(self) -> None:
        self._break("it was closed")
        if self._complaints >= 0:
            os.close(self._complaints)
            self._complaints = -1
        if self._groups is not None:
            self._groups.give_back()
            self._groups = None
        await self._launched.remove()

    async def _run(self, task: TaskSpec, flags: Flag) -> TaskEnd:
        if self._broken is not None:
            raise SandboxUnavailable(self._sentence())
        if self._busy:
            raise RuntimeError("a zone runs one task at a time")
        self._busy = True
        self._overrun = None
        try:
            return await self._run_alone(task, flags)
        except asyncio.CancelledError:
            self._break("its task was abandoned")
            raise
        finally:
            self._busy = False
            self._stop_timer()

    async def _run_alone(self, task: TaskSpec, flags: Flag) -> TaskEnd:
        message = self._request(task, flags)
        descriptors = [task.stdout_fd, task.stderr_fd]
        mount = -1
        if task.inputs:
            await self._bring(task.inputs)
        if task.blob is not None:
            mount = await self._mount(task.blob)
            descriptors.append(mount)
        try:
            if self._overrun is not None:
                return _KILLED_BEFORE_ITS_START
            if task.stdin_fd is not None:
                descriptors.append(task.stdin_fd)
            self._own_pipes(task)
            self._reply = self._loop.create_future()
            self._send(message, descriptors)
        finally:
            if mount >= 0:
                os.close(mount)
        self._timer = self._loop.call_later(task.timeout_s, self._end_task, Overrun.TIMEOUT)
        reply = await self._reply
        if reply.kind is not Kind.ENDED:
            self._break(f"{reply.reason()} failed")
            raise SandboxUnavailable(self._sentence())
        return self._end(reply)

    def _request(self, task: TaskSpec, flags: Flag) -> bytes:
        """InvalidArgument for what no program can be handed: nothing is mounted for it."""
        if task.inputs:
            flags |= Flag.HAS_INPUTS
        if task.blob is not None:
            flags |= Flag.HAS_OBJECT
        if task.stdin_fd is not None:
            flags |= Flag.HAS_STDIN
        if task.stdin_range is not None:
            flags |= Flag.HAS_RANGE
        if task.terminal:
            flags |= Flag.HAS_TERMINAL
        if is_plain(task.command, task.env):
            flags |= Flag.IS_PLAIN
        name = task.input_name or ("object" if task.blob is not None else "")
        part = task.stdin_range or (0, 0)
        return protocol.encode_task(flags, self._limits, name, task.command, task.env, part)

    async def _bring(self, inputs: Sequence[TaskInput]) -> None:
        """Page by page, so that only a page's mounts are open here; the fork server says when it has taken one."""
        for page in protocol.pages(len(inputs)):
            blobs = [one.blob for one in inputs[page] if one.blob is not None]
            names = [(one.name, one.blob is not None) for one in inputs[page]]
            async with mounted(self._mount, blobs) as mounts:
                self._reply = self._loop.create_future()
                self._send(protocol.encode_inputs(page.start, names), mounts)
                await self._reply

    def _own_pipes(self, task: TaskSpec) -> None:
        """So that `> /dev/stdout`, which opens the pipe anew, is allowed. Whatever is no pipe keeps its owner."""
        if self._uid is not None:
            for descriptor in {task.stdout_fd, task.stderr_fd}:
                if stat.S_ISFIFO(os.fstat(descriptor).st_mode):
                    os.fchown(descriptor, self._uid, self._uid)

    def _send(self, message: bytes, descriptors: list[int]) -> None:
        try:
            socket.send_fds(self._channel, [message], descriptors)
        except OSError as error:
            self._break(f"its fork server cannot be reached: {error.strerror}")

    def _end_task(self, reason: Overrun) -> None:
        if self._overrun is not None or not self._busy:
            return
        self._overrun = reason
        if not self._reply.done():
            self._send(protocol.KILL, [])
            self._stop_timer()
            self._timer = self._loop.call_later(KILL_GRACE_S, self._break, "it did not end its task")

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _on_message(self) -> None:
        try:
            message = self._channel.recv(protocol.REPLY.size)
        except BlockingIOError:
            return
        except OSError:
            message = b""
        if len(message) != protocol.REPLY.size:
            self._break(self._last_words())
        elif not self._reply.done():
            self._reply.set_result(protocol.decode_reply(message))

    def _last_words(self) -> str:
        try:
            said = os.read(self._complaints, _COMPLAINTS_MAX_BYTES).decode(errors="replace").strip()
        except OSError:
            said = ""
        return said or "it ended"

    def _break(self, reason: str) -> None:
        """Ends everything in the zone; whoever waits learns why, also who began to wait when it was broken already."""
        if self._broken is None:
            self._broken = reason
            self._loop.remove_reader(self._channel.fileno())
            self._channel.close()
            self._launched.end()
        if not self._reply.done():
            self._reply.set_exception(SandboxUnavailable(self._sentence()))
            self._reply.exception()  # seen: nobody may be waiting

    def _sentence(self) -> str:
        return f"The zone {self._spec.name} does not run ({self._broken}): the task is tried in another."

    def _end(self, reply: Reply) -> TaskEnd:
        exceeded, cpu_s = self._groups.settle() if self._groups is not None else (None, None)
        status = reply.status
        signaled = os.WIFSIGNALED(status)
        return TaskEnd(
            exit_status=None if signaled else os.WEXITSTATUS(status),
            signal=os.WTERMSIG(status) if signaled else None,
            core_dumped=os.WCOREDUMP(status),
            overrun=self._overrun_of(reply, exceeded),
            wall_s=reply.wall_s,
            cpu_s=reply.cpu_s if cpu_s is None else cpu_s,
        )

    def _overrun_of(self, reply: Reply, exceeded: Overrun | None) -> Overrun | None:
        if reply.killed and self._overrun is Overrun.KILLED:
            return self._overrun
        if exceeded is not None:  # also with status 0: the process that was killed may have been any of the task's
            return exceeded
        if reply.killed or reply.status == 0:
            return self._overrun if reply.killed else None
        if reply.scratch_full or (os.WIFSIGNALED(reply.status) and os.WTERMSIG(reply.status) == signal.SIGXFSZ):
            return Overrun.SCRATCH
        if (
            self._limits.data == self._spec.memory_bytes
            and reply.peak_bytes >= _MEMORY_REACHED * self._spec.memory_bytes
        ):
            return Overrun.MEMORY
        return None


async def _drained(descriptor: int, task: Awaitable[TaskEnd]) -> tuple[bytes, TaskEnd]:
    """Reads what the task says while it runs, so that it never blocks; keeps the tail."""
    loop = asyncio.get_running_loop()
    tail = bytearray()

    def read() -> None:
        tail.extend(os.read(descriptor, 1 << 16))
        del tail[:-STDERR_IN_ERROR_BYTES]

    os.set_blocking(descriptor, False)
    loop.add_reader(descriptor, read)
    try:
        end = await task
    finally:
        loop.remove_reader(descriptor)
    with contextlib.suppress(BlockingIOError):
        read()
    return bytes(tail), end


def _init_sentence(end: TaskEnd, said: bytes) -> str:
    if end.overrun is not None:
        how = f"it exceeded its {end.overrun} limit"
    elif end.signal is not None:
        how = f"it was ended by signal {end.signal}"
    else:
        how = f"it ended with exit status {end.exit_status}"
    text = said.decode(errors="replace").strip()
    return f"The phase's init failed: {how}" + (f"; it said: {text}" if text else ".")
