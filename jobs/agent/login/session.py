"""One session: the terminal's bytes to the client and back, until the shell ends, the client is gone, or time is up."""

import asyncio
import contextlib
from dataclasses import dataclass
from typing import Final

from jobs.agent.login.terminal import END_OF_INPUT, Terminal
from jobs.model.login import LoginEnd, LoginSpec, decode_resize, encode_end
from jobs.sandbox.api import Overrun, TaskEnd, TaskSpec, Zone, kill_until_ended
from manta.core import websocket
from manta.core.clock import Clock
from manta.core.errands import give_up
from manta.core.errors import BadRequest, MantaError
from manta.core.limits import (
    LINGER_S,
    LOGIN_IDLE_S,
    LOGIN_MESSAGE_MAX_BYTES,
    LOGIN_PING_S,
    LOGIN_SILENCE_S,
    TASK_PIDS_MAX,
)
from manta.core.websocket import CloseCode, Kind
from storage_nodes.server.tunnel import Tunnel

_LOOK_S: Final = 1.0
_GONE: Final = "The client is gone."


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a session may be idle, and how its client is found to be gone."""

    idle_s: float = LOGIN_IDLE_S
    ping_s: float = LOGIN_PING_S
    silence_s: float = LOGIN_SILENCE_S


class Session:
    """`run` returns once every process of the session is dead and the client was told why, if it is there."""

    def __init__(
        self, spec: LoginSpec, zone: Zone, terminal: Terminal, tunnel: Tunnel, clock: Clock, patience: Patience
    ) -> None:
        self._spec = spec
        self._zone = zone
        self._terminal = terminal
        self._tunnel = tunnel
        self._clock = clock
        self._patience = patience
        self._decoder = websocket.Decoder(masked=True, message_max_bytes=LOGIN_MESSAGE_MAX_BYTES)
        self._left = False
        self._used_s = clock.monotonic_s()

    async def run(self, task: TaskSpec) -> TaskEnd | None:
        """None when the zone broke."""
        loop = asyncio.get_running_loop()
        running = loop.create_task(self._run_task(task))
        output = loop.create_task(self._to_client())
        ends = [loop.create_task(self._from_client()), loop.create_task(self._watch())]
        try:
            await asyncio.wait({running, *ends}, return_when=asyncio.FIRST_COMPLETED)
            reason = next((one.result() for one in ends if one.done()), "")
            await kill_until_ended(self._zone, running)
            end = running.result()
            self._terminal.close_slave()
            await give_up(ends)
            if not self._tunnel.gone.is_set():
                await self._say_goodbye(output, _told(end, self._spec, reason))
            return end if isinstance(end, TaskEnd) else None
        finally:
            await give_up((running, output, *ends))

    async def _run_task(self, task: TaskSpec) -> TaskEnd | MantaError:
        try:
            return await self._zone.run(task)
        except MantaError as error:
            return error

    # -- both ways

    async def _to_client(self) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await self._terminal.read():
                await self._send(Kind.BINARY, data)
                self._used_s = self._clock.monotonic_s()
                await asyncio.sleep(0)  # where there is always more, and a client that takes it, nothing else waits

    async def _from_client(self) -> str:
        """Why the client's side ended."""
        if self._spec.plain:
            await self._terminal.write(END_OF_INPUT)
        try:
            while data := await self._tunnel.read():
                for message in self._decoder.feed(data):
                    if message.kind is Kind.CLOSE:
                        self._left = True
                        return _GONE
                    await self._take(message)
        except BadRequest as error:
            return f"{error.message} The session was ended."
        except OSError:
            return _GONE
        return _GONE

    async def _take(self, message: websocket.Message) -> None:
        if message.kind is Kind.BINARY:
            self._used_s = self._clock.monotonic_s()
            await self._terminal.write(message.data)
        elif message.kind is Kind.TEXT:
            self._terminal.resize(*decode_resize(message.data))
        elif message.kind is Kind.PING:
            await self._send(Kind.PONG, message.data)

    async def _send(self, kind: Kind, data: bytes = b"") -> None:
        await self._tunnel.write(websocket.encode(kind, data))

    async def _watch(self) -> str:
        """Why the session is to end though neither side ended it."""
        patience, tunnel = self._patience, self._tunnel
        heard_s = asked_s = self._clock.monotonic_s()
        received = tunnel.received
        while True:
            if await self._is_gone(min(patience.ping_s, _LOOK_S)):
                return _GONE
            now_s = self._clock.monotonic_s()
            if now_s - self._used_s > patience.idle_s:
                return f"The session was idle for {patience.idle_s:g} s and was ended."
            # A ping does not reach a client that takes nothing, nor its answer us while its input is stuck.
            if tunnel.received != received or tunnel.blocked or tunnel.paused:
                received, heard_s = tunnel.received, now_s
            elif now_s - heard_s > patience.silence_s:
                return _GONE
            # Only writing finds a client gone whose input is stuck.
            if not tunnel.blocked and (tunnel.paused or now_s - asked_s >= patience.ping_s):
                asked_s = now_s
                try:
                    await self._send(Kind.PING)
                except ConnectionError:
                    return _GONE

    async def _is_gone(self, timeout_s: float) -> bool:
        """Whether the client leaves within that time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._tunnel.gone.wait()
                return True
        return False

    async def _say_goodbye(self, output: "asyncio.Task[None]", told: LoginEnd) -> None:
        """The last of the output, how it ended, and the closing handshake: then nothing sent can be lost."""
        with contextlib.suppress(TimeoutError, ConnectionError):
            async with asyncio.timeout(self._patience.silence_s):
                await output
                await self._send(Kind.TEXT, encode_end(told))
                await self._tunnel.write(websocket.encode_close(CloseCode.NORMAL))
        with contextlib.suppress(TimeoutError, BadRequest):
            async with asyncio.timeout(LINGER_S):
                while not self._left and (data := await self._tunnel.read()):
                    self._left = any(message.kind is Kind.CLOSE for message in self._decoder.feed(data))


def task_of(
    spec: LoginSpec, terminal: Terminal, environment: dict[str, str], blob: str | None, name: str | None
) -> TaskSpec:
    """The session's first process: the command, or an interactive shell."""
    return TaskSpec(
        command=spec.command or _SHELL,
        env=environment,
        timeout_s=spec.timeout_s,
        stdout_fd=terminal.guest,
        stderr_fd=terminal.guest,
        blob=blob,
        input_name=name,
        stdin_fd=terminal.guest,
        terminal=True,
    )


_SHELL: Final = r"export PS1='manta:\w\$ '; if command -v bash >/dev/null; then exec bash; else exec sh; fi"


def _told(end: TaskEnd | MantaError, spec: LoginSpec, reason: str) -> LoginEnd:
    """What the client hears. A reason is a sentence; a shell that ended by itself needs none."""
    if isinstance(end, MantaError):
        return LoginEnd(reason=end.message)
    if end.overrun is Overrun.KILLED or end.overrun is None:
        return LoginEnd(end.exit_status, end.signal, reason if end.overrun is Overrun.KILLED else "")
    return LoginEnd(end.exit_status, end.signal, _exceeded(end.overrun, spec))


def _exceeded(overrun: Overrun, spec: LoginSpec) -> str:
    match overrun:
        case Overrun.TIMEOUT:
            return f"The session reached its timeout of {spec.timeout_s:g} s and was ended: see --timeout."
        case Overrun.MEMORY:
            return f"The session needed more than its {spec.memory_bytes >> 20} MiB of memory: see --memory."
        case Overrun.PIDS:
            return f"The session started more than {TASK_PIDS_MAX} processes and was ended."
        case _:
            return "The session filled its scratch folder and was ended: see --disk."
