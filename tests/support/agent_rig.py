"""A storage node with an agent, against the gateway and sandbox of `tests.support.agent`."""

import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from jobs.agent.agent import Agent
from jobs.agent.local_store import VolumeStore
from jobs.agent.peer_store import PeerStore
from jobs.agent.uplink.transport import HttpGateway
from jobs.model.resources import Capacity
from jobs.model.wire import InputRef
from manta.core.clock import SystemClock
from manta.core.config import NodeConfig
from manta.core.names import new_id
from manta.core.peers import PeerSource
from storage_nodes import token
from storage_nodes.api import BlobReader
from storage_nodes.server.daemon import StorageServer, serve_storage
from tests.support.agent import KEY, FakeGateway, PlainSandbox, running_gateway


class ShiftedClock(SystemClock):
    """Time that a test can push on."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def monotonic_s(self) -> float:
        return super().monotonic_s() + self.ahead_s


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
    clock: ShiftedClock

    async def input(self, data: bytes, key: str = "books/moby.txt") -> InputRef:
        if not data:
            return InputRef("library", key, 0, None)
        blob_id = await self.node.put(data)
        return InputRef("library", key, len(data), blob_id, (self.node.source(blob_id),))

    async def output(self, index: int = 0) -> bytes:
        output = self.gateway.results[index].outputs[0]
        return b"" if output.blob_id is None else await self.node.get(output.blob_id, output.size)


@contextlib.asynccontextmanager
async def rig_on(
    folder: Path,
    *,
    lanes: int = 2,
    capacity: Capacity | None = None,
    unavailable: str | None = None,
    more_gateways: tuple[str, ...] = (),
) -> AsyncIterator[Rig]:
    gateway = FakeGateway(f"unix:{folder}/gateway.sock")
    async with running_gateway(gateway), storage_node(folder, "node-1") as node:
        sandbox = PlainSandbox(node.storage.volume.layout.blobs)
        sandbox.unavailable = unavailable
        clock = ShiftedClock()
        agent = Agent(
            "node-1",
            lanes,
            node.store,
            PeerStore(),
            [HttpGateway(url, "node-1", KEY, clock) for url in (gateway.address, *more_gateways)],
            sandbox,
            folder / "stderr",
            folder / "cache",
            clock,
            capacity=capacity,
        )
        await agent.start()
        try:
            yield Rig(node, gateway, sandbox, agent, clock)
        finally:
            await agent.close()
            assert not sandbox.open_zones


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with rig_on(tmp_path) as rig:
        yield rig
