"""The agent against a gateway on a real socket and a real volume; tasks are plain processes here."""

import asyncio
import errno
import hashlib
import os
import signal
from pathlib import Path

import pytest
from msgspec import structs

from jobs.agent.zones import builder
from jobs.agent.zones.environment import input_name
from jobs.model.wire import (
    AttemptRef,
    InputRef,
    LeaseReply,
    LeaseRequest,
    OutputSlot,
    ReportReply,
    ReportRequest,
    TaskKind,
    TaskLease,
    unpack,
)
from manta.core.errors import BlobDamaged, InvalidArgument
from manta.core.limits import (
    HAND_BACK_S,
    LEASE_S,
    PREFETCH_S,
    SMALL_BLOB_BYTES,
    STDERR_IN_ERROR_BYTES,
    STDERR_KEEP_BYTES,
)
from manta.core.names import new_id
from manta.core.peers import PeerSource
from storage_nodes.disk.reader import OpenBlob
from tests.support.agent import JOB, FakeGateway, PlainZone
from tests.support.agent_rig import Rig, rig, rig_on, storage_node
from tests.support.waiting import eventually

__all__ = ["rig"]

OTHER_JOB = "0123456789ab00000002"


@pytest.mark.invariant("S4")
async def test_a_reducer_whose_input_was_withdrawn_fails_for_good(rig: Rig) -> None:
    rig.gateway.inputs_denied = "The bucket of s3://bobs/a belongs to another account."
    await rig.gateway.offer(rig.gateway.phase("sleep 60", kind=TaskKind.REDUCE))
    (result,) = await rig.gateway.wait_results(1)
    assert result.failure is not None
    assert (result.failure.code, result.failure.retryable) == ("AccessDenied", False)
    assert result.failure.message.endswith(f"answered 403 to inputs: {rig.gateway.inputs_denied}")


@pytest.mark.invariant("O1")
async def test_a_poll_is_answered_well_within_a_lease(rig: Rig) -> None:
    """One that was asked before another gateway gave tasks, and died, is all that this node hears meanwhile."""
    await rig.gateway.wait(lambda: len(rig.gateway.leases) > 0)
    assert rig.gateway.leases[0].held == ()
    assert rig.gateway.leases[0].wait_s <= LEASE_S / 2


async def test_a_map_task_reads_its_object_and_its_stdout_becomes_the_output(rig: Rig) -> None:
    spec = rig.gateway.phase('wc -c; printf %s "$MANTA_INPUT_OBJECT"')
    await rig.gateway.offer(spec, await rig.input(b"call me ishmael"))
    (result,) = await rig.gateway.wait_results(1)
    assert result.failure is None
    assert await rig.output() == b"15\nlibrary/books/moby.txt"
    assert result.outputs[0].md5 == hashlib.md5(await rig.output()).digest()
    assert result.outputs[0].nodes == ("node-1",)
    assert result.usage.in_place_bytes == 15
    assert result.usage.moved_bytes == 0


async def test_a_reducer_gets_every_input_whole_from_two_nodes(rig: Rig, tmp_path: Path) -> None:
    blobs = [bytes([number]) * (1000 * number + 1) for number in range(30)] + [b"x" * 3_000_000]
    async with storage_node(tmp_path, "node-2") as other:
        refs = []
        for number, data in enumerate(blobs):
            holder = other if number % 2 else rig.node
            blob_id = await holder.put(data)
            refs.append(InputRef("job", f"0/{number}", len(data), blob_id, (holder.source(blob_id),)))
        refs.insert(3, InputRef("job", "empty", 0, None))
        rig.gateway.page_size = 7
        spec = rig.gateway.phase("cat", kind=TaskKind.REDUCE, reducers=2)
        lease = await rig.gateway.offer(spec, reducer=1, task=77)
        rig.gateway.inputs[77] = refs
        (result,) = await rig.gateway.wait_results(1)
    assert lease.reducer == 1
    assert result.failure is None
    assert await rig.output() == b"".join(blobs)
    assert result.usage.in_place_bytes == 0
    assert result.usage.shuffled_bytes == sum(len(data) for data in blobs[1::2])


async def test_an_empty_input_is_an_empty_stdin_and_an_empty_file(rig: Rig) -> None:
    spec = rig.gateway.phase('wc -c; wc -c < "$MANTA_INPUT_FILE"')
    await rig.gateway.offer(spec, await rig.input(b""))
    (result,) = await rig.gateway.wait_results(1)
    assert result.failure is None
    assert await rig.output() == b"0\n0\n"
    assert rig.sandbox.tasks[0].blob is None
    assert rig.sandbox.tasks[0].input_name == "moby.txt"


async def test_an_empty_stdout_is_an_output_without_a_blob(rig: Rig) -> None:
    await rig.gateway.offer(rig.gateway.phase("true"), await rig.input(b"x"))
    (result,) = await rig.gateway.wait_results(1)
    (output,) = result.outputs
    assert (output.blob_id, output.size, output.nodes) == (None, 0, ())
    assert output.md5 == hashlib.md5(b"").digest()


