"""`GET /login`: an interactive session on an object, at a node that holds a copy; its bytes are passed on unread."""

import secrets
from collections import Counter
from dataclasses import dataclass
from typing import Final

from jobs.model.login import NODE_PATH, LoginEnd, LoginSpec, encode_end, encode_spec
from jobs.model.login_request import LoginRequest, parse_login
from jobs.model.wire import InputRef, TaskKind
from manta.catalog.records import ObjectVersion
from manta.core import limits
from manta.core.errors import AccessDenied, MantaError, NodeUnavailable, NotFound, SlowDown
from manta.core.peers import NodeAddress
from manta.core.websocket import CloseCode, Kind, encode, encode_close
from manta.gateway.access import Action, authorize, visible
from manta.gateway.context import Context
from manta.gateway.datapath.cluster import Cluster
from manta.gateway.datapath.compose import Datapath
from manta.gateway.http.request import Request
from manta.gateway.http.responses import Response
from manta.gateway.http.upgrade import UpgradeResponse, websocket_key
from manta.gateway.metering import Meter, Meters
from manta.gateway.router import ApiRoute
from storage_nodes.client.connection import Connection
from storage_nodes.client.node_client import NodeClient

_REPLACED: Final = LoginEnd(reason="The gateway is being replaced, or stopped: run `manta login` again.")
_GOODBYE: Final = encode(Kind.TEXT, encode_end(_REPLACED)) + encode_close(CloseCode.GOING_AWAY)


@dataclass(slots=True)
class Logins:
    """How many sessions this gateway passes on now."""

    open: int = 0

    def leave(self) -> None:
        self.open -= 1


async def login(context: Context, request: Request) -> Response:
    """The session. UpgradeRequired, NoSuchKey, AccessDenied; SlowDown when there are too many."""
    key = websocket_key(request.headers)
    asked = parse_login(request.query)
    found = [await _find(context, request, bucket, name) for bucket, name in asked.objects]
    logins = context.shared(Logins)
    if logins.open >= limits.LOGIN_GATEWAY_SESSIONS_MAX:
        raise SlowDown("This gateway serves as many sessions as it can: try again later.")
    cluster = context.extra(Datapath).cluster
    logins.open += 1
    try:
        connection = await _begin(cluster, request.account_id, asked, found)
    except BaseException:
        logins.leave()
        raise
    meter = Meter(context.catalog.jobs, context.clock, request.account_id, asked.memory_bytes)
    context.shared(Meters).begin(meter)

    def leave() -> None:
        meter.end()
        logins.leave()

    return UpgradeResponse(key, connection, context.draining, _GOODBYE, leave)


def open_logins(context: Context) -> int:
    """For the metrics."""
    return context.shared(Logins).open


async def _find(context: Context, request: Request, bucket: str, key: str) -> ObjectVersion:
    try:
        located = await context.catalog.locate(bucket, key)
        authorize(request, Action.GET, located.bucket, key)
        return visible(request.principal, located, key)
    except (NotFound, AccessDenied) as error:
        error.message = f"s3://{bucket}/{key}: {error.message}"  # a session may be on many
        raise


async def _begin(cluster: Cluster, account_id: str, asked: LoginRequest, found: list[ObjectVersion]) -> Connection:
    """The connection to the first node that takes the session; what the last one said if none does."""
    refused: MantaError = NodeUnavailable("No node that holds a copy answers: try again.")
    for node_id in _candidates(cluster, asked.kind, found):
        node = next((member.node for member in cluster.members() if member.node.node_id == node_id), None)
        if node is None:
            continue
        client = NodeClient(NodeAddress(node.node_id, node.url, node.key))
        try:
            return await client.upgrade(
                NODE_PATH, encode_spec(_spec(cluster, account_id, asked, found)), limits.LOGIN_OPEN_S
            )
        except MantaError as error:
            if not error.retryable and error.status < 500:
                raise
            refused = error
        finally:
            await client.close()
    raise refused


def _candidates(cluster: Cluster, kind: TaskKind, found: list[ObjectVersion]) -> list[str]:
    """Living nodes to ask, the best first. On a map session's object only a holder of a copy will do."""
    held: Counter[str] = Counter()
    for version in found:
        if version.blob is not None:
            held.update(dict.fromkeys(version.blob.nodes, version.size))
    if kind is TaskKind.MAP and held:
        return [node_id for node_id in cluster.reading_order(list(held)) if cluster.is_alive(node_id)]
    alive = [member.node.node_id for member in cluster.members() if member.alive]
    return sorted(cluster.reading_order(alive), key=lambda node_id: -held[node_id])


def _spec(cluster: Cluster, account_id: str, asked: LoginRequest, found: list[ObjectVersion]) -> LoginSpec:
    inputs = []
    for (bucket, key), version in zip(asked.objects, found, strict=True):
        blob = version.blob
        sources = cluster.sources(blob.nodes, blob.blob_id) if blob is not None else ()
        inputs.append(InputRef(bucket, key, version.size, blob.blob_id if blob is not None else None, sources))
    return LoginSpec(
        tenant=account_id,
        kind=asked.kind,
        inputs=tuple(inputs),
        memory_bytes=asked.memory_bytes,
        scratch_bytes=asked.scratch_bytes,
        timeout_s=asked.timeout_s,
        rows=asked.rows,
        columns=asked.columns,
        term=asked.term,
        command=asked.command,
        plain=asked.plain,
        nonce=secrets.token_hex(16),
    )


API_ROUTES = (ApiRoute("Login", login, "GET", "v1/login", long=True),)
