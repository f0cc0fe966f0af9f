"""Large bodies past aiohttp: from the client's socket into a ring, where they are hashed and nodes read them.

aiohttp's reader makes an object of every piece and copies it on its way. For a plain body of known length nothing is
to be parsed, so another protocol stands in for aiohttp's until the body has come.
"""

import asyncio
import contextlib
from typing import TYPE_CHECKING

from aiohttp import StreamReader
from aiohttp.http import RawRequestMessage

from manta.core.errors import IncompleteBody
from manta.core.limits import BLOCK_BYTES, RING_KEPT_BYTES, RING_MIN_BYTES
from storage_nodes.ring import Ring, rings
from storage_nodes.server.raw_body import RawBody

if TYPE_CHECKING:
    from manta.gateway.http.server import Connection


class StraightBody:
    """One body on its way past aiohttp; `end` gives the connection back."""

    def __init__(self, transport: asyncio.Transport, raw: RawBody, ring: Ring) -> None:
        self.raw = raw
        self._transport = transport
        self._ring = ring

    async def end(self, usual: "Connection", linger_s: float) -> bool:
        """The request was answered: whether the connection can be used for another one.

        What is left of a body that was not wanted is read away for a while, so that the client takes the reply.
        """
        if not self.raw.complete and linger_s:
            with contextlib.suppress(TimeoutError, IncompleteBody):
                async with asyncio.timeout(linger_s):
                    while await self.raw.next_block():
                        pass
        if not self.raw.complete or self._transport.is_closing():
            return False
        rings.give_back(self._ring)
        self._transport.set_protocol(usual)
        return True


def begin(connection: "Connection", message: RawRequestMessage, payload: StreamReader) -> StraightBody | None:
    """None where it does not pay (a short body) or cannot be done: TLS, unknown length, all rings in use."""
    transport = connection.transport
    size = int(message.headers.get("Content-Length", "0"))
    if size < RING_MIN_BYTES or message.chunked or message.upgrade or connection.ssl_context is not None:
        return None
    if transport is None or transport.is_closing() or payload.is_eof() or payload.exception() is not None:
        return None
    ring = rings.take()
    if ring is None:
        return None
    # Hashing and the nodes may lag RING_KEPT_BYTES behind the block that was handed out last.
    raw = RawBody(transport, connection, size, memoryview(ring), RING_KEPT_BYTES + BLOCK_BYTES)
    while data := payload.read_nowait():
        raw.feed(data)
    transport.set_protocol(raw)
    return StraightBody(transport, raw, ring)
