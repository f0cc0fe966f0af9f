"""Doors: a Unix socket for each zone, by which the programs of the task that runs there reach the agent.

A zone runs one task at a time and every process of a task is dead before the next one starts. So whoever knocks while a
task runs is of that task, and what still waits at its end is turned away before the next: rights follow from the socket
alone, and no secret has to be given to a task.
"""

import asyncio
import contextlib
import os
import select
import shutil
import socket
from collections.abc import Awaitable, Callable
from dataclasses import replace
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import Final

from jobs.programs.protocol import FRAME_MAX_BYTES, SOCKET_PATH
from jobs.sandbox.api import Sandbox, TaskEnd, TaskSpec, Zone, ZoneSpec
from manta.core.errands import give_up, spawn
from manta.core.limits import PROGRAM_CONNECTIONS_MAX
from manta.core.owner import claim_folder

_BACKLOG: Final = PROGRAM_CONNECTIONS_MAX
_TOGETHER_MAX: Final = 16
"""Guests that are let in before the event loop goes on."""
_RUN: Final = Path("/run")
_PREFIX: Final = "manta-"
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Door:
    """One listening socket. `admit` opens it for a task, `shut` closes it behind the task's last process."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._loop = asyncio.get_running_loop()
        self._socket = _listening(path)
        self._serve: Serve | None = None
        self._guests: set[asyncio.Task[None]] = set()
        self._knocks = select.poll()
        self._knocks.register(self._socket.fileno(), select.POLLIN)
        self._loop.add_reader(self._socket.fileno(), self._on_knock)

    def admit(self, serve: Serve) -> None:
        self._turn_away()
        self._serve = serve

    async def shut(self) -> None:
        """Nobody of the task is served any more; what a dead program left half-said is dropped."""
        self._serve = None
        self._turn_away()
        await give_up(self._guests)

    def close(self) -> None:
        self._loop.remove_reader(self._socket.fileno())
        self._socket.close()
        self._serve = None
        for guest in self._guests:
            guest.cancel()
        with contextlib.suppress(OSError):
            self.path.unlink()

    def _on_knock(self) -> None:
        """A few at a time: a task that knocks without end must not keep the agent from all else."""
        for _ in range(_TOGETHER_MAX):
            guest = self._accept()
            if guest is None:
                return
            if self._serve is None or len(self._guests) >= PROGRAM_CONNECTIONS_MAX:
                guest.close()
                continue
            spawn(self._guests, _served(guest, self._serve))

    def _turn_away(self) -> None:
        """All that wait now, and no more: a process that takes inputs in turns lives on, and may knock without end."""
        for _ in range(_BACKLOG + 1):
            if not self._knocks.poll(0) or (guest := self._accept()) is None:  # asks first: cheaper than to fail
                return
            guest.close()

    def _accept(self) -> socket.socket | None:
        try:
            return self._socket.accept()[0]
        except OSError:  # nobody is there, or is gone already, or there are too many open files
            return None


async def _served(guest: socket.socket, serve: Serve) -> None:
    """A guest that hangs up, or is gone, is no error."""
    try:
        reader, writer = await asyncio.open_connection(sock=guest, limit=FRAME_MAX_BYTES)
    except OSError:
        guest.close()
        return
    try:
        with contextlib.suppress(OSError, EOFError):
            await serve(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def _listening(path: Path) -> socket.socket:
    """Bound by way of its folder's descriptor, since a socket's path has at most 107 bytes."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        listener.bind(f"/proc/self/fd/{folder}/{path.name}")
        path.chmod(0o666)  # whoever sees it may use it: no path leads here but the zone's own mount
        listener.listen(_BACKLOG)
    except BaseException:
        listener.close()
        raise
    finally:
        os.close(folder)
    return listener


class ZoneWithDoor:
    """A Zone, and its door."""

    def __init__(self, zone: Zone, door: Door) -> None:
        self._zone = zone
        self.door = door

    async def run(self, task: TaskSpec) -> TaskEnd:
        return await self._zone.run(task)

    async def kill(self) -> None:
        await self._zone.kill()

    async def close(self) -> None:
        await self._zone.close()
        self.door.close()


class SandboxWithDoors:
    """A Sandbox whose zones have doors, their sockets in `folder`."""

    def __init__(self, sandbox: Sandbox, folder: Path) -> None:
        self._sandbox = sandbox
        self._folder = folder
        self._numbers = count(1)

    async def start(self) -> None:
        """Sockets of an earlier agent are removed, and those that killed agents of this machine left."""
        # Zones of a root agent run under uids of their own, and must find the way; names cannot be listed nor guessed.
        mode = 0o711 if os.geteuid() == 0 else 0o700
        claim_folder(self._folder, self._folder.name, mode, f"{_PREFIX}*")
        await self._sandbox.start()

    async def open_zone(self, spec: ZoneSpec) -> ZoneWithDoor:
        door = Door(self._folder / f"{next(self._numbers)}-{os.urandom(8).hex()}")
        try:
            zone = await self._sandbox.open_zone(replace(spec, binds={**spec.binds, SOCKET_PATH: str(door.path)}))
        except BaseException:
            door.close()
            raise
        return ZoneWithDoor(zone, door)

    def describe(self) -> dict[str, object]:
        return self._sandbox.describe()

    async def close(self) -> None:
        await self._sandbox.close()
        shutil.rmtree(self._folder, ignore_errors=True)


def door_folder(state: Path) -> Path:
    """Where a node with that state folder keeps its zones' sockets; as root where other uids find the way."""
    if os.geteuid() == 0 and os.access(_RUN, os.W_OK):
        return _RUN / f"{_PREFIX}{sha256(bytes(state.resolve())).hexdigest()[:16]}"
    return state / "doors"
