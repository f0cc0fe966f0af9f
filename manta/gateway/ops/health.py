"""Health, for load balancers and supervisors: alive, and ready to take requests."""

from manta.core.errors import ServiceUnavailable
from manta.gateway.context import Context
from manta.gateway.http.request import Request
from manta.gateway.http.responses import Response, json_response
from manta.gateway.router import Access, ApiRoute


async def health(_context: Context, _request: Request) -> Response:
    return json_response({"status": "ok"})


async def ready(context: Context, _request: Request) -> Response:
    """503 while draining, so that a balancer looks elsewhere before connections are closed; or without a catalog."""
    if context.draining.is_set():
        raise ServiceUnavailable("This gateway is shutting down.")
    await context.catalog.list_nodes()
    return json_response({"status": "ready"})


API_ROUTES = (
    ApiRoute("Health", health, "GET", "health", Access.PUBLIC),
    ApiRoute("Health", health, "HEAD", "health", Access.PUBLIC),
    ApiRoute("Ready", ready, "GET", "ready", Access.PUBLIC),
)
