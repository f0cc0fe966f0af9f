"""Doubles for the agent's tests: a gateway on a real socket, a sandbox of plain processes, a volume in memory."""

import asyncio
import contextlib
import os
import signal
import tempfile
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from jobs.model import questions, wire
from jobs.model.wire import AttemptRef, BatchInput, InputRef, OutputSlot, PhaseSpec, TaskKind, TaskLease, TaskResult
from jobs.sandbox.api import Overrun, TaskEnd, TaskSpec, Zone, ZoneInitError, ZoneSpec
from manta.core.errors import SandboxUnavailable
from manta.core.limits import MIB
from manta.core.names import new_id
from manta.core.peers import PeerSource
from storage_nodes import token

JOB = "0123456789ab00000001"
KEY = b"k" * 32


class PlainZone:
    """Runs tasks as plain processes: for tests only."""

    def __init__(self, sandbox: "PlainSandbox", spec: ZoneSpec) -> None:
        self.sandbox = sandbox
        self.spec = spec
        self.closed = False
        self._process: asyncio.subprocess.Process | None = None
        self._killed = False

    async def run(self, task: TaskSpec) -> TaskEnd:
        if self.sandbox.fail_next is not None:
            error, self.sandbox.fail_next = self.sandbox.fail_next, None
            raise error
        if self.sandbox.break_next:
            self.sandbox.break_next = False
            raise SandboxUnavailable("The fork server is gone.")
        if self.sandbox.noop:
            await asyncio.sleep(0)
            return TaskEnd(0, None, False, None, 0.001, 0.001)
        self._killed = False
        self.sandbox.tasks.append(task)
        started = time.monotonic()
        command = task.command
        env = dict(task.env)
        if task.input_name is not None:
            source = self.sandbox.blobs / task.blob if task.blob is not None else Path("/dev/null")
            env["MANTA_INPUT_FILE"] = str(source)
            stdin = os.open(source, os.O_RDONLY) if task.stdin_range is None else _part(source, *task.stdin_range)
        else:
            stdin = os.dup(task.stdin_fd) if task.stdin_fd is not None else os.open("/dev/null", os.O_RDONLY)
        try:
            self._process = await asyncio.create_subprocess_exec(
                "/bin/sh",
                "-c",
                command,
                stdin=stdin,
                stdout=task.stdout_fd,
                stderr=task.stderr_fd,
                env=env,
                start_new_session=True,
            )
        finally:
            os.close(stdin)
        overrun = None
        try:
            async with asyncio.timeout(task.timeout_s):
                status = await self._process.wait()
        except TimeoutError:
            overrun = Overrun.TIMEOUT
            self._end()
            status = await self._process.wait()
        self._end()
        self._process = None
        if self._killed:
            overrun = Overrun.KILLED
        wall_s = time.monotonic() - started
        if status < 0:
            return TaskEnd(None, -status, False, overrun, wall_s, 0.0)
        return TaskEnd(status, None, False, overrun, wall_s, 0.0)

    async def kill(self) -> None:
        if self._process is not None:
            self._killed = True
            self._end()

    async def close(self) -> None:
        await self.kill()
        self.closed = True
        self.sandbox.open_zones.discard(self)

    def _end(self) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)


def _part(path: Path, start: int, end: int) -> int:
    """A descriptor of just those bytes."""
    with tempfile.TemporaryFile() as file:
        file.write(path.read_bytes()[start:end])
        file.seek(0)
        return os.dup(file.fileno())


class PlainSandbox:
    """Zones without walls, and switches for what may go wrong."""

    def __init__(self, blobs: Path, *, noop: bool = False) -> None:
        self.blobs = blobs
        self.noop = noop
        self.unavailable: str | None = None
        self.init_fails: set[str] = set()
        self.break_next = False
        self.fail_next: Exception | None = None
        self.hold_builds: asyncio.Event | None = None
        self.held_job: str | None = None
        self.open_zones: set[PlainZone] = set()
        self.built: list[ZoneSpec] = []
        self.tasks: list[TaskSpec] = []
        self.closed = False

    async def start(self) -> None:
        if self.unavailable is not None:
            raise SandboxUnavailable(self.unavailable)

    async def open_zone(self, spec: ZoneSpec) -> Zone:
        self.built.append(spec)
        if self.hold_builds is not None and self.held_job is not None and spec.name.startswith(self.held_job):
            await self.hold_builds.wait()
        if spec.init in self.init_fails:
            raise ZoneInitError(f"`{spec.init}` ended with exit status 1")
        zone = PlainZone(self, spec)
        self.open_zones.add(zone)
        return zone

    def describe(self) -> dict[str, object]:
        return {"driver": "plain processes"}

    async def close(self) -> None:
        self.closed = True


