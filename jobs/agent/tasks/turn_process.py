"""A process in a zone that takes inputs one after another (jobs/programs/turns.py): told of each, watched, ended."""

import asyncio
import contextlib
import socket
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from jobs.agent.streams.pipes import Ends
from jobs.programs.turns import ENDED, encode_turn
from jobs.sandbox.api import Overrun, TaskEnd, TaskInput, TaskSpec, Zone, kill_until_ended
from manta.core.errands import spawn

_WELL: Final = TaskEnd(0, None, core_dumped=False, overrun=None, wall_s=0.0, cpu_s=0.0)


class NotTakenError(Exception):
    """Whatever ended the process, the input did not: it was not told of it yet, or the time of all inputs was over.

    `wall_s`: how long the process ran on meanwhile.
    """

    def __init__(self, wall_s: float) -> None:
        super().__init__(wall_s)
        self.wall_s = wall_s


class TurnProcess:
    """`stdout` and `stderr` are its pipes, for whoever's turn it is. To be ended with `end`."""

    def __init__(
        self, zone: Zone, command: str, env: Mapping[str, str], inputs: Sequence[TaskInput], timeout_s: float
    ) -> None:
        """`timeout_s` is of each input."""
        self._loop = asyncio.get_running_loop()
        self._zone = zone
        self._timeout_s = timeout_s
        with contextlib.ExitStack() as undo:
            self.stdout = Ends()
            undo.callback(self.stdout.close)
            self.stderr = Ends()
            undo.callback(self.stderr.close)
            self._channel, self._theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            undo.callback(self._channel.close)
            undo.callback(self._theirs.close)
            self._undo = undo.pop_all()
        self._channel.setblocking(False)
        self._news: asyncio.Future[None] = self._loop.create_future()
        self._said_ended = False
        self._timed_out = False
        self._turns = 0
        self._errands: set[asyncio.Task[None]] = set()
        task = TaskSpec(
            command=command,
            env=env,
            timeout_s=timeout_s * (len(inputs) + 1),
            stdout_fd=self.stdout.write_fd,
            stderr_fd=self.stderr.write_fd,
            stdin_fd=self._theirs.fileno(),
            inputs=tuple(inputs),
        )
        self._running = self._loop.create_task(zone.run(task))
        self._running.add_done_callback(lambda _: self._wake())
        self._loop.add_reader(self._channel.fileno(), self._on_message)

    @property
    def has_ended(self) -> bool:
        return self._running.done()

    async def turn(self, variables: Mapping[str, str]) -> TaskEnd:
        """How that input ended. Unless it has ended well the process has ended with it.

        NotTakenError, never of the first: what ends a process at its start would end any. SandboxUnavailable.
        """
        self._turns += 1
        self._said_ended = self._timed_out = False
        self._news = self._loop.create_future()
        began_s = self._loop.time()
        timer = self._loop.call_later(self._timeout_s, self._time_out)
        try:
            with contextlib.suppress(OSError):  # it has ended: so the news will be
                self._channel.send(encode_turn(variables))
            if not self._running.done():
                await self._news
        finally:
            timer.cancel()
        end = _WELL if self._said_ended else await self._running
        if end is not _WELL and self._turns > 1 and not self._timed_out and self._is_of_others(end):
            raise NotTakenError(self._loop.time() - began_s)
        overrun = Overrun.TIMEOUT if self._timed_out and end.overrun is Overrun.KILLED else end.overrun
        return replace(end, overrun=overrun, wall_s=self._loop.time() - began_s)

    async def end(self) -> None:
        """Nothing of it runs on."""
        self._unwatch()
        await kill_until_ended(self._zone, self._running)
        if not self._running.cancelled():
            self._running.exception()  # whoever's turn it was knows
        await asyncio.gather(*self._errands)
        self._undo.close()

    def _on_message(self) -> None:
        """Anything but the one word is none of our program's: the task is ended."""
        try:
            said = self._channel.recv(len(ENDED) + 1)
        except BlockingIOError:
            return
        except OSError:
            said = b""
        if said == ENDED:
            self._said_ended = True
            self._wake()
            return
        self._unwatch()
        self._kill()

    def _is_of_others(self, end: TaskEnd) -> bool:
        """Whether what was sent last still lies at the other end, which is open here too; or the time of all was over:
        an input has its own, and what all have together passes while outputs of those before wait for their copies."""
        if end.overrun is Overrun.TIMEOUT:
            return True
        try:
            return bool(self._theirs.recv(1, socket.MSG_DONTWAIT | socket.MSG_PEEK))
        except BlockingIOError:
            return False

    def _time_out(self) -> None:
        self._timed_out = True
        self._kill()

    def _kill(self) -> None:
        spawn(self._errands, self._zone.kill())

    def _wake(self) -> None:
        if not self._news.done():
            self._news.set_result(None)

    def _unwatch(self) -> None:
        self._loop.remove_reader(self._channel.fileno())
