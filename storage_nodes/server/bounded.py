"""aiohttp's low-level server with the bounds it lacks: how many connections, and how long the first call may take."""

import asyncio
from collections.abc import Awaitable, Callable

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from manta.core.limits import CONNECTIONS_MAX, HEADERS_DEADLINE_S, KEEPALIVE_S, MIB

Handle = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class BoundedServer(web.Server):
    """Refuses connections beyond the bound, and cuts those whose first call has not come by the deadline.

    Between calls aiohttp's own keep-alive timer does the same.
    """

    def __init__(
        self, handle: Handle, *, connections_max: int = CONNECTIONS_MAX, deadline_s: float = HEADERS_DEADLINE_S
    ) -> None:
        super().__init__(
            self._note, access_log=None, auto_decompress=False, keepalive_timeout=KEEPALIVE_S, read_bufsize=MIB
        )
        self._handle = handle
        self._connections_max = connections_max
        self._deadline_s = deadline_s
        self._deadlines: dict[RequestHandler, asyncio.TimerHandle] = {}

    def connection_made(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        if len(self.connections) > self._connections_max:
            transport.abort()
            return
        loop = asyncio.get_running_loop()
        self._deadlines[handler] = loop.call_later(self._deadline_s, transport.abort)

    def connection_lost(self, handler: RequestHandler, exc: BaseException | None = None) -> None:
        self._met(handler)
        super().connection_lost(handler, exc)

    async def _note(self, request: web.BaseRequest) -> web.StreamResponse:
        self._met(request.protocol)
        return await self._handle(request)

    def _met(self, handler: RequestHandler) -> None:
        deadline = self._deadlines.pop(handler, None)
        if deadline is not None:
            deadline.cancel()
