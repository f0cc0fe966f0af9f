"""A task that takes a batch, in the agent: each input is run and told as without one, all are reported together."""

import asyncio
from pathlib import Path

import pytest

from jobs.agent.tasks import batches
from jobs.model.wire import AttemptRef, InputRef, TaskLease
from manta.core.limits import REPORT_BATCH_MAX
from tests.support.agent import JOB
from tests.support.agent_rig import Rig, rig

__all__ = ["rig"]


async def inputs(rig: Rig, *texts: bytes) -> list[InputRef]:
    return [await rig.input(text, f"in/{place}") for place, text in enumerate(texts)]


async def test_every_input_has_its_own_run_output_and_stderr(rig: Rig) -> None:
    command = 'cat; echo " $MANTA_INPUT_OBJECT ${MANTA_OUTPUT_BASE##*/}" | tee /dev/stderr'
    lease = await rig.gateway.offer(rig.gateway.phase(command), batch=await inputs(rig, b"one", b"", b"three"))
    (result,) = await rig.gateway.wait_results(1)
    assert (result.attempt, result.failure, result.outputs) == (AttemptRef(JOB, lease.task_id, 1), None, ())
    numbers = [one.number for one in lease.batch]
    assert [member.attempt for member in result.members] == [AttemptRef(JOB, number, 1) for number in numbers]
    said = [f" library/in/{place} {number:08d}.\n".encode() for place, number in enumerate(numbers)]
    for member, text, words in zip(result.members, (b"one", b"", b"three"), said, strict=True):
        (output,) = member.outputs
        assert await rig.node.get(output.blob_id or "", output.size) == text + words
    assert [rig.agent.stderr.read(JOB, number).data for number in numbers] == said
    assert [one.usage.in_place_bytes for one in (*result.members, result)] == [3, 0, 5, 8]
    assert len(rig.sandbox.built) == 1
    assert result.usage.task_seconds == sum(member.usage.task_seconds for member in result.members)


async def test_one_that_fails_takes_no_other_with_it(rig: Rig) -> None:
    refs = await inputs(rig, b"good", b"bad", b"good")
    gone = InputRef("library", "gone", 5, "0" * 32)
    await rig.gateway.offer(rig.gateway.phase("grep good"), batch=[*refs, gone])
    (result,) = await rig.gateway.wait_results(1)
    assert result.failure is None
    codes = [member.failure.code if member.failure else None for member in result.members]
    assert codes == [None, "UserTaskError", None, "InternalError"]
    assert [len(member.outputs) for member in result.members] == [1, 0, 1, 0]


async def test_a_lost_batch_ends_at_once_and_leaves_nothing(rig: Rig, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    command = f'read word; echo $word >> {mark}; echo out; test "$word" != wait || sleep 60'
    lease = await rig.gateway.offer(rig.gateway.phase(command), batch=await inputs(rig, b"first\n", b"wait\n", b"no\n"))
    await rig.gateway.wait(lambda: len(rig.sandbox.tasks) == 2)
    await rig.gateway.lose(lease)
    await rig.gateway.offer(rig.gateway.phase("echo on", phase=1), await rig.input(b"x"))
    (result,) = await rig.gateway.wait_results(1)
    assert result.attempt.task_id != lease.task_id
    await rig.gateway.wait(lambda: not held(rig, lease))
    assert len(rig.sandbox.tasks) == 3
    assert "no" not in mark.read_text()
    assert not any(rig.node.holds(one.slot.blob_id) for one in lease.batch)


def held(rig: Rig, lease: TaskLease) -> bool:
    return AttemptRef(lease.job_id, lease.task_id, lease.attempt) in rig.gateway.leases[-1].held


async def test_a_zone_that_breaks_fails_the_batch_as_a_whole(rig: Rig) -> None:
    refs = await inputs(rig, b"a", b"b")
    spec = rig.gateway.phase("cat")
    rig.sandbox.break_next = True
    lease = await rig.gateway.offer(spec, batch=refs)
    (result,) = await rig.gateway.wait_results(1)
    assert result.failure is not None
    assert result.failure.retryable
    assert result.members == ()
    assert not any(rig.node.holds(one.slot.blob_id) for one in lease.batch)


async def test_a_stale_batch_takes_its_outputs_with_it(rig: Rig) -> None:
    refs = await inputs(rig, b"a", b"b")
    rig.gateway.lost_unheard.add(AttemptRef(JOB, 1, 1))
    lease = await rig.gateway.offer(rig.gateway.phase("cat"), task=1, batch=refs)
    await rig.gateway.offer(rig.gateway.phase("cat", phase=1), await rig.input(b"x"), task=9)
    await rig.gateway.wait_results(1)
    await rig.gateway.wait(lambda: rig.gateway.stale == 1)
    while any(rig.node.holds(one.slot.blob_id) for one in lease.batch):
        await asyncio.sleep(0.01)


async def test_inputs_with_too_many_outputs_together_leave_their_batch(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One whose outputs are within what is left stays."""
    monkeypatch.setattr(batches, "REPORT_OUTPUTS_MAX", 2)
    refs = await inputs(rig, b"a", b"b", b"c", b"d")
    lease = await rig.gateway.offer(rig.gateway.phase('read -r x; test "$x" != b && echo "$x"'), batch=refs)
    (result,) = await rig.gateway.wait_results(1)
    failures = [member.failure for member in result.members]
    assert [failure and (failure.code, failure.retryable) for failure in failures] == [
        None, ("UserTaskError", False), None, ("InternalError", True),
    ]  # fmt: skip
    assert [len(member.outputs) for member in result.members] == [1, 0, 1, 0]
    assert not rig.node.holds(lease.batch[3].slot.blob_id)


async def test_a_report_counts_inputs(rig: Rig) -> None:
    refs = await inputs(rig, b"a", b"b", b"c")
    spec = rig.gateway.phase("cat")
    many = [refs[place % 3] for place in range(REPORT_BATCH_MAX // 2 + 1)]
    for _ in range(2):
        await rig.gateway.offer(spec, batch=many)
    results = await rig.gateway.wait_results(2, 60)
    assert [len(result.members) for result in results] == [len(many)] * 2
    assert sum(1 for report in rig.gateway.reported if report.results) == 2
