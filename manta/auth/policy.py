"""Who may do what with a bucket: a pure decision.

Buckets are private but for what their policy lets other accounts read; a job's bucket is written by the store alone.
"""

from dataclasses import dataclass
from enum import StrEnum

from manta.auth.bucket_policy import stored_grants
from manta.core.errors import AccessDenied


class Action(StrEnum):
    GET = "get"
    """Read one object."""
    LIST = "list"
    """List the bucket's keys, learn that it exists."""
    READ = "read"
    """List uploads and parts, read the bucket's settings."""
    WRITE = "write"
    """Put, copy to and delete objects; uploads."""
    MANAGE = "manage"
    """Delete the bucket, change its settings, say who reads it."""


_READS = (Action.GET, Action.LIST, Action.READ)


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks. `is_store` is the store itself, acting for a job: no request's identity ever is."""

    account_id: str
    is_root: bool = False
    is_store: bool = False


@dataclass(frozen=True, slots=True)
class Resource:
    """The bucket asked about, and its policy if it has one; `key` where one object is meant."""

    owner_id: str
    is_job: bool = False
    bucket: str = ""
    policy: str | None = None
    key: str = ""


def allows(principal: Principal, action: Action, resource: Resource) -> bool:
    if principal.is_store:
        return True
    if resource.is_job and action not in _READS:
        return False
    if principal.is_root or principal.account_id == resource.owner_id:
        return True
    return resource.policy is not None and _is_shared(principal, action, resource, resource.policy)


def _is_shared(principal: Principal, action: Action, resource: Resource, policy: str) -> bool:
    for grant in stored_grants(policy, resource.bucket):
        if grant.is_for(principal.account_id) and (
            (action is Action.LIST and grant.lists)
            or (action is Action.GET and bool(resource.key) and grant.covers(resource.key))
        ):
            return True
    return False


def check(principal: Principal, action: Action, resource: Resource) -> None:
    """AccessDenied unless `principal` may do `action` with `resource`."""
    if allows(principal, action, resource):
        return
    if resource.is_job and allows(principal, Action.READ, resource):
        raise AccessDenied("A job's bucket is written by the job alone: copy its objects elsewhere, or delete the job.")
    raise AccessDenied
