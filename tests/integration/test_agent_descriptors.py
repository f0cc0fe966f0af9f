"""An agent that runs out of descriptors, or whose reducer's feeder fails, loses one attempt and nothing else."""

import asyncio
import contextlib
import errno
import os
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from jobs.agent.streams.inputs import ReduceInputs
from jobs.model.wire import TaskKind
from jobs.sandbox.zone import ForkServerZone
from manta.core.errors import InternalError, SandboxUnavailable
from manta.core.names import new_id
from storage_nodes.disk.incoming import IncomingBlob
from tests.support.agent_rig import Rig, rig
from tests.support.sandbox import ZONE, Workshop, sandbox_state, workshop
from tests.support.waiting import eventually

__all__ = ["rig", "sandbox_state", "workshop"]


def _pipes_and_sockets() -> int:
    kinds = []
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            kinds.append(str(link.readlink()).partition(":")[0])
    return sum(kind in ("pipe", "socket") for kind in kinds)


def _fails_at(nth: int, genuine: Any, *wanted: Any) -> Any:
    """Like `genuine`, but its call number `nth`, from 1, of those that begin so, finds too many open files."""
    calls = 0

    def call(*arguments: Any) -> Any:
        nonlocal calls
        is_wanted = arguments[: len(wanted)] == wanted
        calls += is_wanted
        if is_wanted and calls == nth:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return genuine(*arguments)

    return call


@pytest.mark.parametrize("nth", [1, 2, 3])
async def test_too_many_open_files_leave_no_pipe_open(rig: Rig, nth: int, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = rig.gateway.phase("cat", kind=TaskKind.REDUCE)
    await rig.gateway.offer(spec)
    await rig.gateway.wait_results(1)
    before = _pipes_and_sockets()
    monkeypatch.setattr(os, "pipe2", _fails_at(nth, os.pipe2))
    await rig.gateway.offer(spec)
    results = await rig.gateway.wait_results(2)
    assert results[1].failure is not None
    assert results[1].failure.retryable
    assert _pipes_and_sockets() <= before
    await rig.gateway.offer(spec)
    results = await rig.gateway.wait_results(3)
    assert results[2].failure is None


async def test_a_feeder_that_fails_as_nobody_foresaw_ends_its_task(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """At once, not by the task's timeout: it waits for an input that never comes."""

    async def broken(*_: object) -> None:
        raise RuntimeError("nobody foresaw this")

    monkeypatch.setattr(ReduceInputs, "stream", broken)
    await rig.gateway.offer(rig.gateway.phase("cat; exec sleep 3600", kind=TaskKind.REDUCE, timeout_s=3600.0))
    (result,) = await rig.gateway.wait_results(1)
    assert result.failure is not None
    assert (result.failure.code, result.failure.retryable) == ("InternalError", True)
    assert "RuntimeError" in result.failure.message


async def test_an_output_that_is_given_up_while_its_file_is_made_leaves_none(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume = rig.node.storage.volume
    incoming, made, go_on = volume.incoming, threading.Event(), threading.Event()

    def slow(blob_id: str, size: int | None) -> IncomingBlob:
        blob = incoming(blob_id, size)
        made.set()
        go_on.wait()
        return blob

    monkeypatch.setattr(volume, "incoming", slow)
    opening = asyncio.create_task(rig.node.store.open_put(new_id(1), None))
    await asyncio.to_thread(made.wait)
    assert len(list(volume.layout.tmp.iterdir())) == 1
    opening.cancel()
    go_on.set()
    await asyncio.wait([opening])
    del opening
    await eventually(lambda: not list(volume.layout.tmp.iterdir()))


@pytest.mark.parametrize("call", [("pipe",), ("open", os.devnull)])  # the cgroups' own threads open files meanwhile
async def test_a_zone_that_finds_too_many_open_files_leaves_none(
    workshop: Workshop, call: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = _pipes_and_sockets()
    with monkeypatch.context() as patch:
        name, *wanted = call
        patch.setattr(os, name, _fails_at(1, getattr(os, name), *wanted))
        with pytest.raises(SandboxUnavailable, match="Too many open files"):
            await workshop.sandbox.open_zone(ZONE)
    assert _pipes_and_sockets() == before
    assert (await workshop.run_on_blob("wc -l")).out == "2\n"


async def test_a_mount_that_cannot_be_taken_fails_the_task_instead_of_holding_it(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel drops a descriptor for which the receiver has no room, and delivers the message all the same."""
    genuine = socket.recv_fds
    with monkeypatch.context() as patch:

        def dropped(channel: socket.socket, *arguments: int) -> Any:
            message, descriptors, flags, address = genuine(channel, *arguments)
            for descriptor in descriptors:
                os.close(descriptor)
            return message, [], flags, address

        patch.setattr(socket, "recv_fds", dropped)
        with pytest.raises(InternalError, match="too many open files"):
            await workshop.run_on_blob("wc -l")
    assert isinstance(workshop.zone, ForkServerZone)
    assert (await workshop.run_on_blob("wc -l")).out == "2\n"
