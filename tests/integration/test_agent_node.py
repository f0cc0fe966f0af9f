"""`manta node` as a process of its own, with the real sandbox, against a gateway on a real socket."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from jobs.model.questions import StderrTail
from jobs.model.wire import InputRef, PhaseSpec, TaskKind, TaskResult, unpack
from jobs.programs.install import NO_PROGRAMS
from manta.cli import node as node_command
from manta.core.config import NodeConfig, save
from manta.core.names import new_id
from manta.core.peers import NodeAddress, PeerSource
from manta.core.process import GIVE_BACK
from storage_nodes.client.node_client import NodeClient
from tests.support.agent import JOB, KEY, FakeGateway, running_gateway
from tests.support.processes import alive, descendants
from tests.support.sleepers import sleepers_below
from tests.support.waiting import eventually

_READY_S = 60.0


@dataclass
class NodeProcess:
    process: asyncio.subprocess.Process
    gateway: FakeGateway
    client: NodeClient

    async def offer(self, spec: PhaseSpec, data: bytes, key: str = "dir/moby dick.txt") -> int:
        blob_id = new_id(1)
        await self.client.put(blob_id, data)
        return (await self.gateway.offer(spec, InputRef("library", key, len(data), blob_id))).task_id

    async def output(self, result: TaskResult) -> bytes:
        assert result.failure is None, result.failure
        (output,) = result.outputs
        if output.blob_id is None:
            return b""
        reader = await self.client.open_get(output.blob_id, 0, output.size)
        parts = []
        while data := await reader.read():
            parts.append(data)
        return b"".join(parts)


def _config(folder: Path, gateway: FakeGateway, ready_fd: int) -> NodeConfig:
    return NodeConfig(
        node_id="node-1",
        data_dir=str(folder / "data"),
        key=KEY.hex(),
        listen=f"unix:{folder}/node.sock",
        gateways=(gateway.address,),
        ready_fd=ready_fd,
    )


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[NodeProcess]:
    gateway = FakeGateway(f"unix:{tmp_path}/gateway.sock")
    read_fd, ready_fd = os.pipe()
    config = _config(tmp_path, gateway, ready_fd)
    save(tmp_path / "node.json", config)
    async with running_gateway(gateway):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "manta.cli.node", "--config", str(tmp_path / "node.json"), pass_fds=(ready_fd,)
        )
        os.close(ready_fd)
        client = NodeClient(NodeAddress("node-1", config.listen, KEY))
        try:
            async with asyncio.timeout(_READY_S):
                assert await asyncio.to_thread(os.read, read_fd, 100) == b"ready\n"
            yield NodeProcess(process, gateway, client)
        finally:
            os.close(read_fd)
            await client.close()
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


async def test_map_and_reduce_in_the_real_sandbox(node: NodeProcess) -> None:
    words = node.gateway.phase('wc -w < "$MANTA_INPUT_FILE"; tr a-z A-Z; basename "$MANTA_INPUT_FILE" >&2')
    await node.offer(words, b"call me ishmael\n")
    await node.offer(words, b"", key="empty")
    results = await node.gateway.wait_results(2, 60)
    assert sorted([await node.output(result) for result in results]) == [b"0\n", b"3\nCALL ME ISHMAEL\n"]

    spec = node.gateway.phase("wc -c", phase=1, kind=TaskKind.REDUCE)
    node.gateway.inputs[99] = [
        InputRef("job", "x", output.size, output.blob_id, (_here(node),))
        for result in results
        for output in result.outputs
    ]
    await node.gateway.offer(spec, task=99)
    await node.gateway.wait_results(3, 60)
    assert await node.output(node.gateway.results[2]) == b"20\n"

    said = [await node.client.call("GET", f"/agent/stderr/{JOB}/{task}") for task in (1, 2, 99)]
    assert [unpack(one, StderrTail).data for one in said] == [b"moby dick.txt\n", b"empty\n", b""]
    status = (await node.client.status()).agent
    assert status["tasks_done"] == 3
    assert status["gateway_reachable"] is True


async def test_a_binary_object_passes_through_map_and_reduce_unchanged(node: NodeProcess) -> None:
    data = os.urandom(200_000) + bytes(range(256))
    await node.offer(node.gateway.phase("cat"), data)
    (result,) = await node.gateway.wait_results(1, 60)
    output = result.outputs[0]
    node.gateway.inputs[99] = [InputRef("job", "x", output.size, output.blob_id, (_here(node),))]
    await node.gateway.offer(node.gateway.phase("cat", phase=1, kind=TaskKind.REDUCE), task=99)
    results = await node.gateway.wait_results(2, 60)
    assert await node.output(results[1]) == data


async def test_sigterm_gives_running_tasks_back_and_leaves_no_process(node: NodeProcess) -> None:
    await node.offer(node.gateway.phase("sleep 3600 & sleep 3600"), b"x")
    await node.gateway.wait(lambda: any(request.held for request in node.gateway.leases), 60)
    children = descendants(node.process.pid)
    assert children
    epoch = node.gateway.leases[-1].epoch
    node.process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(30):
        assert await node.process.wait() == 0
    assert node.gateway.results == []
    assert node.gateway.leases[-1].held == ()
    assert node.gateway.leases[-1].epoch != epoch
    await eventually(lambda: not any(map(alive, children)))


@pytest.mark.parametrize("then", [[], [GIVE_BACK], [signal.SIGTERM]], ids=["asked", "asked twice", "and to end"])
async def test_tasks_are_given_back_and_storage_goes_on(node: NodeProcess, then: list[signal.Signals]) -> None:
    await node.offer(node.gateway.phase("sleep 3600 & sleep 3600"), b"x")
    await node.gateway.wait(lambda: any(request.started for request in node.gateway.leases), 60)
    await eventually(lambda: len(sleepers_below(node.process.pid, 3600)) == 2)
    epoch = node.gateway.leases[-1].epoch
    for number in (GIVE_BACK, *then):
        node.process.send_signal(number)
    await node.gateway.wait(lambda: node.gateway.leases[-1].epoch != epoch, 60)
    assert [len(one) for one in (node.gateway.leases[-1].returned, node.gateway.leases[-1].started)] == [1, 1]
    polls = len(node.gateway.leases)
    assert sleepers_below(node.process.pid, 3600) == []
    if signal.SIGTERM not in then:
        blob_id = new_id(1)
        await node.client.put(blob_id, b"kept")
        reader = await node.client.open_get(blob_id, 0, 4)
        assert [await reader.read(), await reader.read()] == [b"kept", b""]
        async with asyncio.timeout(30):
            while (status := (await node.client.status()).agent)["refusing"] != "The node is being stopped.":
                await asyncio.sleep(0.01)
        assert (status["running"], status["waiting"], status["zones"]) == (0, 0, 0)
        node.process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(30):
        assert await node.process.wait() == 0
    assert len(node.gateway.leases) == polls, "nothing is given back twice, nor asked for"


async def test_a_node_without_programs_for_its_tasks_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """In its status, which `manta nodes` shows, and in its log."""
    monkeypatch.setattr(node_command, "programs", lambda _folder: {})
    gateway = FakeGateway(f"unix:{tmp_path}/gateway.sock")
    read_fd, ready_fd = os.pipe()
    config = _config(tmp_path, gateway, ready_fd)
    client = NodeClient(NodeAddress("node-1", config.listen, KEY))
    async with running_gateway(gateway):
        running = asyncio.create_task(node_command.run_node(config))
        try:
            async with asyncio.timeout(_READY_S):
                assert await asyncio.to_thread(os.read, read_fd, 6) == b"ready\n"
            status = await client.status()
        finally:
            os.close(read_fd)
            signal.raise_signal(signal.SIGTERM)
            await running
            await client.close()
    assert status.agent["no_programs"] == NO_PROGRAMS
    assert NO_PROGRAMS in caplog.text


def _here(node: NodeProcess) -> PeerSource:
    return PeerSource("node-1", node.client.address.url, "")
