"""Pipes and the capture of stdout: every byte, once, and never more than the limit."""

import asyncio
import errno
import fcntl
import hashlib
import os

import pytest

from jobs.agent.output_limit import OutputMeter
from jobs.agent.streams.capture import Stdout
from jobs.agent.streams.pipes import WATCH_AFTER_S, Ends, InPipe, TailPipe
from manta.core.checksums import Algorithm, new
from manta.core.errands import give_up
from manta.core.errors import InsufficientStorage, InternalError
from manta.core.limits import KIB, MIB, SMALL_BLOB_BYTES, TASK_OUTPUT_DISK_FRACTION, TASK_OUTPUT_MAX_BYTES
from storage_nodes.api import Stored
from storage_nodes.disk.space import Space
from tests.support.waiting import eventually


class _Writer:
    def __init__(self, refuse: Exception | None) -> None:
        self.data = bytearray()
        self.refuse = refuse
        self.state = "open"
        self.refill = -1
        """A pipe into which what is written here is written again."""

    async def write(self, data: bytes) -> None:
        if self.refuse is not None:
            raise self.refuse
        await asyncio.sleep(0)
        self.data += data
        if self.refill >= 0:
            assert len(self.data) < MIB, "the writer is read for ever"
            os.write(self.refill, data)

    async def commit(self) -> Stored:
        self.state = "committed"
        return Stored(len(self.data), 0)

    async def abort(self) -> None:
        self.state = "aborted"


class _Store:
    def __init__(self, refuse: Exception | None = None) -> None:
        self.refuse = refuse
        self.writers: list[_Writer] = []

    async def open_put(self, blob_id: str, size: int | None) -> _Writer:
        self.writers.append(_Writer(self.refuse))
        return self.writers[-1]


def _meter(limit: int = TASK_OUTPUT_MAX_BYTES) -> OutputMeter:
    """Of a task on a disk that lets it write so many bytes."""
    free = Space(0, int(limit / TASK_OUTPUT_DISK_FRACTION))
    return OutputMeter(lambda: free, TASK_OUTPUT_DISK_FRACTION)


def _stdout(store: _Store, trouble: list[None], meter: OutputMeter | None = None, shared: Ends | None = None) -> Stdout:
    loop, meter = asyncio.get_running_loop(), meter or _meter()
    return Stdout(loop, store, "0" * 32, lambda: trouble.append(None), meter, shared)  # type: ignore[arg-type]


async def _say(stdout: Stdout, data: bytes) -> None:
    """Write as a task does: blocking, in another thread."""
    await asyncio.to_thread(_write_all, stdout.write_fd, data)


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


@pytest.mark.parametrize("size", [0, 1, 65_536, SMALL_BLOB_BYTES, SMALL_BLOB_BYTES + 1, 3_000_001])
async def test_what_is_written_is_captured_and_hashed(size: int) -> None:
    data = os.urandom(size)
    store, trouble = _Store(), list[None]()
    stdout = _stdout(store, trouble)
    await _say(stdout, data)
    captured = await stdout.finish()
    assert captured.size == size
    assert captured.md5 == hashlib.md5(data).digest()
    crc = new(Algorithm.CRC64NVME)
    crc.update(data)
    assert captured.crc64nvme == crc.digest()
    if size <= SMALL_BLOB_BYTES:
        assert captured.data == data
        assert store.writers == []
    else:
        assert captured.data is None
        (writer,) = store.writers
        assert (bytes(writer.data), writer.state) == (data, "committed")
    assert trouble == []


@pytest.mark.invariant("S5")
async def test_endless_output_is_stopped_at_the_limit() -> None:
    """S5: the task is ended, and nothing half-written stays."""
    store, trouble = _Store(), list[None]()
    meter = _meter(512 * KIB)
    stdout = _stdout(store, trouble, meter)
    saying = asyncio.create_task(_say(stdout, bytes(400 * KIB)))
    await saying
    saying = asyncio.create_task(_say(stdout, bytes(400 * KIB)))
    await eventually(lambda: trouble)
    await saying
    await stdout.finish()
    assert meter.exceeded is not None
    assert meter.exceeded.limit_bytes == 512 * KIB
    assert [writer.state for writer in store.writers] == ["aborted"]


async def test_a_full_volume_ends_the_task_and_is_told() -> None:
    store, trouble = _Store(InsufficientStorage()), list[None]()
    stdout = _stdout(store, trouble)
    await _say(stdout, bytes(300 * KIB))
    with pytest.raises(InsufficientStorage):
        await stdout.finish()
    assert len(trouble) == 1
    assert [writer.state for writer in store.writers] == ["aborted"]


