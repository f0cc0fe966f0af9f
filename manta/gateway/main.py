"""`manta gateway`: composes catalog, nodes, verifier, handlers and server, and runs until SIGTERM."""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

from manta.auth.verify import Verifier
from manta.catalog.open import open_catalog
from manta.core.clock import SystemClock
from manta.core.config import GatewayConfig
from manta.core.errors import InvalidArgument
from manta.core.limits import CONNECTIONS_MAX, FILES_PER_CONNECTION
from manta.core.process import raise_descriptor_limit
from manta.gateway.admin import serve_admin
from manta.gateway.app import App
from manta.gateway.bootstrap import ensure_named_root
from manta.gateway.context import Context
from manta.gateway.credentials import KeyRing
from manta.gateway.datapath.compose import start_datapath
from manta.gateway.http.access_log import AccessLog
from manta.gateway.http.server import HttpServer
from manta.gateway.jobs import scheduling
from manta.gateway.routes import build_router

_log = logging.getLogger(__name__)
LAST_ANSWERS_S = 0.5
"""How long a process that must end still answers those whose writes it refused."""
REGION_ALIASES = ("us-east-1", "auto")
"""What clients sign for when nobody told them a region."""


async def run_gateway(config: GatewayConfig) -> None:
    """Serve until SIGTERM or SIGINT, then drain: nobody's request is dropped (promise O1)."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    raise_descriptor_limit(CONNECTIONS_MAX * FILES_PER_CONNECTION + 512)
    clock = SystemClock()
    catalog = await open_catalog(config.catalog, clock, lambda: _end_after_failed_sync(loop), server_time=True)
    try:
        await ensure_named_root(catalog, os.environ)
        datapath = await start_datapath(config, catalog, clock)
        try:
            context = Context(config, catalog, datapath.blobs, clock)
            context.provide(datapath, datapath.blobs)
            async with scheduling(context, datapath.cluster), serving(context):
                await stop.wait()
        finally:
            await datapath.close()
    finally:
        await catalog.close()


def _end_after_failed_sync(loop: asyncio.AbstractEventLoop) -> None:
    """The supervisor keeps the evidence (stacks, last requests) and starts another, which reads the disk afresh."""
    _log.critical("The catalog's disk failed to sync: this process ends. Look at the disk before you trust it again.")
    loop.call_later(LAST_ANSWERS_S, os.abort)


@contextlib.asynccontextmanager
async def serving(context: Context) -> AsyncIterator[HttpServer]:
    """A server that accepts while the block runs, and drains when it ends."""
    config = context.config
    access_log = AccessLog(Path(config.log_dir) / "access.log" if config.log_dir else None)
    access_log.start()
    keys = KeyRing(context.catalog, context.clock)
    context.provide(keys, access_log)
    verifier = Verifier(keys.find, context.clock, tuple(dict.fromkeys((config.region, *REGION_ALIASES))))
    app = App(context, build_router(), verifier, access_log)
    server = HttpServer(app.handle)
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(access_log.close)
        stack.push_async_callback(server.close)
        if config.control_fd is not None:
            await server.listen(_inherited(config.control_fd))
        if config.admin_port is not None:
            await stack.enter_async_context(serve_admin(context, server, config.admin_port))
        listening = _listening_socket(config)
        await server.listen(listening, _tls(config))
        _say_ready(config, listening)
        _log.info("This gateway accepts calls on port %d.", listening.getsockname()[1])
        try:
            yield server
        finally:
            _log.info("This gateway lets open requests finish, and ends.")
            context.draining.set()
            await server.drain()


def _inherited(descriptor: int) -> socket.socket:
    listening = socket.socket(fileno=descriptor)
    listening.setblocking(False)
    os.set_inheritable(descriptor, False)
    return listening


def _listening_socket(config: GatewayConfig) -> socket.socket:
    if config.listen_fd is not None:
        return _inherited(config.listen_fd)
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((config.host, config.port))
    except OSError as error:
        listening.close()
        raise InvalidArgument(f"Cannot listen on {config.host}:{config.port}: {error.strerror}.") from None
    return listening


def _tls(config: GatewayConfig) -> ssl.SSLContext | None:
    if config.tls is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(config.tls.certificate, config.tls.private_key)
    except (OSError, ssl.SSLError) as error:
        raise InvalidArgument(f"The TLS certificate {config.tls.certificate} cannot be used: {error}.") from None
    context.set_alpn_protocols(["http/1.1"])
    return context


def _say_ready(config: GatewayConfig, listening: socket.socket) -> None:
    """To the supervisor, or to whoever started this process."""
    if config.ready_fd is not None:
        os.write(config.ready_fd, b"ready\n")
        os.close(config.ready_fd)
    else:
        host = f"[{config.host}]" if ":" in config.host else config.host
        print(f"ready {'https' if config.tls else 'http'}://{host}:{listening.getsockname()[1]}", flush=True)
