"""Accepts TLS connections, counted from their first packet on: asyncio's own server counts them after the handshake."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable

from manta.core.errands import give_up, spawn
from manta.core.limits import TLS_HANDSHAKE_S

TLS_CLOSE_S = 1.0
"""How long a client that was told of the end may take to say so too."""
RETRY_S = 0.1
"""After an accept that failed for want of descriptors or memory."""


class TlsListener:
    """Stands in for an `asyncio.Server`. `has_room` is asked for each connection; without room it is closed at once."""

    def __init__(
        self,
        listening: socket.socket,
        context: ssl.SSLContext,
        new_protocol: Callable[[], asyncio.BaseProtocol],
        has_room: Callable[[], bool],
    ) -> None:
        self.sockets = (listening,)
        self.handshakes: set[asyncio.Task[None]] = set()
        self._listening = listening
        self._context = context
        self._new_protocol = new_protocol
        self._has_room = has_room
        self._loop = asyncio.get_running_loop()
        self._accepting = self._loop.create_task(self._accept(), name="tls-accept")

    def close(self) -> None:
        """Accept no more; handshakes that were begun go on."""
        self._accepting.cancel()
        self._accepting.add_done_callback(lambda _: self._listening.close())

    async def cut_off(self) -> None:
        """After `close`: end the handshakes too."""
        await give_up((self._accepting, *self.handshakes))

    async def _accept(self) -> None:
        while True:
            try:
                wire, _ = await self._loop.sock_accept(self._listening)
            except OSError:
                await asyncio.sleep(RETRY_S)
                continue
            if self._has_room():
                spawn(self.handshakes, self._shake_hands(wire))
            else:
                wire.close()
            await asyncio.sleep(0)  # the next one may be here already: others have their turn

    async def _shake_hands(self, wire: socket.socket) -> None:
        """A handshake that fails or takes too long is the client's affair: its connection ends."""
        wire.setblocking(False)
        with contextlib.suppress(OSError):
            await self._loop.connect_accepted_socket(
                self._new_protocol,
                wire,
                ssl=self._context,
                ssl_handshake_timeout=TLS_HANDSHAKE_S,
                ssl_shutdown_timeout=TLS_CLOSE_S,
            )