async def test_what_nobody_foresaw_ends_the_task_and_is_told() -> None:
    """At once, not by the task's timeout: nobody reads its pipe any more."""
    store, trouble = _Store(OSError(errno.EMFILE, "Too many open files")), list[None]()
    stdout = _stdout(store, trouble)
    await _say(stdout, bytes(300 * KIB))
    await eventually(lambda: trouble)
    with pytest.raises(InternalError, match="OSError"):
        await stdout.finish()
    assert [writer.state for writer in store.writers] == ["aborted"]


async def test_a_discarded_output_leaves_nothing() -> None:
    store, trouble = _Store(), list[None]()
    stdout = _stdout(store, trouble)
    await _say(stdout, bytes(300 * KIB))
    await stdout.discard()
    assert all(writer.state == "aborted" for writer in store.writers)


async def test_a_tail_keeps_the_end() -> None:
    pipe = TailPipe(asyncio.get_running_loop(), 1000)
    data = os.urandom(50_000)
    await asyncio.to_thread(_write_all, pipe.write_fd, data)
    assert pipe.finish() == data[-1000:]


async def test_a_tail_can_be_read_while_the_task_runs() -> None:
    pipe = TailPipe(asyncio.get_running_loop(), 1000)
    os.write(pipe.write_fd, b"so far")
    async with asyncio.timeout(10):
        while pipe.tail() != b"so far":
            await asyncio.sleep(WATCH_AFTER_S)
    os.write(pipe.write_fd, b", so good")
    assert pipe.finish() == b"so far, so good"


async def test_a_task_that_reads_its_own_pipe_is_read_on() -> None:
    """It may open the pipe anew: the agent finds nothing there then, and must not take that for the end."""
    pipe = TailPipe(asyncio.get_running_loop(), 1000)
    await eventually(lambda: pipe._watched)
    pipe._on_readable()
    os.write(pipe.write_fd, b"more")
    await eventually(lambda: pipe.tail() == b"more", 5)
    pipe.finish()


@pytest.mark.invariant("S5")
async def test_s5_a_process_that_writes_on_is_not_read_for_ever() -> None:
    """One that takes inputs in turns lives on after each: with what its threads write no pipe need ever be empty."""
    ends = Ends()

    class Refilled(TailPipe):
        def take(self, data: bytes) -> None:
            super().take(data)
            assert self.said < KIB, "the agent does nothing else any more"
            os.write(self.write_fd, data)

    first = Refilled(asyncio.get_running_loop(), 1000, ends)
    os.write(ends.write_fd, b"said in time")
    assert first.finish() == b"said in time"
    assert TailPipe(asyncio.get_running_loop(), 1000, ends).finish() == b"said in time"
    ends.close()


@pytest.mark.invariant("S5")
async def test_s5_a_large_output_ends_though_its_process_writes_on() -> None:
    """It goes from the pipe to the volume, and while that takes its time the pipe is filled again."""
    data, store = os.urandom(300 * KIB), _Store()
    ends = Ends()
    stdout = _stdout(store, [], shared=ends)
    await _say(stdout, data)
    await eventually(lambda: store.writers and len(store.writers[0].data) == len(data))
    store.writers[0].refill = ends.write_fd
    os.write(ends.write_fd, b"the last")
    captured = await stdout.finish()
    assert captured.md5 == hashlib.md5(data + b"the last").digest()
    assert TailPipe(asyncio.get_running_loop(), 1000, ends).finish() == b"the last"
    ends.close()


@pytest.mark.parametrize("flags", [0, os.O_DIRECT])
async def test_what_the_dead_wrote_is_read_whole(flags: int) -> None:
    """In a pipe made as wide as a task can, and in packets."""
    pipe = TailPipe(asyncio.get_running_loop(), 2 * MIB)
    fcntl.fcntl(pipe.write_fd, fcntl.F_SETPIPE_SZ, MIB)
    fcntl.fcntl(pipe.write_fd, fcntl.F_SETFL, flags)
    pieces = [os.urandom(size) for size in [1, 4096, 7] * 80]
    for piece in pieces:
        os.write(pipe.write_fd, piece)
    assert pipe.finish() == b"".join(pieces)


async def test_input_waits_for_a_slow_reader() -> None:
    pipe = InPipe(asyncio.get_running_loop())
    data = os.urandom(1_000_000)
    writing = asyncio.create_task(pipe.write(data))
    got = bytearray()
    while len(got) < len(data):
        got += await asyncio.to_thread(os.read, pipe.read_fd, 100_000)
    await writing
    assert got == data
    pipe.end()
    assert await asyncio.to_thread(os.read, pipe.read_fd, 10) == b""
    pipe.close()


async def test_input_that_nobody_reads_can_be_given_up() -> None:
    pipe = InPipe(asyncio.get_running_loop())
    writing = asyncio.create_task(pipe.write(bytes(1_000_000)))
    await asyncio.to_thread(os.read, pipe.read_fd, 1000)
    await give_up([writing])
    pipe.close()
    assert (writing.cancelled(), pipe.read_fd) == (True, -1)
