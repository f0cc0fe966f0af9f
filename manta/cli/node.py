"""`manta node`: object files and the agent that runs tasks on them, in one process and one event loop."""

import asyncio
import logging
import signal
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from jobs.agent.agent import Agent
from jobs.agent.local_store import VolumeStore
from jobs.agent.peer_store import PeerStore
from jobs.agent.resources import machine_capacity
from jobs.agent.routes import AgentRoutes
from jobs.agent.uplink.transport import HttpGateway
from jobs.agent.zones.doors import door_folder
from jobs.model.resources import Capacity
from jobs.programs.install import NO_PROGRAMS, links, programs
from jobs.programs.python_runtime import python_runtime
from jobs.sandbox.building.builders import builder_choice
from jobs.sandbox.driver import NamespaceSandbox
from manta.core.clock import SystemClock
from manta.core.config import NodeConfig, load
from manta.core.errands import give_up
from manta.core.logs import log_to_stderr
from manta.core.process import attach_to_supervisor
from storage_nodes.server.daemon import StorageServer, serve_storage, tell_ready

_LOG = logging.getLogger("manta.node")


async def run_node(config: NodeConfig) -> None:
    """Serve until SIGTERM or SIGINT: then running tasks are given back, zones ended, open calls finished."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    routes = AgentRoutes()
    storage = await serve_storage(config, {"/agent/": routes})
    try:
        if config.lanes == 0:
            tell_ready(config)
            await stop.wait()
        else:
            await _run_with_agent(config, storage, routes, stop)
    finally:
        await storage.close()


async def _run_with_agent(config: NodeConfig, storage: StorageServer, routes: AgentRoutes, stop: asyncio.Event) -> None:
    agent = _build_agent(config, storage)
    await agent.start()
    try:
        routes.agent = agent
        storage.board.agent = agent.status
        tell_ready(config)
        await _first_of(stop, agent)
    finally:
        await agent.close()


def _build_agent(config: NodeConfig, storage: StorageServer) -> Agent:
    clock = SystemClock()
    data = Path(config.data_dir)
    cache = data.resolve() / "cache"
    key = bytes.fromhex(config.key)
    python = python_runtime()
    files = programs(data / "sandbox")
    no_programs = "" if files else NO_PROGRAMS
    if no_programs:
        _LOG.warning("%s", no_programs)
    return Agent(
        config.node_id,
        config.lanes,
        VolumeStore(storage),
        PeerStore(),
        [HttpGateway(url, config.node_id, key, clock) for url in config.gateways],
        NamespaceSandbox(
            storage.volume.layout.blobs,
            data / "sandbox",
            shared_dir=cache,
            programs=files,
            links=links(),
            binds=python.binds,
            builder=builder_choice(config.sandbox, config.runtime),
        ),
        data / "stderr",
        cache,
        clock,
        door_folder(data),
        _capacity(config),
        python,
        no_programs,
    )


def _capacity(config: NodeConfig) -> Capacity:
    machine = machine_capacity(config.nodes_here)
    return Capacity(config.memory_bytes or machine.memory_bytes, config.cpus or machine.cpus)


async def _first_of(stop: asyncio.Event, agent: Agent) -> None:
    """Until `stop` is set, or the agent broke: that is raised."""
    stopping = asyncio.create_task(stop.wait())
    failing = asyncio.create_task(agent.failed())
    try:
        done, _ = await asyncio.wait((stopping, failing), return_when=asyncio.FIRST_COMPLETED)
        if failing in done:
            failing.result()
    finally:
        await give_up((stopping, failing))


def node(config: Annotated[Path, typer.Option(help="JSON file, see docs/operations.md.", exists=True)]) -> None:
    """Run one storage node, and its agent, until SIGTERM."""
    log_to_stderr()
    ready_fd = attach_to_supervisor()
    settings = load(config, NodeConfig, supervised=ready_fd is not None)
    asyncio.run(run_node(msgspec.structs.replace(settings, ready_fd=ready_fd or settings.ready_fd)))


if __name__ == "__main__":
    typer.run(node)
