"""The sessions of a node: how many there may be, and each one's way from a gateway's call to its last word."""

import asyncio
import contextlib
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Final

from aiohttp import web

from jobs.agent.furnishing.object_cache import ObjectCache
from jobs.agent.login.nonces import Nonces
from jobs.agent.login.session import Patience, Session, task_of
from jobs.agent.login.terminal import Terminal
from jobs.agent.ports import LocalStore
from jobs.agent.resources import Resources
from jobs.agent.zones.doors import ZoneWithDoor
from jobs.agent.zones.environment import input_name, login_environment
from jobs.model.login import LENGTH_BYTES, LoginSpec
from jobs.model.wire import TaskKind, unpack
from jobs.programs.protocol import FRAME_HEAD_BYTES, Kind, encode_frame, join_fields
from jobs.sandbox.api import Sandbox, Zone, ZoneSpec, input_path
from manta.core.clock import Clock
from manta.core.errands import give_up
from manta.core.errors import BadRequest, InvalidArgument, SandboxUnavailable, SlowDown
from manta.core.limits import (
    HEADERS_DEADLINE_S,
    LOGIN_ACCOUNT_SESSIONS_MAX,
    LOGIN_CPUS,
    LOGIN_MEMORY_FRACTION,
    LOGIN_OPEN_S,
    LOGIN_SESSIONS_MAX,
    LOGIN_SPEC_MAX_BYTES,
)
from storage_nodes import token
from storage_nodes.server.tunnel import Tunnel

_NO_JOB: Final = "A login session is no job: this program works in jobs only."


class Sessions:
    """A session's memory and scratch are counted beside the tasks', so that both never get more than there is.

    `unavailable` says why this node can build no sandbox now, if that is so. Sessions never take a lane."""

    def __init__(
        self,
        sandbox: Sandbox,
        store: LocalStore,
        objects: ObjectCache,
        clock: Clock,
        resources: Resources,
        unavailable: Callable[[], str | None],
        patience: Patience | None = None,
    ) -> None:
        self._sandbox = sandbox
        self._store = store
        self._objects = objects
        self._clock = clock
        self._unavailable = unavailable
        self._patience = patience or Patience()
        self._resources = resources
        self._memory_max = int(resources.capacity.memory_bytes * LOGIN_MEMORY_FRACTION)
        self._memory = 0
        self._accounts: Counter[str] = Counter()
        self._serving: set[asyncio.Task[object]] = set()
        self._numbers = itertools.count(1)
        self._begun = 0
        self._nonces = Nonces()
        self._closing = False

    async def serve(self, request: web.BaseRequest) -> web.StreamResponse:
        """A gateway's call: an upgrade, after which the spec comes, then the client's frames. SlowDown when full."""
        if request.headers.get("Upgrade", "").lower() != "websocket":
            raise BadRequest("A session is asked for with an upgrade.")
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        tunnel = Tunnel(request.protocol)
        try:
            async with asyncio.timeout(HEADERS_DEADLINE_S):
                spec = await _read_spec(tunnel, request.headers.get(token.HEADER, ""))
            self._nonces.use(spec.nonce, spec.tenant, self._clock.monotonic_s())
            with self._place(spec):
                return await self._serve(request, spec, tunnel)
        except TimeoutError:
            raise BadRequest("The session took too long to begin.") from None
        finally:
            request.protocol.close()  # what follows is no HTTP any more
            self._serving.discard(task)

    async def close(self) -> None:
        """End every session."""
        self._closing = True
        await give_up(self._serving)

    def status(self) -> dict[str, int]:
        """For the node's status."""
        return {"login_sessions": self._accounts.total(), "login_sessions_total": self._begun}

    async def _serve(self, request: web.BaseRequest, spec: LoginSpec, tunnel: Tunnel) -> web.StreamResponse:
        async with contextlib.AsyncExitStack() as stack:
            async with asyncio.timeout(LOGIN_OPEN_S):
                blob, name = await self._input(spec)
                files = await self._files(spec, stack)
                zone = await stack.enter_async_context(self._zone(spec, files))
            terminal = Terminal(spec.rows, spec.columns, plain=spec.plain)
            stack.callback(terminal.close)
            response = _Upgraded()
            await response.prepare(request)
            session = Session(spec, zone, terminal, tunnel, self._clock, self._patience)
            await session.run(task_of(spec, terminal, login_environment(spec), blob, name))
            return response

    async def _input(self, spec: LoginSpec) -> tuple[str | None, str | None]:
        """The object of a map session, as a path below the blobs folder and its name."""
        if spec.kind is not TaskKind.MAP:
            return None, None
        (ref,) = spec.inputs
        blob = None if ref.blob_id is None else await self._store.checked(ref.blob_id, ref.size)
        return blob, input_name(ref.key)

    async def _files(self, spec: LoginSpec, stack: contextlib.AsyncExitStack) -> dict[str, str]:
        """Those of a reduce session, from here or from where they lie, by their paths in the zone."""
        files: dict[str, str] = {}
        refs = spec.inputs if spec.kind is TaskKind.REDUCE else ()
        if refs:
            self._objects.require_possible(sum({ref.blob_id: ref.size for ref in refs}.values()))
        for number, ref in enumerate(refs, 1):
            file = await self._objects.hold(ref, spec.tenant)
            stack.callback(self._objects.release, file, spec.tenant)
            files[input_path(number, input_name(ref.key))] = str(file)
        return files

    @contextlib.asynccontextmanager
    async def _zone(self, spec: LoginSpec, files: dict[str, str]) -> AsyncIterator[Zone]:
        zone = await self._sandbox.open_zone(
            ZoneSpec(
                name=f"login-{next(self._numbers)}",
                tenant=spec.tenant,
                memory_bytes=spec.memory_bytes,
                scratch_bytes=spec.scratch_bytes,
                assets=files,
                cpus=LOGIN_CPUS,
                terminal=True,
            )
        )
        try:
            if isinstance(zone, ZoneWithDoor):
                zone.door.admit(_turn_away)
            yield zone
        finally:
            if isinstance(zone, ZoneWithDoor):
                await zone.door.shut()
            await zone.close()

    @contextlib.contextmanager
    def _place(self, spec: LoginSpec) -> Iterator[None]:
        """One of the node's places, with its memory. SlowDown, SandboxUnavailable."""
        if (reason := self._unavailable()) is not None:
            raise SandboxUnavailable(reason)
        if self._closing:
            raise SlowDown("The node is about to end: try again.")
        if self._accounts[spec.tenant] >= LOGIN_ACCOUNT_SESSIONS_MAX:
            raise SlowDown(f"The account has {LOGIN_ACCOUNT_SESSIONS_MAX} sessions on this node: end one of them.")
        if self._accounts.total() >= LOGIN_SESSIONS_MAX:
            raise SlowDown(f"The node has {LOGIN_SESSIONS_MAX} sessions, as many as it takes: try again later.")
        if self._memory + spec.memory_bytes > self._memory_max:
            raise SlowDown(f"The node's sessions may use {self._memory_max >> 20} MiB: ask for less --memory, or wait.")
        if not self._resources.fits(spec):
            raise SlowDown("The node's tasks use all of its memory: ask for less --memory, or wait.")
        self._accounts[spec.tenant] += 1
        self._memory += spec.memory_bytes
        self._begun += 1
        try:
            with self._resources.session(spec):
                yield
        finally:
            self._memory -= spec.memory_bytes
            self._accounts[spec.tenant] -= 1
            self._accounts += Counter()  # forgets accounts without sessions


