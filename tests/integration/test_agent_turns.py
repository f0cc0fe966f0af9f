"""A batch whose program takes the inputs in one process, in the agent: whatever the process does, each ends once."""

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from jobs.model.program import PackedProgram
from jobs.model.wire import Failure, PhaseSpec, TaskResult
from jobs.programs.turns import ENDED
from manta.core.errors import InvalidArgument
from tests.support.agent_rig import Rig, rig_on

_PROGRAM = """
import os, socket, sys, time
agent = socket.socket(fileno=0)
while message := agent.recv(1 << 17):
    variables = dict(pair.split("=", 1) for pair in message.decode().split("\\0"))
    name = variables["MANTA_INPUT_OBJECT"].rpartition("/")[2]
    print(name, flush=True)
    print(name, "said", file=sys.stderr, flush=True)
    if name == "babble":
        agent.send(b"neither this nor that")
        time.sleep(60)
    if name == "hang_up":
        agent.close()
        os._exit(0)
    if name == "die":
        os._exit(9)
    if name == "wait":
        time.sleep(60)
    agent.send(%r)
    if name == "die_later":
        os._exit(9)
"""


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with rig_on(tmp_path) as rig:
        yield rig


def phase(rig: Rig, folder: Path, timeout_s: float = 60.0) -> PhaseSpec:
    script = folder / "program.py"
    script.write_text(_PROGRAM % ENDED)
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    return rig.gateway.phase(
        f"{sys.executable} {script}", program=PackedProgram("f", here, b"none"), timeout_s=timeout_s
    )


async def batch(rig: Rig, spec: PhaseSpec, *names: str) -> TaskResult:
    await rig.gateway.offer(spec, batch=[await rig.input(b"x", name) for name in names])
    return (await rig.gateway.wait_results(1))[0]


async def outputs(rig: Rig, result: TaskResult) -> list[bytes | Failure]:
    found: list[bytes | Failure] = []
    for member in result.members:
        assert member.failure is not None or len(member.outputs) == 1
        found += [await rig.node.get(one.blob_id or "", one.size) for one in member.outputs] or [member.failure or b""]
    return found


async def test_one_process_is_started_for_all(rig: Rig, tmp_path: Path) -> None:
    names = [f"in-{place}" for place in range(100)]
    result = await batch(rig, phase(rig, tmp_path), *names)
    assert await outputs(rig, result) == [f"{name}\n".encode() for name in names]
    assert len(rig.sandbox.tasks) == 1
    said = [rig.agent.stderr.read(one.attempt.job_id, one.attempt.task_id).data for one in result.members]
    assert said == [f"{name} said\n".encode() for name in names]
    assert result.usage.task_seconds == sum(member.usage.task_seconds for member in result.members)


@pytest.mark.invariant("J1")
async def test_whatever_ends_the_process_is_of_the_input_whose_turn_it_was(rig: Rig, tmp_path: Path) -> None:
    result = await batch(rig, phase(rig, tmp_path), "a", "die", "b", "hang_up", "c", "babble", "d")
    told = await outputs(rig, result)
    assert [one if isinstance(one, bytes) else one.message for one in told] == [
        b"a\n", "The task ended with exit status 9.", b"b\n", b"hang_up\n", b"c\n",
        "The task was killed.", b"d\n",
    ]  # fmt: skip
    assert result.failure is None


async def test_a_process_that_ends_between_two_inputs_fails_neither(rig: Rig, tmp_path: Path) -> None:
    names = ["a", *["die_later"] * 12, "b"]
    result = await batch(rig, phase(rig, tmp_path), *names)
    assert await outputs(rig, result) == [f"{name}\n".encode() for name in names]


async def test_a_process_that_never_takes_an_input_ends_each(rig: Rig, tmp_path: Path) -> None:
    spec = phase(rig, tmp_path)
    (tmp_path / "program.py").write_text("raise SystemExit(5)")
    told = await outputs(rig, await batch(rig, spec, "a", "b", "c"))
    assert [one.message for one in told if isinstance(one, Failure)] == ["The task ended with exit status 5."] * 3


async def test_a_timeout_is_of_each_input(rig: Rig, tmp_path: Path) -> None:
    result = await batch(rig, phase(rig, tmp_path, timeout_s=1.0), "a", "wait", "b")
    first, second, third = await outputs(rig, result)
    assert (first, third) == (b"a\n", b"b\n")
    assert isinstance(second, Failure)
    assert "timeout of 1 s" in second.message


async def test_a_process_that_fails_often_is_given_fewer_inputs(rig: Rig, tmp_path: Path) -> None:
    names = ["die"] * 40
    result = await batch(rig, phase(rig, tmp_path), *names)
    assert all(isinstance(one, Failure) for one in await outputs(rig, result))
    assert [len(task.inputs) for task in rig.sandbox.tasks] == [40, 20, 10, *[8] * 30, *range(7, 0, -1)]


async def test_a_lost_batch_ends_its_process_and_leaves_nothing(rig: Rig, tmp_path: Path) -> None:
    refs = [await rig.input(b"x", name) for name in ("a", "wait", "b")]
    lease = await rig.gateway.offer(phase(rig, tmp_path), batch=refs)
    number = lease.batch[1].number
    await rig.gateway.wait(lambda: rig.agent.stderr.read(lease.job_id, number).data != b"")
    await rig.gateway.lose(lease)
    await rig.gateway.offer(rig.gateway.phase("echo on", phase=1), await rig.input(b"x"))
    (result,) = await rig.gateway.wait_results(1)
    assert result.attempt.task_id != lease.task_id
    assert not any(rig.node.holds(one.slot.blob_id) for one in lease.batch)


async def test_a_zone_that_breaks_fails_the_batch_as_a_whole(rig: Rig, tmp_path: Path) -> None:
    rig.sandbox.break_next = True
    result = await batch(rig, phase(rig, tmp_path), "a", "b")
    assert result.failure is not None
    assert result.failure.retryable
    assert result.members == ()


async def test_what_no_program_can_be_handed_is_told_of_each_input(rig: Rig, tmp_path: Path) -> None:
    rig.sandbox.fail_next = InvalidArgument("The command and its environment exceed 9 bytes: shorten them.")
    told = await outputs(rig, await batch(rig, phase(rig, tmp_path), "a", "b"))
    assert isinstance(told[0], Failure)
    assert (told[0].code, told[0].retryable) == ("TaskInitError", False)
    assert told[1] == b"b\n"
    assert len(rig.sandbox.built) == 1
