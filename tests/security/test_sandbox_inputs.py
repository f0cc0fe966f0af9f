"""A task with several inputs: each where it is said to be, read-only, and nothing of one task's for the next (S4)."""

import asyncio

import pytest

from jobs.sandbox.api import Overrun, TaskInput, input_path
from jobs.sandbox.first_process.protocol import INPUTS_PAGE
from manta.core.errors import NoSuchBlob
from manta.core.limits import BATCH_INPUTS_MAX
from tests.support.sandbox import Workshop, put_blob


def _inputs(workshop: Workshop, count: int) -> tuple[TaskInput, ...]:
    """Every third is empty, and all have the same name."""
    return tuple(
        TaskInput(None if number % 3 == 2 else put_blob(workshop.blobs, f"blob-{number}", b"%d\n" % number), "the name")
        for number in range(count)
    )


@pytest.mark.parametrize("count", [1, INPUTS_PAGE + 1, BATCH_INPUTS_MAX])
async def test_each_is_in_its_place(workshop: Workshop, count: int) -> None:
    command = 'for n in $(seq 0 $(($(ls /input | wc -l) - 1))); do echo "$n:$(cat "/input/$n/the name")"; done; cat'
    ended = await workshop.run(command, inputs=_inputs(workshop, count))
    expected = [f"{number}:{'' if number % 3 == 2 else number}" for number in range(count)]
    assert (ended.status, ended.out.splitlines(), ended.err) == (0, expected, "")
    assert input_path(3, "the name") == "/input/3/the name"


@pytest.mark.invariant("S4")
async def test_none_can_be_changed_and_the_next_task_has_none(workshop: Workshop) -> None:
    attack = (
        'for f in /input/*/*; do (: >> "$f") 2>/dev/null && echo written; rm -f "$f" 2>/dev/null && echo removed; done;'
        "mkdir /input/9 /input/0/x 2>/dev/null && echo made; ls /proc/self/fd | wc -l; exit 0"
    )
    ended = await workshop.run(attack, inputs=_inputs(workshop, 5))
    assert ended.out == "4\n"
    assert [(workshop.blobs / f"ab/cd/blob-{number}").read_bytes() for number in (0, 1, 3)] == [b"0\n", b"1\n", b"3\n"]
    ended = await workshop.run("ls /input | wc -l")
    assert ended.out == "0\n"
    ended = await workshop.run_on_blob("ls /input")
    assert ended.out == "input.txt\n"


async def test_one_that_is_gone_leaves_the_zone_whole(workshop: Workshop) -> None:
    there = _inputs(workshop, INPUTS_PAGE)
    with pytest.raises(NoSuchBlob):
        await workshop.run("true", inputs=(*there, TaskInput("ab/cd/none", "gone")))
    ended = await workshop.run("ls /input | wc -l", inputs=there[:2])
    assert (ended.status, ended.out) == (0, "2\n")


async def test_a_task_that_is_killed_before_it_has_them_ends_so(workshop: Workshop) -> None:
    running = asyncio.create_task(workshop.run("sleep 60", inputs=_inputs(workshop, BATCH_INPUTS_MAX)))
    while not running.done():
        await workshop.zone.kill()
        await asyncio.sleep(0)
    assert (await running).end.overrun is Overrun.KILLED
    ended = await workshop.run("ls /input | wc -l", inputs=_inputs(workshop, 1))
    assert (ended.status, ended.out) == (0, "1\n")
