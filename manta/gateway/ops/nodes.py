"""Calls of nodes, `/_manta/node/v1/…` (jobs/model/wire.py), and for the root account who they are and how they do."""

from typing import TypeVar

import msgspec

from jobs.model.questions import InputsRequest, JobsReply, JobsRequest, ListingRequest, ObjectsRequest, SlotsRequest
from jobs.model.wire import LeaseRequest, ReportRequest, pack, unpack
from jobs.scheduler.scheduler import Scheduler
from manta.catalog.records import Node, NodeState
from manta.core.errors import AccessDenied, BadRequest
from manta.core.limits import JOBS_ASKED_MAX, JSON_MAX_BYTES, NODE_MESSAGE_MAX_BYTES
from manta.core.names import check_node_id
from manta.gateway.context import Context
from manta.gateway.datapath.cluster import Cluster, Member
from manta.gateway.http.request import Request
from manta.gateway.http.responses import Response, json_response
from manta.gateway.http.xml import timestamp
from manta.gateway.jobs import NODE_HEADER, NodeKeys
from manta.gateway.ops.task_calls import TaskCalls
from manta.gateway.router import Access, ApiRoute
from storage_nodes import token
from storage_nodes.client.connection import parse_url

MSGPACK = "application/msgpack"
NodeMessage = TypeVar(
    "NodeMessage", LeaseRequest, ReportRequest, InputsRequest, SlotsRequest, ObjectsRequest, ListingRequest, JobsRequest
)


async def lease(context: Context, request: Request) -> Response:
    message = await _read(context, request, LeaseRequest)
    return _reply(await context.extra(Scheduler).lease(message, request.is_abandoned))


async def report(context: Context, request: Request) -> Response:
    message = await _read(context, request, ReportRequest)
    return _reply(await context.extra(Scheduler).report(message))


async def inputs(context: Context, request: Request) -> Response:
    message = await _read(context, request, InputsRequest)
    return _reply(await context.extra(Scheduler).places.inputs(message))


async def slots(context: Context, request: Request) -> Response:
    message = await _read(context, request, SlotsRequest)
    return _reply(await context.extra(Scheduler).places.slots(message))


async def objects(context: Context, request: Request) -> Response:
    message = await _read(context, request, ObjectsRequest)
    return _reply(await context.extra(TaskCalls).objects(context, message))


async def listing(context: Context, request: Request) -> Response:
    message = await _read(context, request, ListingRequest)
    return _reply(await context.extra(TaskCalls).listing(context, message))


async def jobs(context: Context, request: Request) -> Response:
    message = await _read(context, request, JobsRequest)
    if len(message.job_ids) > JOBS_ASKED_MAX:
        raise BadRequest(f"A node asks for at most {JOBS_ASKED_MAX} jobs in one call.")
    return _reply(JobsReply(tuple(await context.catalog.jobs.gone_jobs(message.job_ids))))


async def _read(context: Context, request: Request, kind: type[NodeMessage]) -> NodeMessage:
    """The message, once the node has proved that it is the one it names."""
    node_id = request.headers.get(NODE_HEADER, "")
    signed = request.headers.get(token.HEADER, "")
    await context.extra(NodeKeys).check(node_id, request.raw_path, signed)
    body = await request.body.read(NODE_MESSAGE_MAX_BYTES)
    token.check_body(signed, body)
    message = unpack(body, kind)
    if message.node_id != node_id:
        raise AccessDenied("The message names another node than its sender.")
    return message


def _reply(message: msgspec.Struct) -> Response:
    return Response(200, None, pack(message), MSGPACK)


class NodeDocument(msgspec.Struct, forbid_unknown_fields=True):
    """A node to register; `key` is hexadecimal."""

    id: str
    url: str
    key: str
    machine_id: str = ""
    volume: str | None = None
    state: NodeState = NodeState.ACTIVE


async def list_nodes(context: Context, _request: Request) -> Response:
    """Each node, whether it answers this gateway, and what it last said of itself; `waits_for` as of every job."""
    cluster = context.extra(Cluster)
    members = {member.node.node_id: member for member in cluster.members()}
    nodes = [_shown(node) | _seen(members.get(node.node_id)) for node in await context.catalog.list_nodes()]
    return json_response({"nodes": nodes, "waits_for": cluster.shortage(context.config.copies)})


def _seen(member: Member | None) -> dict[str, object]:
    """`status` is None for a node that has not answered yet."""
    if member is None:
        return {"alive": False, "status": None}
    return {"alive": member.alive, "status": member.status}


async def register_node(context: Context, request: Request) -> Response:
    """Insert, or bring up to date, by id."""
    try:
        given = msgspec.json.decode(await request.body.read(JSON_MAX_BYTES), type=NodeDocument)
        key = bytes.fromhex(given.key)
    except (msgspec.MsgspecError, ValueError) as error:
        raise BadRequest(f"Not a node: {error}.") from None
    if len(key) < 16:
        raise BadRequest("A node has a key of at least 16 bytes.")
    parse_url(given.url)
    node = Node(
        node_id=check_node_id(given.id),
        url=given.url,
        key=key,
        machine_id=given.machine_id,
        volume=given.volume,
        state=given.state,
        registered_ms=context.now_ms(),
    )
    await context.catalog.register_node(node)
    return json_response(_shown(node), 201)


def _shown(node: Node) -> dict[str, object]:
    """Without its key (S7)."""
    return {
        "id": node.node_id,
        "url": node.url,
        "machine_id": node.machine_id,
        "state": node.state.value,
        "registered": timestamp(node.registered_ms),
    }


API_ROUTES = (
    ApiRoute("NodeLease", lease, "POST", "node/v1/lease", Access.NODE, long=True),
    ApiRoute("NodeReport", report, "POST", "node/v1/report", Access.NODE),
    ApiRoute("NodeInputs", inputs, "POST", "node/v1/inputs", Access.NODE),
    ApiRoute("NodeSlots", slots, "POST", "node/v1/slots", Access.NODE),
    ApiRoute("NodeObjects", objects, "POST", "node/v1/objects", Access.NODE),
    ApiRoute("NodeJobs", jobs, "POST", "node/v1/jobs", Access.NODE),
    ApiRoute("NodeListing", listing, "POST", "node/v1/listing", Access.NODE),
    ApiRoute("ListNodes", list_nodes, "GET", "v1/nodes", Access.ROOT),
    ApiRoute("RegisterNode", register_node, "POST", "v1/nodes", Access.ROOT),
)
