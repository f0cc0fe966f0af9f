"""A sandbox over a small blobs folder, seen from a task's side and from a taken-over fork server's."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

import jobs.sandbox.driver
from jobs.sandbox.api import TaskEnd, TaskSpec, Zone, ZoneSpec
from jobs.sandbox.building.blueprint import Program, SealedFile
from jobs.sandbox.building.builders import builder_choice
from jobs.sandbox.driver import NamespaceSandbox
from jobs.sandbox.first_process import forkserver
from manta.core.limits import MIB

PATH = "/usr/local/bin:/usr/bin:/bin"
FORK_SERVERS = ("c", "python")
CONTENT = b"the first line\nand the second\n"
ZONE = ZoneSpec("zone-1", "alice", memory_bytes=128 * MIB, scratch_bytes=8 * MIB)


@dataclass(frozen=True)
class Ended:
    """How a task ended and what it said."""

    end: TaskEnd
    out: str
    err: str

    @property
    def status(self) -> int | None:
        return self.end.exit_status


def put_blob(blobs: Path, name: str, content: bytes) -> str:
    """Stores it as a volume does: 0444, two folders deep. The path below the blobs folder."""
    path = f"ab/cd/{name}"
    file = blobs / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.unlink(missing_ok=True)  # an ordinary user cannot write to what is there
    file.write_bytes(content)
    file.chmod(0o444)
    return path


def _read_to_end(descriptor: int) -> str:
    with os.fdopen(descriptor, "rb") as file:
        return file.read().decode(errors="replace")


async def run_in(zone: Zone, command: str, *, env: Mapping[str, str] | None = None, **options: Any) -> Ended:
    """Runs it in the zone; `options` are those of TaskSpec."""
    out, their_out = os.pipe()
    err, their_err = os.pipe()
    values: dict[str, Any] = {"timeout_s": 60.0, **options}
    task = TaskSpec(command, {"PATH": PATH, **(env or {})}, stdout_fd=their_out, stderr_fd=their_err, **values)

    async def ended() -> TaskEnd:
        try:
            return await zone.run(task)
        finally:
            os.close(their_out)
            os.close(their_err)

    end, said, complained = await asyncio.gather(
        ended(), asyncio.to_thread(_read_to_end, out), asyncio.to_thread(_read_to_end, err)
    )
    return Ended(end, said, complained)


class Workshop:
    """A started sandbox, a zone in it, and one blob."""

    def __init__(self, sandbox: NamespaceSandbox, zone: Zone, blobs: Path, state: Path) -> None:
        self.sandbox = sandbox
        self.zone = zone
        self.blobs = blobs
        self.state = state
        self.blob = put_blob(blobs, "blob-1", CONTENT)

    async def run(self, command: str, **options: Any) -> Ended:
        return await run_in(self.zone, command, **options)

    async def run_on_blob(self, command: str, **options: Any) -> Ended:
        return await self.run(command, blob=self.blob, input_name="input.txt", **options)

    async def python(self, source: str, *, on_blob: bool = False, **options: Any) -> Ended:
        run = self.run_on_blob if on_blob else self.run
        return await run('exec python3 -I -S -c "$SOURCE"', env={"SOURCE": source}, **options)

    def blob_is_unchanged(self) -> bool:
        return (self.blobs / self.blob).read_bytes() == CONTENT


@asynccontextmanager
async def started(blobs: Path, state: Path, kind: str, builder: str = "bubblewrap") -> AsyncIterator[NamespaceSandbox]:
    choice = builder_choice(builder)
    if builder == "oci" and choice.find() is None:
        pytest.skip("there is no runc on this machine")
    blobs.mkdir(mode=0o700, exist_ok=True)
    sandbox = NamespaceSandbox(blobs, state, fork_server_kind=kind, builder=choice)
    await sandbox.start()
    try:
        yield sandbox
    finally:
        await sandbox.close()


@asynccontextmanager
async def zone_of(sandbox: NamespaceSandbox, **changes: Any) -> AsyncIterator[Zone]:
    zone = await sandbox.open_zone(replace(ZONE, **changes))
    try:
        yield zone
    finally:
        await zone.close()


@pytest.fixture(scope="session")
def sandbox_state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all tests, so that the C fork server is compiled once."""
    return tmp_path_factory.getbasetemp() / "sandbox-state"


@pytest_asyncio.fixture(params=[*FORK_SERVERS, pytest.param("oci", marks=pytest.mark.slow)])
async def workshop(request: pytest.FixtureRequest, tmp_path: Path, sandbox_state: Path) -> AsyncIterator[Workshop]:
    kind, builder = ("c", "oci") if request.param == "oci" else (request.param, "bubblewrap")
    async with started(tmp_path / "blobs", sandbox_state, kind, builder) as sandbox, zone_of(sandbox) as zone:
        yield Workshop(sandbox, zone, tmp_path / "blobs", sandbox_state)


_ATTACKER = '''
class Attacker(ForkServer):
    """The fork server once taken over: the attack runs in its place, with its rights and the task's descriptors."""

    def _run(self, request):
        source = request.environment.get(b"ATTACK")
        if source is None:
            return super()._run(request)
        if request.environment.get(b"WHERE") == b"itself":
            exec(source.decode(), {**globals(), "request": request, "server": self})
            return REPLY.pack(ENDED, 0, 0, 0, 0, 0, 0, 0)
        flags = _NAMESPACES if request.environment.get(b"WHERE") == b"task" else 0
        pid = _check(_libc.syscall(_long(_SYS_CLONE), _long(flags | 17), *[_long(0)] * 4))
        if pid == 0:
            self._attack(request, source.decode())
        for descriptor in request.descriptors:
            os.close(descriptor)
        return REPLY.pack(ENDED, os.waitpid(pid, 0)[1], 0, 0, 0, 0, 0, 0)

    def _attack(self, request, source):
        os.dup2(request.stdout, 1)
        os.dup2(request.stderr, 2)
        try:
            exec(source, {**globals(), "request": request})
            sys.stdout.flush()
        except BaseException as error:
            os.write(2, f"{type(error).__name__}: {error}".encode())
        os._exit(0)


ForkServer = Attacker
if __name__ == "__main__":
    main()
'''

Attack = Callable[[str], AbstractAsyncContextManager[Workshop]]


def _hostile_fork_server(*_: object) -> Program:
    source = Path(forkserver.__file__).read_text()
    genuine = source.partition('if __name__ == "__main__":')[0]
    file = SealedFile("attacker", (genuine + _ATTACKER).encode())
    return Program("hostile", file, ("/usr/bin/python3", "-I", "-S"))


@pytest_asyncio.fixture(params=["bubblewrap", "oci"])
async def hostile(
    request: pytest.FixtureRequest, tmp_path: Path, sandbox_state: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Workshop]:
    """A zone whose fork server runs the Python in the variable ATTACK with all its rights, `request` at hand.

    With WHERE=task it does so in a task's namespaces, where it may mount; else in the zone's own, with WHERE=itself in
    the very process.
    """
    monkeypatch.setattr(jobs.sandbox.driver, "fork_server", _hostile_fork_server)
    async with (
        started(tmp_path / "blobs", sandbox_state, "python", request.param) as sandbox,
        zone_of(sandbox) as zone,
    ):
        yield Workshop(sandbox, zone, tmp_path / "blobs", sandbox_state)
