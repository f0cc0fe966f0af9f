"""The admin port: metrics for Prometheus, on loopback, without signatures."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from manta.core.limits import HEADERS_DEADLINE_S, REQUEST_LINE_MAX_BYTES
from manta.gateway.context import Context
from manta.gateway.http.access_log import AccessLog
from manta.gateway.http.server import HttpServer
from manta.gateway.ops.login import open_logins

ADMIN_HOST = "127.0.0.1"


@contextlib.asynccontextmanager
async def serve_admin(context: Context, server: HttpServer, port: int) -> AsyncIterator[asyncio.Server]:
    """One reply a connection: enough for a scraper, and nothing to hold open."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            async with asyncio.timeout(HEADERS_DEADLINE_S):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(_reply(head.split(b" ", 2)[1:2], context, server))
                await writer.drain()
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    admin = await asyncio.start_server(
        answer, ADMIN_HOST, port, limit=REQUEST_LINE_MAX_BYTES, reuse_address=True, reuse_port=True
    )
    async with admin:
        yield admin


def _reply(path: list[bytes], context: Context, server: HttpServer) -> bytes:
    if path not in ([b"/metrics"], [b"/_manta/metrics"]):
        return b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    gauges = {
        "manta_connections": float(len(server.connections)),
        "manta_login_sessions": float(open_logins(context)),
        "manta_draining": float(context.draining.is_set()),
        "manta_access_log_lines_dropped": float(context.extra(AccessLog).dropped),
    }
    text = context.metrics.text(gauges).encode()
    head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nConnection: close\r\n"
    return f"{head}Content-Length: {len(text)}\r\n\r\n".encode() + text
