"""Which operation a request asks for: a table, and 501 for everything of S3 that is not in it.

Every handler is `async def op(context: Context, request: Request) -> Response`, declared by a `Route` in the
`ROUTES` tuple of its module in `manta.gateway.ops`. A route names each query parameter and each `x-amz-` header that
its handler understands; anything else of S3's is refused with 501, because silence would look like consent.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

from manta.core.errors import MethodNotAllowed, NotFound, NotImplementedHere
from manta.gateway.context import Context
from manta.gateway.http.request import Request
from manta.gateway.http.responses import Response

Op = Callable[[Context, Request], Awaitable[Response]]


class Level(Enum):
    """What the path names."""

    SERVICE = "service"
    BUCKET = "bucket"
    OBJECT = "object"


class Access(Enum):
    """Who checks the caller. NODE: the handler itself, with the node's own key. ROOT: SigV4 by the root account."""

    SIGNED = "signed"
    ROOT = "root"
    NODE = "node"
    PUBLIC = "public"


@dataclass(frozen=True, slots=True)
class Route:
    """An S3 operation. `marker` is the query parameter that tells it from its neighbours ("" for the plain one).

    `copy`: the one of a pair that has `x-amz-copy-source`. A header ending in `*` allows a prefix.
    """

    name: str
    op: Op
    method: str
    level: Level
    marker: str = ""
    copy: bool = False
    query: frozenset[str] = frozenset()
    headers: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class ApiRoute:
    """An operation under `/_manta/`. `path` is like `v1/jobs/{id}/inputs`; the variable parts become request.params.

    Errors are JSON. `long`: the call may last for minutes (a poll, a stream of events), which is no sign of trouble.
    """

    name: str
    op: Op
    method: str
    path: str
    access: Access = Access.SIGNED
    long: bool = False


# Query parameters that choose another operation of S3:
# https://docs.aws.amazon.com/AmazonS3/latest/API/API_Operations_Amazon_Simple_Storage_Service.html
SUBRESOURCES = frozenset(
    [
        "abac",
        "accelerate",
        "acl",
        "analytics",
        "annotation",
        "annotations",
        "attributes",
        "cors",
        "delete",
        "encryption",
        "intelligent-tiering",
        "inventory",
        "legal-hold",
        "lifecycle",
        "list-type",
        "location",
        "logging",
        "metadataConfiguration",
        "metadataInventoryTable",
        "metadataJournalTable",
        "metadataTable",
        "metrics",
        "notification",
        "object-lock",
        "ownershipControls",
        "policy",
        "policyStatus",
        "publicAccessBlock",
        "renameObject",
        "replication",
        "requestPayment",
        "restore",
        "retention",
        "select",
        "select-type",
        "session",
        "tagging",
        "torrent",
        "uploadId",
        "uploads",
        "versioning",
        "versions",
        "website",
    ]
)
_IGNORED_QUERY = frozenset({"AWSAccessKeyId", "Signature", "Expires"})


class Router:
    """The tables, built once at start."""

    def __init__(self, routes: Iterable[Route], api_routes: Iterable[ApiRoute]) -> None:
        self._routes: dict[tuple[str, Level, str, bool], Route] = {}
        for route in routes:
            self._routes[route.method, route.level, route.marker, route.copy] = route
        self._api: dict[str, list[tuple[list[str], ApiRoute]]] = {}
        for api_route in api_routes:
            self._api.setdefault(api_route.method, []).append((api_route.path.split("/"), api_route))

    def find(self, method: str, level: Level, query: Mapping[str, str], headers: Mapping[str, str]) -> Route:
        """The route, its query and headers checked; NotImplementedHere or MethodNotAllowed."""
        marker = _marker(query) if query else ""
        route = self._routes.get((method, level, marker, "x-amz-copy-source" in headers))
        if route is None:
            raise _unrouted(method, level, marker)
        if query:
            _check_query(route, query)
        return route

    def find_api(self, method: str, path: str) -> tuple[ApiRoute, dict[str, str]]:
        """The route for a decoded path after `/_manta/`, with its variable parts; NotFound, MethodNotAllowed."""
        pieces = path.split("/")
        for pattern, route in self._api.get(method, ()):
            params = _match(pattern, pieces)
            if params is not None:
                return route, params
        for other in self._api.values():
            if any(_match(pattern, pieces) is not None for pattern, _ in other):
                raise MethodNotAllowed
        raise NotFound(f"There is no call /_manta/{path[:80]}.")


def _marker(query: Mapping[str, str]) -> str:
    found = [name for name in query if name in SUBRESOURCES]
    if len(found) > 1:
        raise NotImplementedHere(f"The query parameters {', '.join(sorted(found))} cannot be combined.")
    return found[0] if found else ""


def _unrouted(method: str, level: Level, marker: str) -> Exception:
    if method not in ("GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS"):
        return MethodNotAllowed(f"{method} is not a method of S3.")
    what = f"{method} of {'an' if level is Level.OBJECT else 'a'} {level.value}" + (
        f" with ?{marker}" if marker else ""
    )
    return NotImplementedHere(f"This store does not implement {what}.")


def _check_query(route: Route, query: Mapping[str, str]) -> None:
    for name in query:
        if name == route.marker or name in route.query or name in _IGNORED_QUERY:
            continue
        # `x-` parameters are the client's own, for its log (S3 ignores them too); X-Amz- ones are the verifier's.
        if name[:2].lower() == "x-":
            continue
        raise NotImplementedHere(f"{route.name} does not implement the query parameter {name!r}.")


def _match(pattern: list[str], pieces: list[str]) -> dict[str, str] | None:
    if len(pattern) != len(pieces):
        return None
    params: dict[str, str] = {}
    for wanted, given in zip(pattern, pieces, strict=True):
        if wanted.startswith("{"):
            if not given:
                return None
            params[wanted[1:-1]] = given
        elif wanted != given:
            return None
    return params
