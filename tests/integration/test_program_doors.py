"""Doors and the calls behind them: whose task a program is, what it may fill, what it may say."""

import asyncio
import contextlib
import errno
import socket
from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from jobs.agent.output_limit import OutputMeter
from jobs.agent.streams.inputs import ReduceInputs
from jobs.agent.streams.outputs import Outputs
from jobs.agent.streams.task_outputs import TaskOutputs
from jobs.agent.tasks import program_calls
from jobs.agent.tasks.program_calls import ProgramCalls
from jobs.agent.zones.doors import Door
from jobs.model.questions import NamedObject, ObjectsReply, SlotsReply
from jobs.model.wire import AttemptRef, OutputSlot
from jobs.programs.protocol import FRAME_HEAD_BYTES, FRAME_MAX_BYTES, Kind, decode_head, encode_frame, join_fields
from manta.core.errors import Conflict, InsufficientStorage
from manta.core.limits import PROGRAM_CONNECTIONS_MAX, TASK_OUTPUT_DISK_FRACTION
from manta.core.names import new_id
from storage_nodes.api import Stored
from storage_nodes.disk.space import Space
from tests.support.agent_rig import Node, storage_node
from tests.support.waiting import turns_of_others

ATTEMPT = AttemptRef("0123456789ab00000001", 1, 1)


class Gateway:
    """Answers slots and objects; `stale` refuses everything, as for an attempt that is not current any more."""

    def __init__(self) -> None:
        self.stale = False
        self.calls: list[str] = []

    async def call(self, name: str, message: Any, kind: type[Any]) -> Any:
        self.calls.append(name)
        if self.stale:
            raise Conflict("The gateway at unix:/secret/path answered 409.")
        if kind is SlotsReply:
            return SlotsReply(tuple(OutputSlot(new_id(1)) for _ in range(message.count)))
        assert kind is ObjectsReply
        return ObjectsReply(tuple(NamedObject() for _ in message.names))


class Rig:
    """A door with one attempt's calls behind it."""

    def __init__(self, node: Node, folder: Path, max_bytes: int) -> None:
        free = Space(0, int(max_bytes / TASK_OUTPUT_DISK_FRACTION))
        self.meter = OutputMeter(lambda: free, TASK_OUTPUT_DISK_FRACTION)
        self.node = node
        self.gateway = Gateway()
        self.killed = asyncio.Event()
        outputs = Outputs("node-1", node.store, None, self.gateway)  # type: ignore[arg-type]
        self.outputs = TaskOutputs("node-1", ATTEMPT, node.store, outputs, self.gateway, self.meter, 5)
        inputs = ReduceInputs("node-1", node.store, None, self.gateway)  # type: ignore[arg-type]
        self.calls = ProgramCalls("node-1", ATTEMPT, self.outputs, inputs, self.gateway, self.killed.set)
        self.door = Door(folder / "door")

    async def say(self, *frames: bytes) -> tuple[Kind, str] | None:
        """The agent's last word; None when it hung up without one."""
        reader, writer = await asyncio.open_unix_connection(self.door.path)
        try:
            with contextlib.suppress(ConnectionError):
                writer.write(b"".join(frames))
                await writer.drain()
            head = await reader.readexactly(FRAME_HEAD_BYTES)
            kind, length = decode_head(head)
            return kind, (await reader.readexactly(length)).decode()
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with storage_node(tmp_path, "node-1") as node:
        rig = Rig(node, tmp_path, max_bytes=1_000_000)
        rig.door.admit(rig.calls.serve)
        try:
            yield rig
        finally:
            await rig.door.shut()
            rig.door.close()


def call(*fields: str) -> bytes:
    return encode_frame(Kind.CALL, join_fields(fields))


def data(*parts: bytes) -> bytes:
    return b"".join(encode_frame(Kind.DATA, part) for part in parts) + encode_frame(Kind.END)


async def refused(rig: Rig, *frames: bytes) -> str:
    answer = await rig.say(*frames)
    assert answer is not None
    assert answer[0] is Kind.FAILED
    return answer[1]