class _Upgraded(web.StreamResponse):
    """101: from here on the connection is the session's."""

    def __init__(self) -> None:
        super().__init__(status=101, headers={"Upgrade": "websocket", "Connection": "Upgrade"})
        self._length_check = False
        self.force_close()

    async def write_eof(self, data: bytes = b"") -> None:
        """HTTP has nothing more to say."""


async def _read_spec(tunnel: Tunnel, signed: str) -> LoginSpec:
    """The gateway's own message, before it passes on what the client sends. BadRequest; AccessDenied if not its own."""
    buffer = bytearray()
    size = LENGTH_BYTES
    while len(buffer) < size:
        data = await tunnel.read()
        if not data:
            raise BadRequest("The session was not described.")
        buffer += data
        if size == LENGTH_BYTES and len(buffer) >= LENGTH_BYTES:
            size += int.from_bytes(buffer[:LENGTH_BYTES], "big")
            if size > LOGIN_SPEC_MAX_BYTES:
                raise BadRequest("The session's description is too long.")
    tunnel.unread(bytes(buffer[size:]))
    token.check_body(signed, bytes(buffer[:size]))
    spec = unpack(bytes(buffer[LENGTH_BYTES:size]), LoginSpec)
    if spec.kind is TaskKind.MAP and len(spec.inputs) != 1:
        raise BadRequest("A map session is on one object.")
    return spec


async def _turn_away(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """What a program that speaks to the store is told."""
    await reader.read(FRAME_HEAD_BYTES)
    writer.write(encode_frame(Kind.FAILED, join_fields((InvalidArgument.code, _NO_JOB))))
    await writer.drain()
