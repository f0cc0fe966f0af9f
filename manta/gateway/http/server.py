"""The HTTP shell: aiohttp's parser and connection loop, without its application, routing and replies.

aiohttp decides where a request begins and ends (and refuses smuggling), keeps its flow control and its timer for
silent connections; everything after that is ours. A handler writes to the transport itself.
"""

import asyncio
import contextlib
import os
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import Any, cast

from aiohttp import StreamReader, web
from aiohttp.http import HttpRequestParser, HttpVersion10, RawRequestMessage
from aiohttp.web_protocol import MAX_MSG_QUEUE_SIZE, RequestHandler, RequestPayloadError
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from manta.core.errands import give_up
from manta.core.limits import (
    CONNECTIONS_MAX,
    DRAIN_IDLE_S,
    DRAIN_S,
    HEADER_MAX_BYTES,
    HEADERS_DEADLINE_S,
    HEADERS_MAX,
    KEEPALIVE_S,
    LINGER_S,
    REQUEST_LINE_MAX_BYTES,
    STREAM_CHUNK_BYTES,
)
from manta.gateway.http.exchange import Exchange
from manta.gateway.http.straight import StraightBody
from manta.gateway.http.tls_listener import TlsListener

SWEEP_INTERVAL_S = 1.0
BACKLOG = 1024
ACCEPT_LAST_S = 0.02
CUT_OFF_S = 0.5
"""What is still running at the deadline of a drain gets this long to notice that it is cancelled."""

MALFORMED = RawRequestMessage(
    "UNKNOWN",
    "/",
    HttpVersion10,
    CIMultiDictProxy(CIMultiDict()),
    (),
    True,
    None,
    False,
    False,
    URL("/"),
)
"""Stands for a request that the parser refused."""

_ANSWERED = ConnectionResetError("The request was answered already.")
_TOO_MANY = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nRetry-After: 1\r\nConnection: close\r\n\r\n"


Handler = Callable[[Exchange], Awaitable[bool]]
"""Answers, and says whether the connection may be kept."""