@pytest.mark.parametrize("size", [1, SMALL_BLOB_BYTES, SMALL_BLOB_BYTES + 1, 5_000_001])
async def test_every_byte_of_a_binary_output_arrives(rig: Rig, size: int) -> None:
    data = bytes(range(256)) * (size // 256) + bytes(range(size % 256))
    spec = rig.gateway.phase("cat")
    await rig.gateway.offer(spec, await rig.input(data))
    (result,) = await rig.gateway.wait_results(1)
    assert result.failure is None
    assert await rig.output() == data
    assert result.outputs[0].md5 == hashlib.md5(data).digest()


@pytest.mark.parametrize("size", [1, 100, 101])
async def test_a_small_output_goes_along_in_the_report_where_the_phase_says_so(rig: Rig, size: int) -> None:
    data = os.urandom(size)
    lease = await rig.gateway.offer(rig.gateway.phase("cat", inline_bytes=100), await rig.input(data))
    (result,) = await rig.gateway.wait_results(1)
    (made,) = result.outputs
    assert (made.inline, made.size, made.md5) == (data if size <= 100 else None, size, hashlib.md5(data).digest())
    assert rig.node.holds(lease.slot.blob_id) == (size > 100) == (made.nodes == ("node-1",))


async def test_a_reducer_reads_small_inputs_from_their_page_and_in_its_order(rig: Rig) -> None:
    refs = [
        InputRef("job", "0/0", 3, None, inline=b"one"),
        await rig.input(b"two"),
        InputRef("job", "0/2", 5, None, inline=b"three"),
    ]
    rig.gateway.inputs[5] = refs
    await rig.gateway.offer(rig.gateway.phase("cat", kind=TaskKind.REDUCE), task=5)
    (result,) = await rig.gateway.wait_results(1)
    assert await rig.output() == b"onetwothree"
    assert result.usage.shuffled_bytes == len("one" + "three"), "what lay here did not move"


async def test_a_task_that_closes_its_stdin_early_is_no_error(
    rig: Rig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with storage_node(tmp_path, "node-2") as other:
        blob_id = await other.put(b"line\n" * 2_000_000)
        rig.gateway.inputs[5] = [InputRef("job", "big", 10_000_000, blob_id, (other.source(blob_id),))]
        spec = rig.gateway.phase("head -n 2", kind=TaskKind.REDUCE)
        await rig.gateway.offer(spec, task=5)
        (result,) = await rig.gateway.wait_results(1)
    assert result.failure is None
    assert await rig.output() == b"line\nline\n"
    assert 0 < result.usage.shuffled_bytes < 10_000_000
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


async def test_a_reducer_without_inputs_runs(rig: Rig) -> None:
    spec = rig.gateway.phase("wc -c; echo $MANTA_REDUCER of $MANTA_REDUCERS", kind=TaskKind.REDUCE, reducers=4)
    await rig.gateway.offer(spec, reducer=3)
    await rig.gateway.wait_results(1)
    assert await rig.output() == b"0\n3 of 4\n"


async def test_a_reducer_reads_on_from_another_copy_when_a_peer_has_lost_its_own(rig: Rig, tmp_path: Path) -> None:
    data = os.urandom(3_000_000)
    async with storage_node(tmp_path, "node-2") as second, storage_node(tmp_path, "node-3") as third:
        blob_id = await second.put(data)
        writer = await third.store.open_put(blob_id, len(data))
        await writer.write(data)
        await writer.commit()
        path = Path(second.storage.volume.layout.blob(blob_id))
        path.chmod(0o644)
        with path.open("r+b") as file:
            file.seek(2_500_000)
            file.write(b"damage")
        gone = PeerSource("node-4", f"unix:{tmp_path}/nobody.sock", "token")
        ref = InputRef("job", "x", len(data), blob_id, (gone, second.source(blob_id), third.source(blob_id)))
        rig.gateway.inputs[5] = [ref]
        await rig.gateway.offer(rig.gateway.phase("cat", kind=TaskKind.REDUCE), task=5)
        (result,) = await rig.gateway.wait_results(1)
    assert result.failure is None
    assert await rig.output() == data
    assert result.usage.shuffled_bytes == len(data)


async def test_an_input_of_a_reducer_that_nobody_has_is_the_stores_fault(rig: Rig, tmp_path: Path) -> None:
    gone = PeerSource("node-4", f"unix:{tmp_path}/nobody.sock", "token")
    rig.gateway.inputs[5] = [InputRef("job", "x", 9, new_id(1), (gone,))]
    await rig.gateway.offer(rig.gateway.phase("cat", kind=TaskKind.REDUCE), task=5)
    (result,) = await rig.gateway.wait_results(1)
    assert result.failure is not None
    assert result.failure.code == "InternalError"
    assert result.failure.retryable


async def test_an_input_of_a_reducer_that_came_without_its_bytes_is_the_stores_fault(rig: Rig) -> None:
    """A gateway that an upgrade has left behind knows nothing of inputs that are kept in the catalog."""
    rig.gateway.inputs[5] = [InputRef("job", "0/0", 3, None), await rig.input(b"two")]
    await rig.gateway.offer(rig.gateway.phase("cat", kind=TaskKind.REDUCE), task=5)
    (result,) = await rig.gateway.wait_results(1)
    assert result.failure is not None
    assert result.failure.retryable


async def ranged(rig: Rig, data: bytes, *ranges: tuple[int, int]) -> list[InputRef]:
    whole = await rig.input(data)
    return [structs.replace(whole, range=one) for one in ranges]


async def test_a_task_of_a_range_reads_whole_lines_and_counts_just_those(rig: Rig) -> None:
    long_line = b"x" * 70_000
    data = b"one\ntwo\n" + long_line + b"\nthree"
    spec = rig.gateway.phase('printf "%s " "$MANTA_INPUT_RANGE"; wc -c "$MANTA_INPUT_FILE" | cut -d" " -f1; cat')
    refs = await ranged(rig, data, (0, 5), (5, 10), (10, len(data)))
    for ref in refs:
        await rig.gateway.offer(spec, ref)
    results = sorted(await rig.gateway.wait_results(3), key=lambda one: one.attempt.task_id)
    order = [rig.gateway.results.index(one) for one in results]
    end = 9 + len(long_line)
    size = len(data)
    assert [await rig.output(place) for place in order] == [
        f"0-8 {size}\n".encode() + data[:8],
        f"8-{end} {size}\n".encode() + data[8:end],
        f"{end}-{size} {size}\n".encode() + data[end:],
    ]
    assert [one.usage.in_place_bytes for one in results] == [8, end - 8, size - end]


async def test_ranges_that_begin_together_check_their_object_once(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    data = b"line\n" * 500_000
    reader = rig.node.storage.volume.reader
    opened, blocks = reader.open_verified, []

    def counted(blob_id: str, start: int, length: int) -> OpenBlob:
        blocks.append((start, length))
        return opened(blob_id, start, length)

    monkeypatch.setattr(reader, "open_verified", counted)
    (ref,) = await ranged(rig, data, (0, len(data)))
    paths = await asyncio.gather(*(rig.node.store.checked(ref.blob_id or "", ref.size) for _ in range(5)))
    assert len(set(paths)) == 1
    assert blocks == [(0, len(data))]
    path = Path(rig.node.storage.volume.layout.blob(ref.blob_id or ""))
    path.chmod(0o644)
    path.write_bytes(b"LINE\n" * 500_000)
    found = await asyncio.gather(
        *(rig.node.store.checked(ref.blob_id or "", ref.size) for _ in range(3)), return_exceptions=True
    )
    assert all(isinstance(one, BlobDamaged) for one in found)


async def test_a_range_in_which_no_line_begins_is_not_run(rig: Rig) -> None:
    (ref,) = await ranged(rig, b"a" * 100, (40, 80))
    await rig.gateway.offer(rig.gateway.phase("false"), ref)
    (result,) = await rig.gateway.wait_results(1)
    assert (result.failure, result.outputs, result.usage.in_place_bytes) == (None, (), 0)
    assert rig.sandbox.tasks == []


@pytest.mark.invariant("J5", "D4")
async def test_a_damaged_input_is_never_given_to_a_task(rig: Rig) -> None:
    """J5, D4: the attempt fails retryably, so that another holder runs the task; nothing is fetched from elsewhere."""
    ref = await rig.input(b"good bytes")
    path = Path(rig.node.storage.volume.layout.blob(ref.blob_id or ""))
    path.chmod(0o644)
    path.write_bytes(b"evil bytes")
    await rig.gateway.offer(rig.gateway.phase("cat"), ref)
    (result,) = await rig.gateway.wait_results(1)
    assert result.failure is not None
    assert result.failure.retryable
    assert rig.sandbox.tasks == []
    assert not rig.node.holds(ref.blob_id or "")


async def test_a_blob_that_is_not_here_is_not_read_from_a_peer_by_a_map_task(rig: Rig, tmp_path: Path) -> None:
    async with storage_node(tmp_path, "node-2") as other:
        blob_id = await other.put(b"elsewhere")
        ref = InputRef("library", "k", 9, blob_id, (other.source(blob_id),))
        await rig.gateway.offer(rig.gateway.phase("cat"), ref)
        (result,) = await rig.gateway.wait_results(1)
    assert result.failure is not None
    assert result.failure.retryable
    assert result.usage.in_place_bytes == result.usage.moved_bytes == 0


@pytest.mark.parametrize(
    ("command", "status", "number", "says"),
    [
        ("exit 3", 3, None, "exit status 3"),
        ("exec no-such-program-here", 127, None, "command not found"),
        ("kill -TERM $$", None, signal.SIGTERM, "SIGTERM"),
    ],
)
async def test_the_users_failures_are_named(
    rig: Rig, command: str, status: int | None, number: int | None, says: str
) -> None:
    await rig.gateway.offer(rig.gateway.phase(f"echo out; echo why >&2; {command}"), await rig.input(b"x"))
    (result,) = await rig.gateway.wait_results(1)
    assert result.failure is not None
    assert (result.failure.code, result.failure.retryable) == ("UserTaskError", False)
    assert (result.failure.exit_status, result.failure.signal) == (status, number)
    assert says in result.failure.message
    assert b"why" in result.stderr
    assert result.outputs == ()


@pytest.mark.invariant("S5")
async def test_a_timeout_is_named(rig: Rig) -> None:
    """S5."""
    await rig.gateway.offer(rig.gateway.phase("sleep 60", timeout_s=0.2), await rig.input(b"x"))
    (result,) = await rig.gateway.wait_results(1)
    assert result.failure is not None
    assert "timeout of 0.2 s" in result.failure.message


@pytest.mark.invariant("O2")
async def test_stderr_is_kept_on_the_node_with_a_bound(rig: Rig) -> None:
    """O2: the last 64 KiB on the node, the last 4 KiB in the record of a failure."""
    noise = "seq 100000 >&2"
    failed = await rig.gateway.offer(rig.gateway.phase(f"{noise}; exit 1"), await rig.input(b"x"))
    fine = await rig.gateway.offer(rig.gateway.phase("echo fine >&2", phase=1), await rig.input(b"x"))
    quiet = await rig.gateway.offer(rig.gateway.phase("true", phase=2), await rig.input(b"x"))
    results = {result.attempt.task_id: result for result in await rig.gateway.wait_results(3)}
    kept = rig.agent.stderr.read(JOB, failed.task_id).data
    whole = b"".join(b"%d\n" % number for number in range(1, 100001))
    assert kept == whole[-STDERR_KEEP_BYTES:]
    assert results[failed.task_id].stderr == whole[-STDERR_IN_ERROR_BYTES:]
    assert rig.agent.stderr.read(JOB, fine.task_id).data == b"fine\n"
    assert results[fine.task_id].stderr == b""
    assert rig.agent.stderr.read(JOB, quiet.task_id).data == b""


@pytest.mark.invariant("J2", "J6")
async def test_a_lost_attempt_is_killed_and_nothing_is_reported(rig: Rig) -> None:
    """J2, J6: the lease is gone, so is every process; the next task runs in the same zone."""
    spec = rig.gateway.phase("echo $$ >&2; sleep 600 & sleep 600")
    lease = await rig.gateway.offer(spec, await rig.input(b"x"))
    pid = await _said_pid(rig, lease)
    await rig.gateway.lose(lease)
    await _ended(pid)
    await rig.gateway.offer(rig.gateway.phase("echo next", phase=1), await rig.input(b"x"))
    (result,) = await rig.gateway.wait_results(1)
    assert result.attempt.task_id != lease.task_id
    assert not rig.node.holds(lease.slot.blob_id)


@pytest.mark.invariant("J6")
async def test_a_lost_attempt_that_is_long_in_ending_is_named_no_more(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gateway that is told of it would answer at once, over and over."""
    may_end, kill = asyncio.Event(), PlainZone.kill

    async def kill_late(zone: PlainZone) -> None:
        await may_end.wait()
        await kill(zone)

    monkeypatch.setattr(PlainZone, "kill", kill_late)
    lease = await rig.gateway.offer(rig.gateway.phase("echo $$ >&2; sleep 600"), await rig.input(b"x"))
    await _said_pid(rig, lease)
    await rig.gateway.lose(lease)
    try:
        await eventually(lambda: rig.agent.status()["tasks_lost"] == 1)
        before = len(rig.gateway.leases)
        await rig.gateway.wait(lambda: len(rig.gateway.leases) > before)
        assert rig.agent.status()["running"] == 1, "it has not ended"
        assert all(poll.held == () for poll in rig.gateway.leases[before:])
    finally:
        may_end.set()


@pytest.mark.invariant("J8")
async def test_polls_for_the_lane_in_reserve_name_what_arrived(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer gets lost: the next poll names what the one before brought, and follows though no lane is wanted."""
    spec = rig.gateway.phase("sleep 600")
    busy = [await rig.gateway.offer(spec, await rig.input(b"x")) for _ in range(2)]
    polls, answer = list[LeaseRequest](), rig.gateway._lease
    brought: list[TaskLease] = []

    async def lose_second(body: bytes) -> LeaseReply | None:
        request = unpack(body, LeaseRequest)
        if request.reserve:
            polls.append(request)
        reply = await answer(body)
        if not request.reserve or not reply.tasks:
            return reply
        brought.extend(reply.tasks)
        if len(brought) != 2:
            return reply
        for lease in busy:
            await rig.gateway.lose(lease)
        await eventually(lambda: rig.agent.status()["running"] == 0)
        return None

    monkeypatch.setattr(rig.gateway, "_lease", lose_second)
    await eventually(lambda: polls)
    for phase in (1, 2):
        await rig.gateway.offer(rig.gateway.phase("true", phase=phase, job=OTHER_JOB), await rig.input(b"x"))
        await eventually(lambda: len(brought) == phase)  # noqa: B023 - it is awaited in its own turn
    await eventually(lambda: polls[-1].arrived and polls[-1].free_lanes == 0)
    assert polls[-1].arrived == (_ref(brought[0]),)


async def test_what_ran_in_the_lane_in_reserve_does_not_tell_how_long_tasks_take(rig: Rig, tmp_path: Path) -> None:
    """Or a small job beside a big one would make its node hold many of the big one's long tasks."""
    wait = f"until [ -e {tmp_path}/go ]; do sleep 0.05; done; sleep {2.1 * PREFETCH_S}"
    spec = rig.gateway.phase(wait)
    for _ in range(2):
        await rig.gateway.offer(spec, await rig.input(b"x"))
    await eventually(lambda: rig.agent.status()["running"] == 2)
    await rig.gateway.offer(rig.gateway.phase("true", job=OTHER_JOB), await rig.input(b"x"))
    await rig.gateway.wait_results(1)
    (tmp_path / "go").touch()
    await rig.gateway.wait_results(3)
    await rig.gateway.wait(lambda: rig.gateway.leases[-1].idle_lanes == 2)
    assert rig.gateway.leases[-1].free_lanes == 2, "none ahead"


async def test_a_lost_attempt_that_waits_never_runs(rig: Rig) -> None:
    spec = rig.gateway.phase("cat; sleep 600")
    running = [await rig.gateway.offer(spec, await rig.input(b"x")) for _ in range(2)]
    await rig.gateway.wait(lambda: len(rig.gateway.leases) > 1)
    waiting = await rig.gateway.offer(rig.gateway.phase("echo never", phase=1), await rig.input(b"x"))
    await rig.gateway.wait(lambda: _ref(waiting) in rig.gateway.leases[-1].held)
    for lease in (waiting, *running):
        await rig.gateway.lose(lease)
    await rig.gateway.wait(lambda: rig.gateway.leases[-1].held == ())
    assert all(task.command != "echo never" for task in rig.sandbox.tasks)
    assert rig.gateway.results == []


async def test_what_there_is_no_room_for_is_handed_back_at_once(rig: Rig) -> None:
    """Or whoever waits for it would wait for the next poll of a node that wants no tasks."""
    await rig.gateway.stop()
    spec, read = rig.gateway.phase("sleep 600"), await rig.input(b"x")
    offered = {_ref(await rig.gateway.offer(spec, read)) for _ in range(20)}
    rig.gateway.too_many = len(offered)
    await rig.gateway.start()
    await rig.gateway.wait(lambda: any(poll.returned for poll in rig.gateway.leases))
    poll = next(poll for poll in rig.gateway.leases if poll.returned)
    assert {*poll.returned, *poll.held} == offered
    assert poll.held
    assert not set(poll.returned) & set(poll.held)


@pytest.mark.invariant("J6")
async def test_without_any_gateway_for_the_time_of_a_lease_tasks_are_ended(rig: Rig) -> None:
    """J6: by the monotonic clock; afterwards the agent works again."""
    lease = await rig.gateway.offer(rig.gateway.phase("echo $$ >&2; sleep 600"), await rig.input(b"x"))
    pid = await _said_pid(rig, lease)
    await rig.gateway.stop()
    rig.clock.ahead_s += LEASE_S + 1
    await _ended(pid)
    await rig.gateway.start()
    await rig.gateway.wait(lambda: any(poll.returned for poll in rig.gateway.leases))
    told = next(poll for poll in rig.gateway.leases if poll.returned)
    assert told.returned == (_ref(lease),), "it is offered to others at once"
    assert _ref(lease) in told.started
    await rig.gateway.offer(rig.gateway.phase("echo again", phase=1), await rig.input(b"x"))
    await rig.gateway.wait_results(1)
    assert await rig.output() == b"again\n"


@pytest.mark.invariant("J4")
async def test_results_outlive_a_restart_of_the_gateway(rig: Rig) -> None:
    """J4: reports are repeated until acknowledged, and committed once."""
    rig.gateway.drop_reports = 2
    spec = rig.gateway.phase("echo $$ >&2; read line; sleep 0.2; echo done")
    lease = await rig.gateway.offer(spec, await rig.input(b"go\n"))
    pid = await _said_pid(rig, lease)
    await rig.gateway.stop()
    await _ended(pid)
    await rig.gateway.start()
    results = await rig.gateway.wait_results(1)
    assert [result.attempt for result in results] == [_ref(lease)]
    assert await rig.output() == b"done\n"
    assert sum(1 for report in rig.gateway.reported if report.results) >= 3
    await rig.gateway.wait(lambda: rig.gateway.leases[-1].held == ())


async def test_unreported_results_are_named_as_held(rig: Rig) -> None:
    rig.gateway.drop_reports = 1_000
    lease = await rig.gateway.offer(rig.gateway.phase("true"), await rig.input(b"x"))
    await rig.gateway.wait(
        lambda: sum(1 for one in rig.gateway.reported if one.results) > 1 and _ref(lease) in rig.gateway.leases[-1].held
    )
    rig.gateway.drop_reports = 0
    await rig.gateway.wait_results(1)


async def test_outputs_go_to_further_nodes_before_the_report(rig: Rig, tmp_path: Path) -> None:
    async with storage_node(tmp_path, "node-2") as other:
        rig.gateway.copies = lambda blob_id: (other.source(blob_id, "PUT"),)
        big = await rig.input(os.urandom(1_000_000))
        await rig.gateway.offer(rig.gateway.phase("cat"), big)
        await rig.gateway.offer(rig.gateway.phase("echo small", phase=1), await rig.input(b"x"))
        for result in await rig.gateway.wait_results(2):
            (output,) = result.outputs
            assert output.nodes == ("node-1", "node-2")
            assert output.blob_id is not None
            assert await other.get(output.blob_id, output.size) == await rig.node.get(output.blob_id, output.size)


@pytest.mark.parametrize("command", ["echo small", "head -c 600000 /dev/zero"])
async def test_a_dead_peer_is_replaced_by_another(rig: Rig, tmp_path: Path, command: str) -> None:
    async with storage_node(tmp_path, "node-3") as other:
        dead = PeerSource("node-2", f"unix:{tmp_path}/nobody.sock", "token")
        rig.gateway.copies = lambda _blob_id: (dead,)
        fresh = new_id(7)
        rig.gateway.new_slots.append(OutputSlot(fresh, (other.source(fresh, "PUT"),)))
        lease = await rig.gateway.offer(rig.gateway.phase(command), await rig.input(b"x"))
        (result,) = await rig.gateway.wait_results(1)
        (output,) = result.outputs
        assert (output.blob_id, output.nodes) == (fresh, ("node-1", "node-3"))
        assert rig.gateway.slot_requests[0].avoid == ("node-2",)
        assert await other.get(fresh, output.size) == await rig.node.get(fresh, output.size)
        assert not rig.node.holds(lease.slot.blob_id)
        assert result.usage.copied_bytes == output.size, "nothing was sent to the dead one"


async def test_a_stale_result_takes_its_output_with_it(rig: Rig) -> None:
    lease = await rig.gateway.offer(rig.gateway.phase("echo out"), await rig.input(b"x"))
    rig.gateway.lost_unheard.add(_ref(lease))
    await rig.gateway.wait(lambda: rig.gateway.stale > 0)
    await eventually(lambda: not rig.node.holds(lease.slot.blob_id))
    assert rig.gateway.results == []


async def test_a_stale_output_that_cannot_be_removed_does_not_end_the_agent(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a disk that takes no writes any more, while what lies on it can still be read."""

    async def broken(_: object) -> None:
        removing.set()
        raise OSError(errno.EROFS, "Read-only file system")

    removing = asyncio.Event()
    failing = asyncio.create_task(rig.agent.failed())
    monkeypatch.setattr(rig.node.store, "delete", broken)
    spec = rig.gateway.phase("echo out")
    rig.gateway.lost_unheard.add(_ref(await rig.gateway.offer(spec, await rig.input(b"x"))))
    await removing.wait()
    await rig.gateway.offer(spec, await rig.input(b"x"))
    (result,) = await rig.gateway.wait_results(1)
    assert result.failure is None
    assert not failing.done()
    failing.cancel()
    await asyncio.wait([failing])


async def test_zones_are_reused_within_a_phase_and_never_across(rig: Rig) -> None:
    for phase in range(2):
        spec = rig.gateway.phase("true", phase=phase, tenant=f"tenant-{phase}")
        for _ in range(10):
            await rig.gateway.offer(spec, await rig.input(b"x"))
    await rig.gateway.wait_results(20)
    per_tenant = [sum(zone.tenant == f"tenant-{phase}" for zone in rig.sandbox.built) for phase in range(2)]
    assert all(1 <= count <= 2 for count in per_tenant)


async def test_a_failing_init_fails_every_task_of_the_phase_and_no_other(rig: Rig) -> None:
    rig.sandbox.init_fails.add("make tools")
    bad = rig.gateway.phase("true", init="make tools")
    for _ in range(5):
        await rig.gateway.offer(bad, await rig.input(b"x"))
    await rig.gateway.offer(rig.gateway.phase("true", phase=1), await rig.input(b"x"))
    results = await rig.gateway.wait_results(6)
    failures = [result.failure for result in results if result.failure is not None]
    assert [failure.code for failure in failures] == ["TaskInitError"] * 5
    assert all("make tools" in failure.message and not failure.retryable for failure in failures)
    assert len(rig.sandbox.built) <= 3


async def test_a_broken_zone_is_rebuilt_and_its_attempt_tried_again(rig: Rig) -> None:
    rig.sandbox.break_next = True
    spec = rig.gateway.phase("echo fine")
    lease = await rig.gateway.offer(spec, await rig.input(b"x"))
    (result,) = await rig.gateway.wait_results(1)
    assert result.failure is not None
    assert result.failure.retryable
    await rig.gateway.offer(spec, await rig.input(b"x"), task=lease.task_id, attempt=2)
    results = await rig.gateway.wait_results(2)
    assert results[1].failure is None
    assert len(rig.sandbox.built) == 2


@pytest.mark.parametrize("error", [OSError(24, "Too many open files"), RuntimeError("nobody foresaw this")])
async def test_what_nobody_foresaw_ends_one_attempt_and_not_the_agent(rig: Rig, error: Exception) -> None:
    rig.sandbox.fail_next = error
    spec = rig.gateway.phase("echo fine")
    await rig.gateway.offer(spec, await rig.input(b"x"))
    (result,) = await rig.gateway.wait_results(1)
    assert result.failure is not None
    assert (result.failure.code, result.failure.retryable) == ("InternalError", True)
    await rig.gateway.offer(spec, await rig.input(b"x"))
    results = await rig.gateway.wait_results(2)
    assert results[1].failure is None
    await rig.gateway.wait(lambda: rig.gateway.leases[-1].held == ())


async def test_what_no_program_can_be_handed_is_told_and_not_tried_again(rig: Rig) -> None:
    """An environment that is too long would be so anywhere; the zone is as good as before."""
    rig.sandbox.fail_next = InvalidArgument("The command and its environment exceed 9 bytes: shorten them.")
    spec = rig.gateway.phase("echo fine")
    await rig.gateway.offer(spec, await rig.input(b"x"))
    (result,) = await rig.gateway.wait_results(1)
    assert result.failure is not None
    assert (result.failure.code, result.failure.retryable) == ("TaskInitError", False)
    assert "shorten them" in result.failure.message
    await rig.gateway.offer(spec, await rig.input(b"x"))
    results = await rig.gateway.wait_results(2)
    assert results[1].failure is None
    assert len(rig.sandbox.built) == 1


async def test_an_init_that_no_program_can_be_handed_is_told(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refused(_: object) -> None:
        raise InvalidArgument("The command and its environment exceed 9 bytes: shorten them.")

    monkeypatch.setattr(rig.sandbox, "open_zone", refused)
    await rig.gateway.offer(rig.gateway.phase("echo fine", init="true"), await rig.input(b"x"))
    (result,) = await rig.gateway.wait_results(1)
    assert result.failure is not None
    assert (result.failure.code, result.failure.retryable) == ("TaskInitError", False)


async def test_a_slow_zone_holds_no_other_job_up(rig: Rig) -> None:
    rig.sandbox.hold_builds = asyncio.Event()
    rig.sandbox.held_job = JOB
    slow = rig.gateway.phase("echo slow")
    for _ in range(4):
        await rig.gateway.offer(slow, await rig.input(b"x"))
    await rig.gateway.wait(lambda: len(rig.gateway.leases) > 1)
    await rig.gateway.offer(rig.gateway.phase("echo quick", job=OTHER_JOB), await rig.input(b"x"))
    (first,) = await rig.gateway.wait_results(1)
    assert first.attempt.job_id == OTHER_JOB
    rig.sandbox.hold_builds.set()
    await rig.gateway.wait_results(5)


@pytest.mark.invariant("J8")
async def test_slow_zones_of_one_account_leave_room_for_anothers(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builder, "ZONE_SLOW_BUILDS_MAX", 3)
    monkeypatch.setattr(builder, "ZONE_ACCOUNT_BUILDS_MAX", 2)
    rig.sandbox.hold_builds = asyncio.Event()
    rig.sandbox.held_job = slow = "0123456789ab1"
    for number in range(4):
        await rig.gateway.offer(rig.gateway.phase("echo slow", job=f"{slow}{number:07}"), await rig.input(b"x"))
    await rig.gateway.wait(lambda: rig.agent.status()["waiting"] == 4)
    quick = rig.gateway.phase("echo quick", job=OTHER_JOB, tenant="tenant-2")
    await rig.gateway.offer(quick, await rig.input(b"x"))
    (first,) = await rig.gateway.wait_results(1)
    assert first.attempt.job_id == OTHER_JOB
    rig.sandbox.hold_builds.set()
    await rig.gateway.wait_results(5)


async def test_the_zones_of_an_ended_job_are_closed(rig: Rig) -> None:
    await rig.gateway.offer(rig.gateway.phase("true"), await rig.input(b"x"))
    await rig.gateway.wait_results(1)
    assert rig.sandbox.open_zones
    await rig.gateway.end_job(JOB)
    await eventually(lambda: not rig.sandbox.open_zones)


async def test_without_a_sandbox_tasks_are_refused_with_the_reason(tmp_path: Path) -> None:
    async with rig_on(tmp_path, unavailable="bubblewrap is missing: install it.") as rig:
        await rig.gateway.offer(rig.gateway.phase("true"), await rig.input(b"x"))
        (result,) = await rig.gateway.wait_results(1)
        assert result.failure is not None
        assert result.failure.message == "bubblewrap is missing: install it."
        assert rig.sandbox.built == []
        assert rig.agent.status()["refusing"] == "bubblewrap is missing: install it."


async def test_what_runs_is_given_back_at_the_end(tmp_path: Path) -> None:
    async with rig_on(tmp_path) as rig:
        lease = await rig.gateway.offer(rig.gateway.phase("echo $$ >&2; sleep 600"), await rig.input(b"x"))
        pid = await _said_pid(rig, lease)
        epoch = rig.gateway.leases[-1].epoch
        await rig.agent.close()
        assert rig.gateway.results == []
        assert rig.gateway.leases[-1].held == ()
        assert rig.gateway.leases[-1].epoch != epoch
        await _ended(pid)


async def test_two_gateways_are_both_asked(tmp_path: Path) -> None:
    second = FakeGateway(f"unix:{tmp_path}/second.sock")
    await second.start()
    try:
        async with rig_on(tmp_path, more_gateways=(second.address,)) as rig:
            await second.offer(second.phase("echo second", phase=1), await rig.input(b"x"), task=50)
            await rig.gateway.offer(rig.gateway.phase("echo first"), await rig.input(b"x"))
            await eventually(lambda: len(rig.gateway.results) + len(second.results) >= 2)
    finally:
        await second.stop()


async def test_names_of_inputs_never_name_a_path(rig: Rig) -> None:
    keys = ["a b.txt", "dir/ü-\n-x.csv", "x" * 1024, "a/../..", "/", "-rf", "%41"]
    for key in keys:
        spec = rig.gateway.phase('printf %s "$MANTA_INPUT_OBJECT"')
        await rig.gateway.offer(spec, await rig.input(b"x", key))
    results = await rig.gateway.wait_results(len(keys))
    said = [await rig.output(index) for index in range(len(results))]
    assert sorted(said) == sorted(f"library/{key}".encode() for key in keys)
    assert {task.input_name for task in rig.sandbox.tasks} == {input_name(key) for key in keys}


def _ref(lease: TaskLease) -> AttemptRef:
    return AttemptRef(lease.job_id, lease.task_id, lease.attempt)


async def _said_pid(rig: Rig, lease: TaskLease) -> int:
    """The pid a running task wrote to stderr: what it says can be read while it runs."""
    async with asyncio.timeout(20):
        while not (said := rig.agent.stderr.read(lease.job_id, lease.task_id).data).endswith(b"\n"):
            await asyncio.sleep(0.01)
    return int(said)


async def _ended(pid: int) -> None:
    await eventually(lambda: not Path(f"/proc/{pid}").exists())


def _handed_back(rig: Rig) -> set[AttemptRef]:
    calls: list[LeaseRequest | ReportRequest] = [*rig.gateway.leases, *rig.gateway.reported]
    return {ref for call in calls for ref in call.returned}


async def test_tasks_that_wait_behind_long_ones_are_handed_back(rig: Rig) -> None:
    spec = rig.gateway.phase("sleep 600")
    leases = [await rig.gateway.offer(spec, await rig.input(b"x")) for _ in range(4)]
    await rig.gateway.wait(lambda: rig.agent.status()["waiting"] == 2)
    rig.clock.ahead_s += HAND_BACK_S + 1
    await eventually(lambda: len(_handed_back(rig)) == 2)
    polls, seen = rig.gateway.leases, len(rig.gateway.leases)
    await rig.gateway.wait(lambda: any(poll.started for poll in polls[seen:]))
    poll = next(poll for poll in polls[seen:] if poll.started)
    assert {*poll.started, *_handed_back(rig)} == {AttemptRef(one.job_id, one.task_id, one.attempt) for one in leases}
    assert poll.free_lanes == 0, "no more is taken in before a lane is free"


async def test_what_runs_at_the_end_of_the_agent_is_nobodys_fault(tmp_path: Path) -> None:
    async with rig_on(tmp_path) as rig:
        lease = await rig.gateway.offer(rig.gateway.phase("echo $$ >&2; sleep 600"), await rig.input(b"x"))
        await _said_pid(rig, lease)
        await rig.agent.close()
        last = rig.gateway.leases[-1]
        assert [ref.task_id for ref in last.returned] == [lease.task_id]
        assert last.started == last.returned, "it had begun"


async def test_at_its_end_an_agent_reports_then_hands_back_and_then_tells_what_it_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of what it stopped before for want of word from any gateway, too."""
    async with rig_on(tmp_path) as rig:
        leases = [
            await rig.gateway.offer(rig.gateway.phase(command, phase=phase), await rig.input(b"x"))
            for phase, command in enumerate(
                ("echo $$ >&2; sleep 600", f"until [ -e {tmp_path}/go ]; do sleep 0.05; done")
            )
        ]
        pid = await _said_pid(rig, leases[0])
        await eventually(lambda: rig.agent.status()["running"] == 2)
        heard = _answer_only_the_end(rig, monkeypatch)
        (tmp_path / "go").touch()
        await eventually(lambda: rig.agent.status()["unreported"] == 1)
        rig.clock.ahead_s += LEASE_S + 1
        await _ended(pid)
        await eventually(lambda: not rig.agent._lanes.attempts())
        await rig.agent.close()
        results, lease, told = heard[-3:]
    stopped, done = map(_ref, leases)
    assert isinstance(results, ReportRequest)
    assert [one.attempt for one in results.results] == [done]
    assert isinstance(lease, LeaseRequest)
    assert (set(lease.returned), lease.started, lease.ends) == ({done, stopped}, (stopped,), True)
    assert isinstance(told, ReportRequest)
    assert [one.attempt for one in told.stopped] == [stopped]


async def test_what_no_gateway_heard_that_it_is_handed_back_is_so_at_the_end_of_the_agent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with rig_on(tmp_path) as rig:
        rig.sandbox.hold_builds, rig.sandbox.held_job = asyncio.Event(), JOB
        lease = await rig.gateway.offer(rig.gateway.phase("true"), await rig.input(b"x"))
        await eventually(lambda: rig.agent.status()["waiting"] == 1)
        heard = _answer_only_the_end(rig, monkeypatch)
        rig.clock.ahead_s += LEASE_S + 1
        await eventually(lambda: rig.agent.status()["waiting"] == 0)
        await rig.agent.close()
        assert [one.returned for one in heard if isinstance(one, LeaseRequest)] == [(_ref(lease),)]


def _answer_only_the_end(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> list[LeaseRequest | ReportRequest]:
    """What the agent says when it has begun to end; what it said before is not answered."""
    heard: list[LeaseRequest | ReportRequest] = []
    lease, report, close, ends = rig.gateway._lease, rig.gateway._report, rig.agent.close, False

    async def on_lease(body: bytes) -> LeaseReply | None:
        heard.extend([unpack(body, LeaseRequest)] if ends else [])
        return await lease(body) if ends else None

    async def on_report(body: bytes) -> ReportReply | None:
        heard.extend([unpack(body, ReportRequest)] if ends else [])
        return await report(body) if ends else None

    async def end() -> None:
        nonlocal ends
        ends = True
        await close()

    monkeypatch.setattr(rig.gateway, "_lease", on_lease)
    monkeypatch.setattr(rig.gateway, "_report", on_report)
    monkeypatch.setattr(rig.agent, "close", end)
    return heard
