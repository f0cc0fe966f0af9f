"""Whether the sender of a request may do what it asks with a bucket."""

from manta.auth.policy import Action, Principal, Resource, allows, check
from manta.catalog.records import ROOT_ACCOUNT, Bucket, BucketKind, Located, ObjectVersion
from manta.core.errors import AccessDenied, NoSuchKey
from manta.gateway.http.request import Request

__all__ = ["Action", "authorize", "authorize_owner", "owner_principal", "require_root", "resource_of", "visible"]


def resource_of(bucket: Bucket, key: str = "") -> Resource:
    return Resource(bucket.owner_id, bucket.kind is BucketKind.JOB, bucket.name, bucket.policy, key)


def authorize(request: Request, action: Action, bucket: Bucket, key: str = "") -> None:
    """AccessDenied unless allowed; also when the client expected another owner (x-amz-expected-bucket-owner)."""
    expected = request.headers.get("x-amz-expected-bucket-owner")
    if expected is not None and expected != bucket.owner_id:
        raise AccessDenied("The bucket is not owned by the account that x-amz-expected-bucket-owner names.")
    check(request.principal, action, resource_of(bucket, key))


def owner_principal(account_id: str) -> Principal:
    """The owner of a job, for whom its tasks ask."""
    return Principal(account_id, is_root=account_id == ROOT_ACCOUNT)


def authorize_owner(account_id: str, action: Action, bucket: Bucket, key: str = "") -> None:
    """AccessDenied where that account may not do so, as its tasks may not either."""
    check(owner_principal(account_id), action, resource_of(bucket, key))


def visible(principal: Principal, located: Located, key: str) -> ObjectVersion:
    """The object that a reader may read. NoSuchKey is for those alone who may list: others hear AccessDenied."""
    if located.object is not None:
        return located.object
    if not allows(principal, Action.LIST, resource_of(located.bucket)):
        raise AccessDenied
    raise NoSuchKey(None, Key=key)


def require_root(request: Request) -> None:
    if not request.principal.is_root:
        raise AccessDenied("Only the root account may do this.")