class Connection(RequestHandler):
    """One client connection: aiohttp's, with a deadline for the head of a request and a place in the count."""

    __slots__ = ("active_at", "asked", "head_began", "server", "straight")

    def __init__(self, server: "HttpServer", loop: asyncio.AbstractEventLoop, **options: Any) -> None:
        super().__init__(server, loop=loop, **options)
        self.server = server
        self.active_at = loop.time()
        self.head_began: float | None = None
        self.straight: StraightBody | None = None
        self.asked = False
        """Whether a request has come; its client may then pause for the keep-alive time."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        admitted = transport.get_extra_info("sslcontext") is not None  # before its handshake
        if not admitted and not self.server.has_room():
            cast(asyncio.Transport, transport).write(_TOO_MANY)
            transport.close()
            self._manager = None
            return
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._waiter is not None and not self._waiter.done():
            if self.head_began is None and data:
                self.head_began = self._loop.time()
        else:
            self.head_began = None
        self.active_at = self._loop.time()

    @property
    def idle(self) -> bool:
        """Between requests, with nothing of the next one here."""
        return self._waiter is not None and not self._waiter.done() and self.head_began is None and not self._messages

    def overdue(self, deadline: float) -> bool:
        """Whether the head of a request, or the first byte of the first one, is waited for since before `deadline`."""
        began = self.head_began if self.asked or self.head_began is not None else self.active_at
        return began is not None and began < deadline

    def linger_not(self) -> None:
        self._lingering_time = 0.0

    async def start(self) -> None:
        """Answer one request after the other, in this one task.

        In place of RequestHandler.start, which makes a task, a writer and a BaseRequest for each request: a third of
        the time of a small GET. A request to upgrade is answered as if it had not asked, and ends the connection.
        """
        try:
            while not self._force_close:
                await self._answer(await self._next_message())
                if not self._keepalive or self._close:
                    break
        except ConnectionError:
            self.force_close()
        except BaseException:
            self.force_close()
            raise
        if not self._force_close:
            self._task_handler = None
            if self.transport is not None:
                self.transport.close()

    async def _next_message(self) -> tuple[RawRequestMessage | Any, StreamReader]:
        if not self._messages:
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        found = self._messages.popleft()
        self.asked = True
        if self._parser is not None:
            self._parser.message_consumed()
        if self._buffer_paused and len(self._messages) <= self._msg_queue_resume_size:
            self._resume_reading_if_drained()
        return found

    async def _answer(self, found: tuple[RawRequestMessage | Any, StreamReader]) -> None:
        message, payload = found
        if isinstance(message, RawRequestMessage):
            exchange = Exchange(message, payload, self)
        else:
            exchange = Exchange(MALFORMED, payload, self, str(message.message) or "it is malformed")
        self._request_in_progress = True
        self._current_request = cast(Any, exchange)
        try:
            self._keepalive = await self.server.handler(exchange) and not self._upgraded
        finally:
            self._current_request = None
            self._request_in_progress = False
            if self._handler_waiter is not None:
                self._handler_waiter.set_result(None)
        if self.straight is not None:
            await self._end_straight(self.straight, payload)
        elif not payload.is_eof():
            await self._linger(payload)
        payload.set_exception(_ANSWERED)
        if self._keepalive:
            closes_at = self._loop.time() + KEEPALIVE_S
            self._next_keepalive_close_time = closes_at
            if self._keepalive_handle is None:
                self._keepalive_handle = self._loop.call_at(closes_at, self._process_keepalive)

    async def _end_straight(self, straight: StraightBody, payload: StreamReader) -> None:
        """Go on with a new parser: the old one still waits for the body that went past it."""
        self.straight = None
        if self._force_close or not await straight.end(self, self._lingering_time):
            self._keepalive = False
            return
        self._parser = HttpRequestParser(
            self,
            self._loop,
            STREAM_CHUNK_BYTES,
            max_line_size=REQUEST_LINE_MAX_BYTES,
            max_field_size=HEADER_MAX_BYTES,
            max_headers=HEADERS_MAX,
            payload_exception=RequestPayloadError,
            auto_decompress=False,
            max_msg_queue_size=MAX_MSG_QUEUE_SIZE,
        )
        payload.feed_eof()

    async def _linger(self, payload: StreamReader) -> None:
        """Read away what is left of a body that was not wanted, so that the client takes the reply; then end."""
        if not self._force_close and self._lingering_time:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._lingering_time):
                    while not payload.is_eof():
                        await payload.readany()
        if not payload.is_eof():
            self._keepalive = False


class HttpServer(web.Server):
    """All connections of this process, and the way to end them without breaking one."""

    def __init__(self, handler: Handler) -> None:
        super().__init__(cast(Any, handler))
        self.handler = handler
        self.draining = False
        self._listeners: list[asyncio.Server | TlsListener] = []
        self._sweeper: asyncio.Task[None] | None = None

    def __call__(self) -> RequestHandler:
        return Connection(
            self,
            self._loop,
            access_log=None,
            auto_decompress=False,
            keepalive_timeout=KEEPALIVE_S,
            lingering_time=LINGER_S,
            max_line_size=REQUEST_LINE_MAX_BYTES,
            max_field_size=HEADER_MAX_BYTES,
            max_headers=HEADERS_MAX,
            read_bufsize=STREAM_CHUNK_BYTES,
        )

    async def listen(self, listening: socket.socket, ssl_context: ssl.SSLContext | None = None) -> None:
        loop = asyncio.get_running_loop()
        if ssl_context is None:
            self._listeners.append(await loop.create_server(self, sock=listening, backlog=BACKLOG))
        else:
            listening.listen(BACKLOG)
            listening.setblocking(False)
            self._listeners.append(TlsListener(listening, ssl_context, self, self.has_room))
        if self._sweeper is None:
            self._sweeper = loop.create_task(self._sweep(), name="connection-sweeper")

    def has_room(self) -> bool:
        """Whether one connection more is within the bound; one whose handshake is not over counts too."""
        return len(self._connections) + self._handshakes() < CONNECTIONS_MAX

    def _handshakes(self) -> int:
        return sum(len(listener.handshakes) for listener in self._listeners if isinstance(listener, TlsListener))

    @property
    def port(self) -> int:
        """The port of the listener that was added last (0 for a Unix socket)."""
        name = self._listeners[-1].sockets[0].getsockname()
        return int(name[1]) if isinstance(name, tuple) else 0

    async def drain(self) -> None:
        """Accept no more; answer what is asked on open connections, each time with `Connection: close`; then end.

        A client may be sending just as we close an idle connection, and could not know whether its request was
        carried out. So an idle connection is left open until it has been quiet for DRAIN_IDLE_S (clients in the middle
        of work ask sooner, and are told to close), and even then only if no byte of it waits in the kernel.
        """
        self.draining = True
        # Whom the kernel has let in already is ours to answer: take them in first, and let them become connections.
        await asyncio.sleep(ACCEPT_LAST_S)
        for listener in self._listeners:
            listener.close()
        await asyncio.sleep(ACCEPT_LAST_S)
        loop = asyncio.get_running_loop()
        began = loop.time()
        while (self._connections or self._handshakes()) and loop.time() < began + DRAIN_S:
            now = loop.time()
            for connection in self.connections:
                quiet_s = now - max(began, connection.active_at)
                if connection.idle and quiet_s > DRAIN_IDLE_S and _nothing_waits(connection):
                    connection.close()
                    connection.force_close()
            await asyncio.sleep(0.02)
        await self.close()

    async def close(self) -> None:
        """End everything now."""
        for listener in self._listeners:
            listener.close()
            if isinstance(listener, TlsListener):
                await listener.cut_off()
        if self._sweeper is not None:
            await give_up([self._sweeper])
            self._sweeper = None
        await self.shutdown(CUT_OFF_S)

    async def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(SWEEP_INTERVAL_S)
            deadline = loop.time() - HEADERS_DEADLINE_S
            for connection in self.connections:
                if connection.transport is not None and connection.overdue(deadline):
                    connection.transport.abort()

    @property
    def connections(self) -> "list[Connection]":  # type: ignore[override]
        return cast("list[Connection]", list(self._connections))


def _nothing_waits(connection: Connection) -> bool:
    """Whether the kernel holds no unread byte of that connection."""
    transport = connection.transport
    wire = transport.get_extra_info("socket") if transport is not None else None
    if wire is None:
        return True
    with socket.socket(fileno=os.dup(wire.fileno())) as peek:
        try:
            return not peek.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except OSError:
            return True
