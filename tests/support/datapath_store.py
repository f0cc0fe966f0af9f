"""A whole store for tests of the datapath: real node processes, and a gateway in a thread."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest

from manta.catalog.open import open_catalog
from manta.catalog.store import Catalog
from manta.core.clock import SystemClock
from manta.core.config import GatewayConfig
from manta.gateway.bootstrap import ensure_root
from manta.gateway.context import Context
from manta.gateway.datapath.compose import Datapath, start_datapath
from manta.gateway.main import serving
from tests.support.gateway import ACCESS_KEY, REGION, SECRET_KEY, RunningGateway
from tests.support.node_processes import MACHINE, NodeProcess
from tests.support.threads import in_thread

Result = TypeVar("Result")


@dataclass
class Store:
    """`run` calls into the gateway's own loop."""

    gateway: RunningGateway
    datapath: Datapath
    nodes: dict[str, NodeProcess]

    def run(self, call: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
        assert self.gateway.loop is not None
        return asyncio.run_coroutine_threadsafe(call(), self.gateway.loop).result(60)

    @property
    def catalog(self) -> Catalog:
        return self.gateway.context.catalog

    def files(self) -> dict[str, set[Path]]:
        return {name: set(node.blob_files()) for name, node in self.nodes.items()}


@contextlib.asynccontextmanager
async def _store(
    nodes: dict[str, NodeProcess], copies: int, direct_reads: bool, catalog_url: str
) -> AsyncIterator[Store]:
    clock = SystemClock()
    catalog = await open_catalog(catalog_url, clock)
    await ensure_root(catalog, ACCESS_KEY, SECRET_KEY)
    for node in nodes.values():
        await catalog.register_node(node.record())
    config = GatewayConfig(
        catalog=catalog_url, port=0, region=REGION, copies=copies, machine_id=MACHINE, direct_reads=direct_reads
    )
    datapath = await start_datapath(config, catalog, clock)
    try:
        context = Context(config, catalog, datapath.blobs, clock)
        context.provide(datapath, datapath.blobs)
        async with serving(context) as server:
            yield Store(RunningGateway(context, config.host, server.port, asyncio.get_running_loop()), datapath, nodes)
    finally:
        await datapath.close()
        await catalog.close()


@contextlib.contextmanager
def threaded_store(
    folder: Path, *, nodes: int = 3, copies: int = 2, direct_reads: bool = True, catalog_url: str = "memory:"
) -> Iterator[Store]:
    """Everything started; all of it ended afterwards."""
    processes = {name: NodeProcess(name, folder / name) for name in (f"n{number}" for number in range(1, nodes + 1))}
    try:
        for process in processes.values():
            process.start()
        with in_thread(lambda: _store(processes, copies, direct_reads, catalog_url)) as store:
            yield store
    finally:
        for process in processes.values():
            process.kill()


@pytest.fixture
def s3(store: Store) -> Iterator[Any]:
    client = store.gateway.boto3()
    yield client
    client.close()