@dataclass
class FakeGateway:
    """The calls for nodes, on a real listener: hands out queued leases, keeps the reports."""

    address: str
    """`unix:/path` or `http://127.0.0.1:port`."""
    node_id: str = "node-1"
    copies: Callable[[str], tuple[PeerSource, ...]] = lambda _blob: ()
    phases: dict[tuple[str, int], PhaseSpec] = field(default_factory=dict)
    ready: deque[TaskLease] = field(default_factory=deque)
    given: dict[AttemptRef, TaskLease] = field(default_factory=dict)
    """What nodes were given, until they hand it back."""
    results: list[TaskResult] = field(default_factory=list)
    inputs: dict[int, list[InputRef]] = field(default_factory=dict)
    lost: set[AttemptRef] = field(default_factory=set)
    lost_unheard: set[AttemptRef] = field(default_factory=set)
    """Lost, but the node hears of it only when it reports."""
    stale: int = 0
    ended: list[str] = field(default_factory=list)
    new_slots: deque[OutputSlot] = field(default_factory=deque)
    slot_requests: list[questions.SlotsRequest] = field(default_factory=list)
    leases: list[wire.LeaseRequest] = field(default_factory=list)
    reported: list[wire.ReportRequest] = field(default_factory=list)
    too_many: int = 0
    """So many tasks more than the node has room for are handed out, once, as when two polls are answered at a time."""
    drop_reports: int = 0
    takes_back: bool = True
    """With reports; a gateway of an earlier build does so with polls alone."""
    page_size: int = 1000
    objects: dict[tuple[str, str], questions.NamedObject] = field(default_factory=dict)
    objects_asked: list[questions.ObjectsRequest] = field(default_factory=list)
    objects_stale: int = 0
    """So many questions for objects are answered as if the attempt were lost."""
    inputs_denied: str = ""
    """Why a reducer is given none of its inputs."""
    _runner: web.ServerRunner | None = None
    _change: asyncio.Condition = field(default_factory=asyncio.Condition)
    _ids: int = 0

    async def start(self) -> None:
        self._runner = web.ServerRunner(web.Server(self._handle, access_log=None), shutdown_timeout=0.1)
        await self._runner.setup()
        if self.address.startswith("unix:"):
            path = Path(self.address.removeprefix("unix:"))
            path.unlink(missing_ok=True)
            await web.UnixSite(self._runner, path).start()
        else:
            host, _, port = self.address.removeprefix("http://").partition(":")
            await web.TCPSite(self._runner, host, int(port)).start()

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def phase(self, command: str, *, job: str = JOB, phase: int = 0, **more: Any) -> PhaseSpec:
        fields: dict[str, Any] = {
            "kind": TaskKind.MAP,
            "tenant": "tenant-1",
            "init": None,
            "memory_bytes": 256 * MIB,
            "scratch_bytes": 128 * MIB,
            "timeout_s": 60.0,
            "env": {},
            "reducers": 1,
            **more,
        }
        spec = PhaseSpec(job_id=job, phase=phase, exec=command, **fields)
        self.phases[job, phase] = spec
        return spec

    async def offer(
        self,
        spec: PhaseSpec,
        ref: InputRef | None = None,
        *,
        attempt: int = 1,
        reducer: int = 0,
        task: int | None = None,
        batch: Sequence[InputRef] = (),
    ) -> TaskLease:
        """With `batch` the task's number is followed by one for each of them."""
        self._ids += 1
        number = task if task is not None else self._ids
        blob_id = new_id(int(time.time() * 1000))
        slots = [blob_id, *(new_id(int(time.time() * 1000)) for _ in batch[1:])]
        members = tuple(
            BatchInput(number + place, one, OutputSlot(slot, self.copies(slot)))
            for place, (one, slot) in enumerate(zip(batch, slots, strict=False), 1)
        )
        self._ids += len(batch)
        lease = TaskLease(
            spec.job_id,
            spec.phase,
            number,
            attempt,
            OutputSlot(blob_id, self.copies(blob_id)),
            batch[0] if batch else ref,
            reducer,
            members,
        )
        async with self._change:
            self.ready.append(lease)
            self._change.notify_all()
        return lease

    async def lose(self, lease: TaskLease) -> None:
        async with self._change:
            self.lost.add(AttemptRef(lease.job_id, lease.task_id, lease.attempt))
            self._change.notify_all()

    async def end_job(self, job: str) -> None:
        async with self._change:
            self.ended.append(job)
            self._change.notify_all()

    async def wait_results(self, count: int, timeout_s: float = 20.0) -> list[TaskResult]:
        async with asyncio.timeout(timeout_s), self._change:
            await self._change.wait_for(lambda: len(self.results) >= count)
        return self.results

    async def wait(self, condition: Callable[[], bool], timeout_s: float = 20.0) -> None:
        async with asyncio.timeout(timeout_s), self._change:
            await self._change.wait_for(condition)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        body = await request.read()
        if not token.verify(KEY, "POST", request.raw_path, request.headers[token.HEADER], time.time()):
            return web.Response(status=403)
        name = request.raw_path.rsplit("/", 1)[-1]
        reply = await getattr(self, f"_{name}")(body)
        if reply is None:
            if request.transport is not None:
                request.transport.abort()
            return web.Response(status=503)
        return reply if isinstance(reply, web.Response) else web.Response(body=wire.pack(reply))

    async def _lease(self, body: bytes) -> wire.LeaseReply:
        request = wire.unpack(body, wire.LeaseRequest)
        async with self._change:
            self.leases.append(request)
            self._take_back(request.returned)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(request.wait_s):
                    await self._change.wait_for(lambda: self._has_news(request))
            count = min(self._lanes_for(request), len(self.ready))
            if count:
                count, self.too_many = min(count + self.too_many, len(self.ready)), 0
            tasks = [self.ready.popleft() for _ in range(count)]
            self.given |= {AttemptRef(task.job_id, task.task_id, task.attempt): task for task in tasks}
            known = set(request.known_phases)
            phases = {(task.job_id, task.phase) for task in tasks} - known
            lost = tuple(ref for ref in request.held if ref in self.lost)
            ended, self.ended = tuple(self.ended), []
        return wire.LeaseReply(tuple(tasks), tuple(self.phases[key] for key in phases), lost, ended_jobs=ended)

    def _take_back(self, refs: Sequence[AttemptRef]) -> None:
        self.ready.extend(lease for ref in refs if (lease := self.given.pop(ref, None)) is not None)
        self._change.notify_all()

    def _lanes_for(self, request: wire.LeaseRequest) -> int:
        """As the scheduler has it: the lane in reserve takes no further task of a job that runs there already."""
        held = {ref.job_id for ref in request.held}
        return 0 if request.reserve and self.ready and self.ready[0].job_id in held else request.free_lanes

    def _has_news(self, request: wire.LeaseRequest) -> bool:
        granted = bool(self.ready) and self._lanes_for(request) > 0
        return granted or bool(self.ended) or any(ref in self.lost for ref in request.held)

    async def _report(self, body: bytes) -> wire.ReportReply | None:
        request = wire.unpack(body, wire.ReportRequest)
        self.reported.append(request)
        if self.drop_reports > 0 and (request.results or request.stopped):
            self.drop_reports -= 1
            return None
        async with self._change:
            if self.takes_back:
                self._take_back(request.returned)
            known = {result.attempt for result in self.results}
            gone = self.lost | self.lost_unheard
            stale = tuple(result.attempt for result in request.results if result.attempt in gone)
            self.stale += len(stale)
            self.results += [
                result for result in request.results if result.attempt not in known and result.attempt not in stale
            ]
            self._change.notify_all()
        return wire.ReportReply(stale, is_taken=self.takes_back)

    async def _inputs(self, body: bytes) -> questions.InputsReply | web.Response:
        request = wire.unpack(body, questions.InputsRequest)
        if self.inputs_denied:
            error = {"code": "AccessDenied", "message": self.inputs_denied, "request_id": "1"}
            return web.json_response({"error": error}, status=403)
        refs = self.inputs.get(request.attempt.task_id, [])
        page = refs[request.after : request.after + self.page_size]
        after = request.after + len(page)
        return questions.InputsReply(tuple(page), after if after < len(refs) else None)

    async def _objects(self, body: bytes) -> questions.ObjectsReply | web.Response:
        request = wire.unpack(body, questions.ObjectsRequest)
        self.objects_asked.append(request)
        if self.objects_stale > 0:
            self.objects_stale -= 1
            return web.Response(status=409, text="StaleAttempt")
        none = questions.NamedObject(code="NoSuchKey", message="s3://none: there is none")
        return questions.ObjectsReply(tuple(self.objects.get(name, none) for name in request.names))

    async def _slots(self, body: bytes) -> questions.SlotsReply:
        request = wire.unpack(body, questions.SlotsRequest)
        self.slot_requests.append(request)
        return questions.SlotsReply((self.new_slots.popleft(),) if self.new_slots else ())


@contextlib.asynccontextmanager
async def running_gateway(gateway: FakeGateway) -> AsyncIterator[FakeGateway]:
    await gateway.start()
    try:
        yield gateway
    finally:
        await gateway.stop()
