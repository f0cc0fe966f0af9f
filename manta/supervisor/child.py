"""One child process: started, awaited until ready, its log bounded, its death reported."""

import asyncio
import contextlib
import logging
import os
import signal
import sys
import time
from codecs import getincrementaldecoder
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from logging import LogRecord
from logging.handlers import RotatingFileHandler
from pathlib import Path

from manta.core.errands import give_up, spawn
from manta.core.errors import ServiceUnavailable
from manta.core.limits import CHILD_LOG_FILES, CHILD_LOG_MAX_BYTES
from manta.core.process import GIVE_BACK
from manta.supervisor.line import Line

READY_TIMEOUT_S = 60.0
LAST_WORDS_S = 2.0
"""How long a dead child's log is read on: a process that it started may hold it open for ever."""
STEADY_S = 30.0
"""A child that lived this long was well: its death is followed by a restart at once."""
PAUSE_MIN_S = 0.2
PAUSE_MAX_S = 5.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Program:
    """What to run: `arguments` after the interpreter; `pass_fds` are inherited, and a pipe to say ready on."""

    name: str
    arguments: Sequence[str]
    pass_fds: Sequence[int] = ()


class Child:
    """A process of a Program, its line, and what copies its words into its log."""

    def __init__(
        self, program: Program, process: asyncio.subprocess.Process, line: Line, output: int, log: Path
    ) -> None:
        self.program = program
        self.process = process
        self.line = line
        self.log = log
        self.started = time.monotonic()
        self._pump = asyncio.create_task(_pump_log(output, log))

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def uptime_s(self) -> float:
        return time.monotonic() - self.started

    async def wait(self) -> int:
        """The return code, after the last line of its log was written."""
        code = await self.process.wait()
        self.line.close()
        await asyncio.wait({self._pump}, timeout=LAST_WORDS_S)
        self._pump.cancel()
        return code

    def signal(self, number: signal.Signals) -> None:
        """By pid: Popen's own way may reap the child first, and then its real return code is lost."""
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    async def give_back(self, grace_s: float) -> None:
        """Have a node give its running tasks back, or die: that is not awaited for longer than the grace."""
        self.signal(GIVE_BACK)
        if not await self.line.has_ended(grace_s):
            _log.warning("%s has not given its tasks back in %.0f s: they count as lost.", self.program.name, grace_s)

    async def stop(self, grace_s: float) -> int:
        """SIGTERM, and SIGKILL if it is still there after the grace."""
        self.signal(signal.SIGTERM)
        exit_code = asyncio.ensure_future(self.wait())
        done, _ = await asyncio.wait({exit_code}, timeout=grace_s)
        if not done:
            self.signal(signal.SIGKILL)
        return await exit_code


async def start(program: Program, log_dir: Path) -> Child:
    """Run it and return once it said it is ready; ServiceUnavailable with its last words if it did not."""
    reader, writer = os.pipe()
    # A pipe of our own: asyncio's would have `process.wait` wait for its end, beyond the end of the process.
    output, said = os.pipe()
    environment = dict(os.environ, MANTA_READY_FD=str(writer), MANTA_SUPERVISOR_PID=str(os.getpid()))
    environment.pop("MANTA_ROOT_SECRET_KEY", None)
    try:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *program.arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=said,
            stderr=asyncio.subprocess.STDOUT,
            pass_fds=(*program.pass_fds, writer),
            env=environment,
            start_new_session=True,
        )
    except BaseException:
        os.close(reader)
        os.close(output)
        raise
    finally:
        os.close(writer)
        os.close(said)
    child = Child(program, process, Line(reader), output, log_dir / f"{program.name}.log")
    try:
        ready = await child.line.is_ready(READY_TIMEOUT_S)
    except BaseException:
        await child.stop(0)
        raise
    if not ready:
        code = await child.stop(5.0)
        words = child.log.read_text(errors="replace").strip().splitlines()[-1:] or [""]
        raise ServiceUnavailable(f"{program.name} did not start (status {code}): {words[0]} See {child.log}.")
    return child


async def _pump_log(output: int, path: Path) -> None:
    """Copy what the child says into a log of bounded size (promise O2)."""
    reader = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(output, "rb", buffering=0)
    )
    handler = RotatingFileHandler(path, maxBytes=CHILD_LOG_MAX_BYTES, backupCount=CHILD_LOG_FILES, encoding="utf-8")
    handler.terminator = ""  # what is read at a time ends anywhere, also within a letter
    decoder = getincrementaldecoder("utf-8")("replace")
    try:
        while chunk := await reader.read(64 * 1024):
            handler.emit(LogRecord(path.stem, 20, "", 0, decoder.decode(chunk), None, None))
    finally:
        handler.close()
        transport.close()


async def _pause(seconds: float) -> None:
    await asyncio.sleep(seconds)


class Keeper:
    """Keeps one Program running: when it dies unasked, `on_death` is told, then it is started again."""

    def __init__(self, program: Program, log_dir: Path, on_death: Callable[[Child, int], Awaitable[None]]) -> None:
        self.program = program
        self.child: Child | None = None
        self._log_dir = log_dir
        self._on_death = on_death
        self._watcher: asyncio.Task[None] | None = None
        self._gives_back = False
        self._draining: set[asyncio.Task[int]] = set()

    async def start(self) -> None:
        self._adopt(await start(self.program, self._log_dir))

    async def replace(self, grace_s: float) -> None:
        """Start a successor; once it is ready, let the present one finish its work and go (promise O1)."""
        successor = await start(self.program, self._log_dir)
        old = self.child
        await self._unwatch()
        self._adopt(successor)
        if old is not None:
            spawn(self._draining, old.stop(grace_s))

    async def give_back(self, grace_s: float) -> None:
        """Have the node give back the tasks that run, and take no more. One that has died is not started again."""
        self._gives_back = True
        if self.child is None:
            return
        if self.child.process.returncode is not None:
            await self._unwatch()
        else:
            await self.child.give_back(grace_s)

    async def stop(self, grace_s: float) -> None:
        await self._unwatch()
        if self.child is not None:
            await self.child.stop(grace_s)
        await asyncio.gather(*self._draining, return_exceptions=True)

    def _adopt(self, child: Child) -> None:
        self.child = child
        self._watcher = asyncio.create_task(self._watch(child))

    async def _unwatch(self) -> None:
        if self._watcher is not None:
            await give_up([self._watcher])
            self._watcher = None

    async def _watch(self, child: Child) -> None:
        pause_s = 0.0
        while True:
            code = await child.wait()
            try:
                await self._on_death(child, code)
            except Exception:
                _log.exception("The evidence of the end of %s could not be kept.", self.program.name)
            if self._gives_back:
                return
            pause_s = 0.0 if child.uptime_s > STEADY_S else pause_s
            child, pause_s = await self._revive(pause_s)
            self.child = child

    async def _revive(self, pause_s: float) -> tuple[Child, float]:
        """After the pause, which grows with each try: a process that dies young must not spin. With the next pause."""
        while True:
            await _pause(pause_s)
            pause_s = min(max(pause_s * 2, PAUSE_MIN_S), PAUSE_MAX_S)
            try:
                return await start(self.program, self._log_dir), pause_s
            except (ServiceUnavailable, OSError) as error:
                _log.warning("%s could not be started again: %s", self.program.name, error)
