"""A process that takes inputs in turns: whose fault its end is."""

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from jobs.agent.tasks.turn_process import NotTakenError, TurnProcess
from jobs.programs.turns import ENDED
from jobs.sandbox.api import Overrun, TaskEnd, TaskSpec


class EndingZone:
    """Its task ends the first input well, takes the second, and is ended then."""

    def __init__(self, overrun: Overrun | None) -> None:
        self._overrun = overrun

    async def run(self, task: TaskSpec) -> TaskEnd:
        assert task.stdin_fd is not None
        loop = asyncio.get_running_loop()
        with socket.socket(fileno=os.dup(task.stdin_fd)) as agent:
            agent.setblocking(False)
            assert await loop.sock_recv(agent, 1 << 17)
            await loop.sock_sendall(agent, ENDED)
            assert await loop.sock_recv(agent, 1 << 17)
        return TaskEnd(None, signal.SIGKILL, core_dumped=False, overrun=self._overrun, wall_s=0.0, cpu_s=0.0)

    async def kill(self) -> None:
        """It ends by itself."""

    async def close(self) -> None:
        """It holds nothing."""


@asynccontextmanager
async def second_turn_of(overrun: Overrun | None) -> AsyncIterator[TurnProcess]:
    process = TurnProcess(EndingZone(overrun), "program", {}, [], timeout_s=60.0)
    try:
        assert (await process.turn({"NUMBER": "1"})).exit_status == 0
        yield process
    finally:
        await process.end()


async def test_the_time_of_all_inputs_together_is_no_fault_of_the_one_whose_turn_it_is() -> None:
    """It passes while the agent stores what those before put out: only an input's own time is the input's."""
    async with second_turn_of(Overrun.TIMEOUT) as process:
        with pytest.raises(NotTakenError) as raised:
            await process.turn({"NUMBER": "2"})
    assert raised.value.wall_s > 0


@pytest.mark.parametrize("overrun", [Overrun.MEMORY, None])
async def test_what_else_ends_the_process_is_of_the_input_that_it_had_taken(overrun: Overrun | None) -> None:
    async with second_turn_of(overrun) as process:
        end = await process.turn({"NUMBER": "2"})
    assert (end.signal, end.overrun) == (signal.SIGKILL, overrun)
