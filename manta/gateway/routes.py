"""Every operation of this gateway: the tables of all modules in `manta.gateway.ops`, put together."""

from manta.gateway.ops import (
    accounts,
    bucket_policy,
    buckets,
    copy,
    delete_objects,
    health,
    jobs,
    list_uploads,
    login,
    multipart,
    nodes,
    objects,
    parts,
    reads,
    tagging,
    usage,
)
from manta.gateway.ops import list as listing
from manta.gateway.router import Router

_S3 = (bucket_policy, buckets, copy, delete_objects, list_uploads, listing, multipart, objects, parts, reads, tagging)
_API = (accounts, health, jobs, login, nodes, usage)


def build_router() -> Router:
    routes = [route for module in _S3 for route in module.ROUTES]
    api_routes = [route for module in _API for route in module.API_ROUTES]
    return Router(routes, api_routes)
