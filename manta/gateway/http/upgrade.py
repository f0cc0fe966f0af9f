"""A connection handed on: after 101 a client's bytes go to a node and back, unread, at the pace of the slower side."""

import asyncio
import contextlib
from collections.abc import Callable, Mapping

from manta.core import websocket
from manta.core.errands import give_up
from manta.core.errors import BadRequest, UpgradeRequired
from manta.core.limits import LINGER_S, TUNNEL_BYTES
from manta.gateway.http.responses import Response, Sink
from storage_nodes.client.connection import Connection
from storage_nodes.server.tunnel import Tunnel


def websocket_key(headers: Mapping[str, str]) -> str:
    """The key of a request for a WebSocket (RFC 6455 §4.2.1). UpgradeRequired where it is none, BadRequest."""
    wants = {word.strip().lower() for word in headers.get("connection", "").split(",")}
    if headers.get("upgrade", "").lower() != "websocket" or "upgrade" not in wants:
        raise UpgradeRequired
    if headers.get("sec-websocket-version") != websocket.VERSION:
        raise UpgradeRequired("This call is a WebSocket of version 13 (RFC 6455).")
    if headers.get("content-length", "0") != "0" or "transfer-encoding" in headers:
        raise BadRequest("A WebSocket begins with a request without a body.")
    key = headers.get("sec-websocket-key", "")
    if not websocket.is_key(key):
        raise BadRequest("Sec-WebSocket-Key is 16 bytes in base64.")
    return key


class UpgradeResponse(Response):
    """Ends when either side does, or the gateway is about to. Owns `connection`, which is ready on the node's side.

    `goodbye`: whole frames, which the client is sent when it is the gateway that ends.
    """

    __slots__ = ("_connection", "_draining", "_edges", "_goodbye", "_on_close", "_sent")

    def __init__(
        self,
        key: str,
        connection: Connection,
        draining: asyncio.Event,
        goodbye: bytes,
        on_close: Callable[[], None],
    ) -> None:
        accept = websocket.accept_of(key)
        super().__init__(101, {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Accept": accept})
        self._connection = connection
        self._draining = draining
        self._goodbye = goodbye
        self._edges = websocket.Edges()
        self._on_close = on_close
        self._sent = 0

    @property
    def length(self) -> int | None:
        """What the client was sent so far."""
        return self._sent

    async def write_body(self, sink: Sink) -> None:
        tunnel = sink.tunnel()
        loop = asyncio.get_running_loop()
        ways = [
            loop.create_task(self._down(tunnel)),
            loop.create_task(self._up(tunnel)),
            loop.create_task(self._drained(tunnel)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await give_up(ways)

    async def close(self) -> None:
        self._connection.close()
        self._on_close()

    async def _down(self, tunnel: Tunnel) -> None:
        while True:
            data = await self._connection.read_some(TUNNEL_BYTES)
            edge = self._edges.feed(data)
            if edge and self._draining.is_set():
                await self._end(tunnel, data[:edge])
                return
            self._sent += len(data)
            await tunnel.write(data)

    async def _up(self, tunnel: Tunnel) -> None:
        while data := await tunnel.read():
            await self._connection.send(data)

    async def _drained(self, tunnel: Tunnel) -> None:
        """In the middle of a frame the goodbye waits for its end, which is the business of `_down`."""
        await self._draining.wait()
        if self._edges.between:
            await self._end(tunnel)
        else:
            await asyncio.sleep(LINGER_S)

    async def _end(self, tunnel: Tunnel, last: bytes = b"") -> None:
        """The client has a while to read that, and to close: what it sends meanwhile must not break its reading."""
        with contextlib.suppress(TimeoutError, ConnectionError):
            async with asyncio.timeout(LINGER_S):
                await tunnel.write(last + self._goodbye)
                await asyncio.Event().wait()
