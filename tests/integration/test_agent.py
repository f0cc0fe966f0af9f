"""The agent against a gateway on a real socket and a real volume; tasks are plain processes here."""

import contextlib
import hashlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from jobs.agent.agent import Agent
from jobs.agent.local_store import VolumeStore
from jobs.agent.peer_store import PeerStore
from jobs.agent.transport import HttpGateway
from jobs.model.wire import InputRef, TaskKind
from manta.core.clock import SystemClock
from manta.core.config import NodeConfig
from manta.core.names import new_id
from manta.core.peers import PeerSource
from storage_nodes import token
from storage_nodes.api import BlobReader
from storage_nodes.daemon import StorageServer, serve_storage
from tests.support.agent import KEY, FakeGateway, PlainSandbox, running_gateway


@dataclass
class Node:
    """A storage node, with an agent if it has a sandbox."""

    config: NodeConfig
    storage: StorageServer
    store: VolumeStore

    async def put(self, data: bytes) -> str:
        blob_id = new_id(int(time.time() * 1000))
        writer = await self.store.open_put(blob_id, len(data))
        await writer.write(data)
        await writer.commit()
        return blob_id

    async def get(self, blob_id: str, size: int) -> bytes:
        reader = await self.store.open_get(blob_id, 0, size)
        return b"".join([part async for part in _parts(reader)])

    def source(self, blob_id: str, method: str = "GET") -> PeerSource:
        path = token.blob_path(blob_id)
        signed = token.sign(bytes.fromhex(self.config.key), method, path, time.time() + 60)
        return PeerSource(self.config.node_id, self.config.listen, signed)

    def holds(self, blob_id: str) -> bool:
        return Path(self.storage.volume.layout.blob(blob_id)).exists()


async def _parts(reader: BlobReader) -> AsyncIterator[bytes]:
    while data := await reader.read():
        yield data


@contextlib.asynccontextmanager
async def storage_node(folder: Path, node_id: str) -> AsyncIterator[Node]:
    config = NodeConfig(
        node_id=node_id, data_dir=str(folder / node_id), key=KEY.hex(), listen=f"unix:{folder}/{node_id}.sock"
    )
    storage = await serve_storage(config)
    try:
        yield Node(config, storage, VolumeStore(storage))
    finally:
        await storage.close()


@dataclass
class Rig:
    node: Node
    gateway: FakeGateway
    sandbox: PlainSandbox
    agent: Agent

    async def input(self, data: bytes, key: str = "books/moby.txt") -> InputRef:
        if not data:
            return InputRef("library", key, 0, None)
        blob_id = await self.node.put(data)
        return InputRef("library", key, len(data), blob_id, (self.node.source(blob_id),))

    async def output(self, index: int = 0) -> bytes:
        output = self.gateway.results[index].outputs[0]
        return b"" if output.blob_id is None else await self.node.get(output.blob_id, output.size)


@contextlib.asynccontextmanager
async def rig_on(folder: Path, *, lanes: int = 2) -> AsyncIterator[Rig]:
    gateway = FakeGateway(f"unix:{folder}/gateway.sock")
    async with running_gateway(gateway), storage_node(folder, "node-1") as node:
        sandbox = PlainSandbox(node.storage.volume.layout.blobs)
        clock = SystemClock()
        agent = Agent(
            "node-1",
            lanes,
            node.store,
            PeerStore(),
            [HttpGateway(gateway.address, "node-1", KEY, clock)],
            sandbox,
            folder / "stderr",
            clock,
        )
        await agent.start()
        try:
            yield Rig(node, gateway, sandbox, agent)
        finally:
            await agent.close()
            assert not sandbox.open_zones


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with rig_on(tmp_path) as rig:
        yield rig


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
    assert result.usage.in_place_bytes == sum(len(data) for data in blobs[::2])
    assert result.usage.shuffled_bytes == sum(len(data) for data in blobs[1::2])
