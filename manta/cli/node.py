"""`manta node`: object files and the agent that runs tasks on them, in one process and one event loop."""

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Iterator
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
from manta.core.process import GIVE_BACK, attach_to_supervisor
from storage_nodes.server.daemon import StorageServer, serve_storage, tell_ready

_LOG = logging.getLogger("manta.node")


async def run_node(config: NodeConfig) -> None:
    """Serve until SIGTERM or SIGINT: then running tasks are given back, zones ended, open calls finished.

    GIVE_BACK has the tasks given back alone.
    """
    stop, give_back = asyncio.Event(), asyncio.Event()

    def end() -> None:
        give_back.set()
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end)
    loop.add_signal_handler(GIVE_BACK, give_back.set)
    routes = AgentRoutes()
    storage = await serve_storage(config, {"/agent/": routes})
    try:
        if config.lanes == 0:
            tell_ready(config)
            await stop.wait()
        else:
            await _run_with_agent(config, storage, routes, give_back, stop)
    finally:
        await storage.close()


async def _run_with_agent(
    config: NodeConfig, storage: StorageServer, routes: AgentRoutes, give_back: asyncio.Event, stop: asyncio.Event
) -> None:
    agent = _build_agent(config, storage)
    await agent.start()
    try:
        routes.agent = agent
        storage.board.agent = agent.status
        with _line_held(config):
            tell_ready(config)
            await _first_of(give_back, agent)
            await agent.give_back()
        await stop.wait()
    finally:
        await agent.close()


@contextlib.contextmanager
def _line_held(config: NodeConfig) -> Iterator[None]:
    """Keeps `ready_fd` open beyond the word that is said on it: its end tells that no task runs here any more."""
    held = None if config.ready_fd is None else os.dup(config.ready_fd)
    try:
        yield
    finally:
        if held is not None:
            os.close(held)


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


async def _first_of(event: asyncio.Event, agent: Agent) -> None:
    """Until `event` is set, or the agent broke: that is raised."""
    waiting = asyncio.create_task(event.wait())
    failing = asyncio.create_task(agent.failed())
    try:
        done, _ = await asyncio.wait((waiting, failing), return_when=asyncio.FIRST_COMPLETED)
        if failing in done:
            failing.result()
    finally:
        await give_up((waiting, failing))


def node(config: Annotated[Path, typer.Option(help="JSON file, see docs/operations.md.", exists=True)]) -> None:
    """Run one storage node, and its agent, until SIGTERM."""
    log_to_stderr()
    ready_fd = attach_to_supervisor()
    settings = load(config, NodeConfig, supervised=ready_fd is not None)
    asyncio.run(run_node(msgspec.structs.replace(settings, ready_fd=ready_fd or settings.ready_fd)))


if __name__ == "__main__":
    typer.run(node)
