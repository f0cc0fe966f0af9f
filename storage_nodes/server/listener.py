"""The node's HTTP server: verifies each call's token, finds its handler, and turns errors into replies."""

import time
from collections.abc import Awaitable, Callable, Mapping
from urllib.parse import parse_qs

from aiohttp import web

from manta.core.errors import AccessDenied, InternalError, MantaError, NotFound
from storage_nodes import messages, token
from storage_nodes.server.bounded import BoundedServer
from storage_nodes.server.handlers import Call, Handlers

Route = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
"""A handler of another room: its call's token is verified already; MantaErrors it raises become replies."""


class NodeHandler:
    """One callable for `aiohttp.web.Server`."""

    def __init__(
        self,
        handlers: Handlers,
        key: bytes,
        extra_routes: Mapping[str, Route],
        wall_s: Callable[[], float] = time.time,
    ) -> None:
        self._handlers = handlers
        self._key = key
        self._extra_routes = extra_routes
        self._wall_s = wall_s

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            return await self._answer(request)
        except MantaError as error:
            return _refuse(error)
        except ConnectionError:
            # The caller left in mid-reply, as a reducer does that has read enough: nobody is there to be told.
            request.protocol.force_close()
            return web.Response(status=499)
        except TimeoutError:
            raise
        except Exception as error:
            request.protocol.logger.exception("A call to the node failed: %s %s", request.method, request.raw_path)
            return _refuse(InternalError(f"The node failed: {type(error).__name__}."))

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        target = request.raw_path
        sent = request.headers.get(token.HEADER, "")
        if not token.verify(self._key, request.method, target, sent, self._wall_s()):
            raise AccessDenied("The call's token does not allow it.")
        path, _, query = target.partition("?")
        for prefix, route in self._extra_routes.items():
            if path.startswith(prefix):
                return await route(request)
        parameters = {name: values[-1] for name, values in parse_qs(query, keep_blank_values=True).items()}
        handler, blob_id = self._handlers.find(request.method, path)
        if handler is None:
            raise NotFound("The node has no such call.")
        return await handler(Call(request, blob_id, parameters))


def build_server(
    handlers: Handlers,
    key: bytes,
    extra_routes: Mapping[str, Route] | None = None,
    wall_s: Callable[[], float] = time.time,
) -> web.Server:
    """The server; `extra_routes` maps a path's beginning, such as `/agent/`, to the handler of all calls below it."""
    return BoundedServer(NodeHandler(handlers, key, extra_routes or {}, wall_s))


def _refuse(error: MantaError) -> web.Response:
    body = messages.encode(messages.refusal(error))
    return web.Response(status=error.status, body=body)
