"""One request on the wire: what the parser found, and the way its reply is written."""

import asyncio
import os
from typing import TYPE_CHECKING, BinaryIO

from aiohttp import StreamReader
from aiohttp.http import HttpVersion10, RawRequestMessage

from manta.core.limits import MIB, STREAM_CHUNK_BYTES
from manta.gateway.http.reader_watch import ReaderWatch
from manta.gateway.http.straight import begin
from storage_nodes.server.raw_body import RawBody
from storage_nodes.server.tunnel import Tunnel

if TYPE_CHECKING:
    from manta.gateway.http.server import Connection

SENDFILE_PIECE_BYTES = 4 * MIB
"""So much goes in one call, then other connections have their turn at the disk."""

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Exchange:
    """One request on the wire, and the sink of its reply. `malformed` says why the parser refused it, if it did."""

    __slots__ = ("invited", "malformed", "message", "payload", "protocol")

    def __init__(
        self, message: RawRequestMessage, payload: StreamReader, protocol: "Connection", malformed: str = ""
    ) -> None:
        self.message = message
        self.payload = payload
        self.protocol = protocol
        self.malformed = malformed
        self.invited = False

    def is_lost(self) -> bool:
        """Whether the connection is, so that nobody gets the reply."""
        return self.protocol.transport is None

    def _cancel(self, error: BaseException) -> None:
        """Called by aiohttp when the connection is lost."""
        self.payload.set_exception(error)

    @property
    def keep_alive(self) -> bool:
        """What the client asked for, and the server's own state allows."""
        # After a request to upgrade the parser takes what follows for the other protocol, whatever was answered.
        asked_to_leave = self.message.should_close or self.message.upgrade or "Upgrade" in self.message.headers
        return not (asked_to_leave or self.http10 or self.protocol.server.draining)

    @property
    def http10(self) -> bool:
        return self.message.version <= HttpVersion10

    @property
    def expects_continue(self) -> bool:
        return self.message.headers.get("Expect", "").lower() == "100-continue" and not self.http10

    def send_continue(self) -> None:
        self.invited = True
        self._transport().write(_CONTINUE)

    def take_straight(self) -> RawBody | None:
        """The body, taken from the socket into a ring from now on; None where that does not pay or cannot be."""
        self.protocol.straight = begin(self.protocol, self.message, self.payload)
        return self.protocol.straight.raw if self.protocol.straight is not None else None

    def refuse_rest(self) -> None:
        """The client waits for `100 Continue` and will not get it: nothing is to be read from it any more."""
        self.protocol.linger_not()

    def write(self, data: bytes) -> None:
        self._transport().write(data)

    async def drain(self) -> None:
        protocol = self.protocol
        if protocol.transport is None:
            raise ConnectionResetError("The client closed the connection.")
        if not protocol.writing_paused:
            return
        async with ReaderWatch(protocol.transport):
            await protocol._drain_helper()

    async def sendfile(self, file: BinaryIO, offset: int, count: int) -> None:
        if self.protocol.ssl_context is not None:
            await self._copy_file(file, offset, count)
            return
        loop = asyncio.get_running_loop()
        while count:
            piece = min(count, SENDFILE_PIECE_BYTES)
            try:
                async with ReaderWatch(self._transport()):
                    sent = await loop.sendfile(self._transport(), file, offset, piece)
            except RuntimeError as error:
                raise ConnectionResetError(str(error)) from None
            if not sent:
                raise ConnectionAbortedError("The file ended early.")
            offset += sent
            count -= sent

    async def _copy_file(self, file: BinaryIO, offset: int, count: int) -> None:
        """For TLS, where the kernel cannot send the file by itself."""
        while count:
            data = await asyncio.to_thread(os.pread, file.fileno(), min(count, STREAM_CHUNK_BYTES), offset)
            if not data:
                raise ConnectionAbortedError("The file ended early.")
            self.write(data)
            await self.drain()
            offset += len(data)
            count -= len(data)

    def tunnel(self) -> Tunnel:
        return Tunnel(self.protocol)

    def abort(self) -> None:
        """Break the connection, so that nobody takes a cut-off reply for a whole one."""
        if self.protocol.transport is not None:
            self.protocol.transport.abort()

    def _transport(self) -> asyncio.Transport:
        transport = self.protocol.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("The client closed the connection.")
        return transport
