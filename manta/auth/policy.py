"""Who may do what with a bucket: a pure decision. Buckets are private; a job's bucket is written by the store alone."""

from dataclasses import dataclass
from enum import StrEnum

from manta.core.errors import AccessDenied


class Action(StrEnum):
    READ = "read"
    """Get, head and list objects, uploads and the bucket's settings."""
    WRITE = "write"
    """Put, copy to and delete objects; uploads."""
    MANAGE = "manage"
    """Delete the bucket, change its settings."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks. `is_store` is the store itself, acting for a job: no request's identity ever is."""

    account_id: str
    is_root: bool = False
    is_store: bool = False


@dataclass(frozen=True, slots=True)
class Resource:
    """The bucket asked about."""

    owner_id: str
    is_job: bool = False


def allows(principal: Principal, action: Action, resource: Resource) -> bool:
    if principal.is_store:
        return True
    if resource.is_job and action is not Action.READ:
        return False
    return principal.is_root or principal.account_id == resource.owner_id


def check(principal: Principal, action: Action, resource: Resource) -> None:
    """AccessDenied unless `principal` may do `action` with `resource`."""
    if allows(principal, action, resource):
        return
    if resource.is_job and allows(principal, Action.READ, resource):
        raise AccessDenied("A job's bucket is written by the job alone: copy its objects elsewhere, or delete the job.")
    raise AccessDenied