async def test_an_output_counts_when_it_came_whole(rig: Rig) -> None:
    assert await rig.say(call("output"), data(b"ab", b"c")) == (Kind.DONE, "")
    assert await rig.say(call("output", "reducer=3"), data()) == (Kind.DONE, "")
    _, writer = await asyncio.open_unix_connection(rig.door.path)
    writer.write(call("output") + encode_frame(Kind.DATA, b"never ended"))
    writer.close()
    await writer.wait_closed()
    stored = await rig.outputs.store()
    assert [(output.size, output.reducer) for output in stored] == [(3, None), (0, 3)]
    assert rig.outputs.replaces_stdout
    assert await rig.node.get(stored[0].blob_id or "", 3) == b"abc"


async def test_what_a_dead_task_left_at_the_door_is_turned_away(rig: Rig) -> None:
    """S4: words queued by one attempt never reach the next one of the zone."""
    await rig.door.shut()
    late = socket.socket(socket.AF_UNIX)
    late.connect(str(rig.door.path))
    late.sendall(call("output", "name=bucket/key") + data(b"of a dead task"))
    late.close()
    rig.door.admit(rig.calls.serve)
    assert await rig.say(call("output"), data(b"x")) == (Kind.DONE, "")
    assert [output.size for output in await rig.outputs.store()] == [1]
    assert "objects" not in rig.gateway.calls


async def test_nobody_is_served_between_tasks(rig: Rig) -> None:
    await rig.door.shut()
    assert await rig.say(call("output"), data(b"x")) is None


@pytest.mark.invariant("S5")
async def test_endless_output_ends_the_task(rig: Rig) -> None:
    """S5: the outputs of a task are bounded together."""
    block = b"x" * FRAME_MAX_BYTES
    answer = await rig.say(call("output"), *[encode_frame(Kind.DATA, block)] * 40)
    assert rig.meter.exceeded is not None
    assert rig.killed.is_set()
    assert answer is None or answer[0] is Kind.FAILED
    await rig.outputs.discard()


async def test_outputs_are_bounded_in_number_and_named_once(rig: Rig) -> None:
    assert await rig.say(call("output", "name=bucket/key"), data(b"1")) == (Kind.DONE, "")
    assert "already" in await refused(rig, call("output", "name=bucket/key"), data(b"2"))
    for _ in range(4):
        assert await rig.say(call("output"), data(b"x")) == (Kind.DONE, "")
    assert "at most 5 outputs" in await refused(rig, call("output"), data(b"x"))
    names = [f"bucket/{number}" for number in range(6)]
    assert "at most 5 outputs" in await refused(rig, call("refer", *names), encode_frame(Kind.END))


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"\0" * 5,
        b"\xff" * 50,
        call("unknown"),
        call("output", "odd=1"),
        data(b"x"),
        call("refer", "\n"),
        b"GET / HTTP/1.1\r\n\r\n",
    ],
)
async def test_nonsense_is_refused_and_harms_nobody(rig: Rig, said: bytes) -> None:
    reader, writer = await asyncio.open_unix_connection(rig.door.path)
    writer.write(said)
    writer.write_eof()
    answer = await reader.read()
    assert not answer or answer[0] == Kind.FAILED
    writer.close()
    await writer.wait_closed()
    assert await rig.say(call("output"), data(b"fine")) == (Kind.DONE, "")


async def test_the_stores_trouble_ends_the_attempt_and_says_nothing_of_the_node(rig: Rig) -> None:
    """J2: an attempt whose lease was lost gets nothing any more."""
    rig.gateway.stale = True
    assert "/secret" not in await refused(rig, call("output", "name=bucket/key"), data(b"x"))
    assert rig.killed.is_set()
    assert rig.calls.trouble is not None


