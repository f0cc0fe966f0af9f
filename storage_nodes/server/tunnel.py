"""A connection after its upgrade: raw bytes both ways over aiohttp's protocol, with flow control and a bound."""

import asyncio
from collections import deque
from typing import Final

from aiohttp.base_protocol import BaseProtocol

from manta.core.limits import TUNNEL_BYTES

_CLOSED: Final = "The connection was closed."


class Tunnel:
    """Takes a connection over from the HTTP parser; at most TUNNEL_BYTES (and one read) wait to be read here."""

    def __init__(self, protocol: BaseProtocol) -> None:
        self._protocol = protocol
        self._pieces: deque[bytes] = deque()
        self._size = 0
        self.paused = False
        """More has come than its owner reads; the end of the other side is not seen meanwhile."""
        self.gone = asyncio.Event()
        """The other side is gone, whatever of it was not read yet."""
        self.received = 0
        self._waiter: asyncio.Future[None] | None = None
        if protocol.transport is None:
            self.gone.set()
        protocol.set_parser(self)  # type: ignore[attr-defined]  # RequestHandler's: hands us what follows

    # -- called by the protocol

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        self._pieces.append(data)
        self._size += len(data)
        self.received += len(data)
        if self._size > TUNNEL_BYTES and not self.paused:
            self.paused = True
            self._protocol.pause_reading()
        self._wake()
        return False, b""

    def feed_eof(self) -> None:
        self.gone.set()
        self._wake()

    # -- for its owner

    async def read(self) -> bytes:
        """What has come, as soon as something has; b"" at the end."""
        while not self._pieces:
            if self.gone.is_set():
                return b""
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        data = self._pieces.popleft()
        self._size -= len(data)
        if self.paused and self._size <= TUNNEL_BYTES // 2:
            self.paused = False
            self._protocol.resume_reading()
        return data

    def unread(self, data: bytes) -> None:
        """Bytes that were read too far."""
        if data:
            self._pieces.appendleft(data)
            self._size += len(data)

    @property
    def blocked(self) -> bool:
        """Whether the other side does not take what was written."""
        return self._protocol.writing_paused

    async def write(self, data: bytes) -> None:
        """Returns once there is room for more. ConnectionError when the other side is gone."""
        transport = self._protocol.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError(_CLOSED)
        transport.write(data)
        if self._protocol.writing_paused:
            await self._protocol._drain_helper()

    def abort(self) -> None:
        """Ends it now; what was written and not taken is dropped."""
        if self._protocol.transport is not None:
            self._protocol.transport.abort()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
