"""What a sandbox offers the agent, whichever driver builds it: zones, and tasks in them."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, Protocol

from manta.core.limits import INIT_TIMEOUT_S

INPUT_FOLDER: Final = "/input"
"""A task sees its input as `<INPUT_FOLDER>/<input_name>`, scratch (its home and working folder) as SCRATCH_FOLDER."""
SCRATCH_FOLDER: Final = "/scratch"
ASSETS_FOLDER: Final = "/assets"
_KILL_AGAIN_S: Final = 0.2
ZONE_FOLDER: Final = "/zone"
"""Where `init` runs and leaves what tasks shall find: writable for init alone, read-only for the zone's tasks."""


@dataclass(frozen=True, slots=True)
class ZoneSpec:
    """One zone serves one tenant, job, phase and lane. Sizes in bytes, times in seconds; `cpus` None is no quota.

    `binds` maps paths in this zone alone to the host's, read-only; a socket can be connected to all the same.
    `assets` does so for files that lie in the driver's shared folder on the host, as does `image`,
    the folder that is the zone's root instead of the host's /usr. `workplaces` are folders there that the zone's tasks
    may write: they become the zone's user's.
    `files` are executable, read-only files by their paths in the zone. `terminal`: its tasks may have one, which they
    find at /dev/tty too.
    """

    name: str
    tenant: str
    memory_bytes: int
    scratch_bytes: int
    init: str | None = None
    init_timeout_s: float = INIT_TIMEOUT_S
    env: Mapping[str, str] = field(default_factory=dict)
    assets: Mapping[str, str] = field(default_factory=dict)
    image: str | None = None
    workplaces: Mapping[str, str] = field(default_factory=dict)
    cpus: float | None = None
    binds: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)
    terminal: bool = False


@dataclass(frozen=True, slots=True)
class TaskInput:
    """One of several inputs: its path below the volume's blobs folder, None for an empty one, and its name."""

    blob: str | None
    name: str


def input_path(place: int, name: str) -> str:
    """Where a task, or a session, finds the input at that place of several."""
    return f"{INPUT_FOLDER}/{place}/{name}"


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """One task. `blob` is the path below the volume's blobs folder of the input, mounted read-only as `input_name`.

    `input_name` without `blob` is an empty input: an empty file of that name, and stdin at its end.
    `inputs` are several instead, at most BATCH_INPUTS_MAX, each at its `input_path`.
    stdin is `stdin_fd` (a pipe) if given, else opened inside from the mounted file of `blob`, else /dev/null. With
    `stdin_range` (start, end) it is a pipe that a process inside fills with those bytes of the file.
    With `terminal`, `stdin_fd` is one, and the task leads a session whose controlling terminal it is.
    `stdout_fd` and `stderr_fd` are pipes' write ends; the driver hands them over and the caller closes its own copy.
    """

    command: str
    env: Mapping[str, str]
    timeout_s: float
    stdout_fd: int
    stderr_fd: int
    blob: str | None = None
    input_name: str | None = None
    stdin_fd: int | None = None
    stdin_range: tuple[int, int] | None = None
    inputs: tuple[TaskInput, ...] = ()
    terminal: bool = False


class Overrun(StrEnum):
    """The limit that ended a task (S5)."""

    TIMEOUT = "timeout"
    MEMORY = "memory"
    PIDS = "pids"
    SCRATCH = "scratch"
    KILLED = "killed"


@dataclass(frozen=True, slots=True)
class TaskEnd:
    """How the task's first process ended; by then every process of the task is dead."""

    exit_status: int | None
    signal: int | None
    core_dumped: bool
    overrun: Overrun | None
    wall_s: float
    cpu_s: float


class Zone(Protocol):
    """Runs one task at a time. A zone whose `run` raised SandboxUnavailable is broken: close it and build another."""

    async def run(self, task: TaskSpec) -> TaskEnd: ...

    async def kill(self) -> None:
        """End the running task, if any, with every process of it; its `run` returns Overrun.KILLED."""
        ...

    async def close(self) -> None:
        """End the zone and everything in it."""
        ...


async def kill_until_ended(zone: Zone, running: "asyncio.Task[Any]") -> None:
    """Asks again and again: a zone that is about to start the task that is `running` has nothing to kill yet."""
    while not running.done():
        await zone.kill()
        await asyncio.wait([running], timeout=_KILL_AGAIN_S)


class Sandbox(Protocol):
    """A driver. `start` probes the machine and raises SandboxUnavailable with the reason and the remedy."""

    async def start(self) -> None: ...

    async def open_zone(self, spec: ZoneSpec) -> Zone:
        """A running zone whose `init` has succeeded; ZoneInitError otherwise."""
        ...

    def describe(self) -> dict[str, object]:
        """Driver, identity, and which limits hold by what means: for `manta doctor` and node status."""
        ...

    async def close(self) -> None: ...


class ZoneInitError(Exception):
    """`init` failed: how it ended and the tail of what it said, in one sentence."""
