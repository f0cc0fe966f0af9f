"""What does the sandbox cost a task? No store, no agent: the driver alone, beside a plain process.

python -m benchmarks.sandbox [--tasks 200] [--zones 10] [--only bubblewrap,oci] [--fork-server c,python]
"""

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from benchmarks.report import Figure, percentile, show
from jobs.sandbox import NamespaceSandbox
from jobs.sandbox.api import Sandbox, TaskSpec, Zone, ZoneSpec
from jobs.sandbox.building.builders import builder_choice
from manta.core.errors import SandboxUnavailable
from manta.core.limits import TASK_MEMORY_DEFAULT_BYTES, TASK_SCRATCH_DEFAULT_BYTES

_ENV = {"PATH": "/usr/bin:/bin"}
_BLOB = "ab/cd/input"
_WARM_UP = 20
_TARGET_MS = 2.0
"""Of the fork server in C; the one in Python is for machines without a compiler."""


async def _timed_ms(measure: Callable[[], Awaitable[object]], times: int) -> list[float]:
    taken = []
    for number in range(_WARM_UP + times):
        started = time.perf_counter()
        await measure()
        if number >= _WARM_UP:
            taken.append((time.perf_counter() - started) * 1000)
    return taken


def _figure(name: str, taken: list[float], target: float | None = None) -> Figure:
    note = f"p99 {percentile(taken, 0.99):.2f} ms"
    return Figure(f"{name}, p50", "ms", taken, target, lower_is_better=True, note=note)


class Bench:
    """One driver's zones, and tasks in them."""

    def __init__(
        self, name: str, sandbox: Sandbox, tasks: int, zones: int, nowhere: int, target_ms: float | None
    ) -> None:
        self._name = name
        self._target_ms = target_ms
        self._sandbox = sandbox
        self._tasks = tasks
        self._zones = zones
        self._nowhere = nowhere

    async def figures(self) -> list[Figure]:
        boots, ends = [], []
        for _ in range(self._zones):
            started = time.perf_counter()
            zone = await self._open()
            booted = time.perf_counter()
            await zone.close()
            boots.append((booted - started) * 1000)
            ends.append((time.perf_counter() - booted) * 1000)
        zone = await self._open()
        try:
            plain = await _timed_ms(lambda: self._run(zone, "true"), self._tasks)
            shell = await _timed_ms(lambda: self._run(zone, "true; true"), self._tasks)
        finally:
            await zone.close()
        return [
            _figure(f"{self._name}: task `true` on an object", plain, self._target_ms),
            _figure(f"{self._name}: task `true; true`, by a shell", shell),
            _figure(f"{self._name}: zone boot", boots),
            _figure(f"{self._name}: zone end", ends),
        ]

    async def _open(self) -> Zone:
        return await self._sandbox.open_zone(
            ZoneSpec("bench", "bench", TASK_MEMORY_DEFAULT_BYTES, TASK_SCRATCH_DEFAULT_BYTES)
        )

    async def _run(self, zone: Zone, command: str) -> None:
        end = await zone.run(TaskSpec(command, _ENV, 60.0, self._nowhere, self._nowhere, _BLOB, "input"))
        assert end.exit_status == 0, end


async def _alone(tasks: int) -> Figure:
    async def measure() -> None:
        subprocess.run(["/bin/true"], check=True)  # blocking on purpose: nothing else is measured

    return _figure("subprocess alone: `true`", await _timed_ms(measure, tasks))


async def _driver(builder: str, kind: str, tasks: int, zones: int) -> list[Figure]:
    with tempfile.TemporaryDirectory(prefix="manta-bench-") as folder:
        blobs = Path(folder, "blobs")
        file = blobs / _BLOB
        file.parent.mkdir(parents=True)
        blobs.chmod(0o700)
        file.write_bytes(b"x" * 4096)
        file.chmod(0o444)
        sandbox = NamespaceSandbox(blobs, Path(folder, "state"), fork_server_kind=kind, builder=builder_choice(builder))
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            await sandbox.start()
            return await Bench(
                f"{builder}, {kind}", sandbox, tasks, zones, nowhere, _TARGET_MS if kind == "c" else None
            ).figures()
        finally:
            await sandbox.close()
            os.close(nowhere)


async def _measure(arguments: argparse.Namespace) -> list[Figure]:
    figures = [await _alone(arguments.tasks)]
    for builder in arguments.only.split(","):
        for kind in arguments.fork_server.split(","):
            try:
                figures += await _driver(builder, kind, arguments.tasks, arguments.zones)
            except SandboxUnavailable as error:
                print(f"{builder}, {kind}: {error.message}", file=sys.stderr)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=200)
    parser.add_argument("--zones", type=int, default=10)
    parser.add_argument("--only", default="bubblewrap,oci")
    parser.add_argument("--fork-server", default="c,python")
    show("What the sandbox costs a task", asyncio.run(_measure(parser.parse_args())))


if __name__ == "__main__":
    main()
