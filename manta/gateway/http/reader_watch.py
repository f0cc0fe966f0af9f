"""Patience with a client that reads slowly: it may take all the time it needs, as long as it takes something."""

import asyncio
import socket
import struct
from types import TracebackType

from manta.core.limits import READER_PROGRESS_BYTES, READER_PROGRESS_S

_TCP_INFO_BYTES = 128
_BYTES_ACKED_AT = 120
"""In the kernel's struct tcp_info, since Linux 4.1: what the client's machine has taken over, in bytes."""


class ReaderWatch:
    """Cuts off what it surrounds once the client has taken less than READER_PROGRESS_BYTES in READER_PROGRESS_S.

    An average would fail whoever is on a modest link: what counts is that the other side's kernel acknowledges bytes.
    """

    __slots__ = ("_handle", "_limit", "_loop", "_taken", "_transport")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._limit = asyncio.timeout(None)

    async def __aenter__(self) -> None:
        self._taken = taken_bytes(self._transport)
        self._handle = self._loop.call_later(READER_PROGRESS_S, self._look)
        await self._limit.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, stack: TracebackType | None
    ) -> None:
        self._handle.cancel()
        try:
            await self._limit.__aexit__(kind, error, stack)
        except TimeoutError:
            raise ConnectionAbortedError("The client takes no bytes.") from None

    def _look(self) -> None:
        taken = taken_bytes(self._transport)
        if taken - self._taken < READER_PROGRESS_BYTES:
            self._limit.reschedule(self._loop.time())
            return
        self._taken = taken
        self._handle = self._loop.call_later(READER_PROGRESS_S, self._look)


def taken_bytes(transport: asyncio.Transport) -> int:
    """What the client has acknowledged so far; always 0 where the kernel does not say (Unix sockets)."""
    wire = transport.get_extra_info("socket")
    if wire is None or wire.family not in (socket.AF_INET, socket.AF_INET6):
        return 0
    try:
        info = wire.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES)
    except OSError:
        return 0
    return int(struct.unpack_from("=Q", info, _BYTES_ACKED_AT)[0]) if len(info) == _TCP_INFO_BYTES else 0
