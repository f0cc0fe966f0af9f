"""A running storage node: volume, threads and listener, begun and ended in the right order."""

import asyncio
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from aiohttp import web

from manta.core.config import NodeConfig
from manta.core.errors import InvalidArgument
from manta.core.limits import CONNECTIONS_MAX, DRAIN_S, FILES_PER_CONNECTION
from manta.core.process import raise_descriptor_limit
from storage_nodes.disk.simple_puts import SimplePuts
from storage_nodes.disk.small_puts import Puts, SmallPuts
from storage_nodes.disk.volume import Volume, open_volume
from storage_nodes.server.handlers import Handlers
from storage_nodes.server.listener import Route, build_server
from storage_nodes.server.status import StatusBoard
from storage_nodes.server.workers import Workers

_THREADS = 16
"""More than there are processors: most of them wait for the disk, and a read must not wait behind their fsyncs."""


class StorageServer:
    """The node's storage, accepting calls since `serve_storage` returned it. `close` drains and ends it."""

    def __init__(
        self, volume: Volume, small_puts: Puts, workers: Workers, board: StatusBoard, runner: web.ServerRunner
    ) -> None:
        self.small_puts = small_puts
        self.volume = volume
        self.workers = workers
        self.board = board
        self._runner = runner

    async def close(self) -> None:
        """Finish what is under way, then give up the volume."""
        await self._runner.cleanup()
        await asyncio.to_thread(self.small_puts.close)
        self.workers.close()
        self.volume.close()


async def serve_storage(config: NodeConfig, extra_routes: Mapping[str, Route] | None = None) -> StorageServer:
    """Open the volume in `config.data_dir` and listen at `config.listen`. Conflict if the volume is not this node's.

    `extra_routes` maps the beginning of a path, such as `/agent/`, to the handler of all calls below it.
    """
    raise_descriptor_limit(CONNECTIONS_MAX * FILES_PER_CONNECTION + 512)
    key = _key(config)
    try:
        volume = await asyncio.to_thread(open_volume, Path(config.data_dir), config.node_id)
    except OSError as error:
        raise InvalidArgument(f"{config.data_dir} cannot hold a node's volume: {error.strerror}.") from None
    workers = Workers(_THREADS)
    small_puts: Puts = SmallPuts(volume) if config.journal else SimplePuts(volume, workers)
    try:
        await asyncio.to_thread(small_puts.start)
        board = StatusBoard(volume)
        server = build_server(Handlers(volume, small_puts, workers, board), key, extra_routes)
        runner = web.ServerRunner(server, shutdown_timeout=DRAIN_S)
        await runner.setup()
        await _listen(runner, config.listen)
    except BaseException:
        small_puts.close()
        workers.close()
        volume.close()
        raise
    return StorageServer(volume, small_puts, workers, board, runner)


async def run_storage(config: NodeConfig) -> None:
    """Serve until SIGTERM or SIGINT, then drain."""
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    server = await serve_storage(config)
    try:
        tell_ready(config)
        await ended.wait()
    finally:
        await server.close()


def tell_ready(config: NodeConfig) -> None:
    """A line on the descriptor that a supervisor waits on, or for whoever started this process."""
    if config.ready_fd is not None:
        os.write(config.ready_fd, b"ready\n")
        os.close(config.ready_fd)
    else:
        print(f"ready {config.listen}", flush=True)


def _key(config: NodeConfig) -> bytes:
    try:
        return bytes.fromhex(config.key)
    except ValueError:
        raise InvalidArgument("The `key` of a node is written in hexadecimal digits, as it was registered.") from None


async def _listen(runner: web.ServerRunner, listen: str) -> None:
    try:
        await _listen_at(runner, listen)
    except OSError as error:
        raise InvalidArgument(f"Cannot listen at {listen}: {error.strerror}.") from None


async def _listen_at(runner: web.ServerRunner, listen: str) -> None:
    if listen.startswith("unix:"):
        path = Path(listen.removeprefix("unix:"))
        path.unlink(missing_ok=True)
        await web.UnixSite(runner, path, backlog=CONNECTIONS_MAX).start()
        path.chmod(0o600)
        return
    parts = urlsplit(listen)
    if parts.scheme != "http" or not parts.hostname or parts.port is None:
        raise InvalidArgument(f"A node listens at unix:/path or http://host:port, not {listen!r}.")
    await web.TCPSite(runner, parts.hostname, parts.port, backlog=CONNECTIONS_MAX).start()