async def test_what_nobody_foresaw_is_the_stores_trouble(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The attempt is worth another try: it is no fault of the program that its output was not taken."""

    async def broken(*_: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(rig.node.store, "open_put", broken)
    assert "tried again" in await refused(rig, call("output"), data(*[bytes(FRAME_MAX_BYTES)] * 5))
    assert rig.killed.is_set()
    assert rig.calls.trouble is not None
    assert "OSError" in rig.calls.trouble.message


async def test_connections_are_bounded(rig: Rig) -> None:
    """S3: beyond the bound a program is turned away, and those inside go on."""
    inside = [await asyncio.open_unix_connection(rig.door.path) for _ in range(PROGRAM_CONNECTIONS_MAX)]
    assert await rig.say(call("output"), data(b"x")) is None
    for _, writer in inside:
        writer.close()
        await writer.wait_closed()


@pytest.mark.invariant("S5")
async def test_s5_a_task_that_knocks_without_end_keeps_the_agent_from_nothing_else(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Processes that connect as fast as they can: there was always another one to let in, for seconds."""
    knocks = count()

    def accept() -> socket.socket:
        assert next(knocks) < 1000, "the agent does nothing else any more"
        return socket.socket(socket.AF_UNIX)

    await rig.door.shut()
    monkeypatch.setattr(rig.door, "_accept", accept)
    rig.door._on_knock()
    assert next(knocks) > 0


@pytest.mark.invariant("S5")
async def test_s5_who_knocks_without_end_is_not_turned_away_for_ever(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that takes inputs in turns lives on while the door is shut behind one and opened for the next."""
    accept = rig.door._accept
    knocks, waiting = count(), list[socket.socket]()

    def knock() -> None:
        assert next(knocks) < 1000, "the agent does nothing else any more"
        waiting.append(socket.socket(socket.AF_UNIX))
        waiting[-1].connect(str(rig.door.path))

    def accept_and_knock() -> socket.socket | None:
        guest = accept()
        knock()
        return guest

    knock()
    with monkeypatch.context() as patch:
        patch.setattr(rig.door, "_accept", accept_and_knock)
        await rig.door.shut()
    for one in waiting:
        one.close()
    assert PROGRAM_CONNECTIONS_MAX < next(knocks) < 1000


@pytest.mark.invariant("S5")
async def test_s5_many_small_frames_leave_others_their_turn() -> None:
    """What has come is read without waiting: a task that sent small frames held its node up for seconds."""
    reader = asyncio.StreamReader()
    reader.feed_data(encode_frame(Kind.DATA, b"x") * 1000)
    frames = program_calls._Frames(reader)
    async with turns_of_others() as turns:
        for _ in range(1000):
            assert await frames.next() == (Kind.DATA, b"x")
    assert turns() > 50


@pytest.mark.invariant("S3")
async def test_s3_a_frame_without_data_is_refused(rig: Rig) -> None:
    """It would count against no limit."""
    assert "sent as data" in await refused(rig, call("output"), data(b"x", b""))


async def test_an_output_in_small_pieces_comes_whole(rig: Rig) -> None:
    pieces = [b"%d," % number for number in range(5000)]
    assert await rig.say(call("output"), data(*pieces)) == (Kind.DONE, "")
    (output,) = await rig.outputs.store()
    assert await rig.node.get(output.blob_id or "", output.size) == b"".join(pieces)


async def test_an_output_that_cannot_be_stored_waits_for_those_beside_it(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """J1: else one of them would be stored after all were removed."""
    for _ in range(2):
        assert await rig.say(call("output"), data(b"x")) == (Kind.DONE, "")
    calls, go_on = count(), asyncio.Event()

    async def put(*_: object) -> Stored:
        if next(calls) == 0:
            raise InsufficientStorage
        await go_on.wait()
        return Stored(1, 0)

    monkeypatch.setattr(rig.node.store, "put", put)
    storing = asyncio.create_task(rig.outputs.store())
    for _ in range(20):
        await asyncio.sleep(0)
    assert next(calls) == 2
    assert not storing.done()
    go_on.set()
    with pytest.raises(InsufficientStorage):
        await storing


async def test_what_came_to_nothing_leaves_no_blob(rig: Rig) -> None:
    """J1: outputs that went to the volume already are removed with their attempt."""
    blob = b"".join(encode_frame(Kind.DATA, b"x" * FRAME_MAX_BYTES) for _ in range(10)) + encode_frame(Kind.END)
    assert await rig.say(call("output"), blob) == (Kind.DONE, "")
    blobs = Path(rig.node.storage.volume.layout.blobs)
    assert [path for path in blobs.rglob("*") if path.is_file()]
    await rig.outputs.discard()
    assert not [path for path in blobs.rglob("*") if path.is_file()]
