"""Whether the sender of a request may do what it asks with a bucket."""

from manta.auth.policy import Action, Resource, check
from manta.catalog.records import Bucket, BucketKind
from manta.core.errors import AccessDenied
from manta.gateway.http.request import Request

__all__ = ["Action", "authorize", "require_root"]


def authorize(request: Request, action: Action, bucket: Bucket) -> None:
    """AccessDenied unless allowed; also when the client expected another owner (x-amz-expected-bucket-owner)."""
    expected = request.headers.get("x-amz-expected-bucket-owner")
    if expected is not None and expected != bucket.owner_id:
        raise AccessDenied("The bucket is not owned by the account that x-amz-expected-bucket-owner names.")
    check(request.principal, action, Resource(bucket.owner_id, bucket.kind is BucketKind.JOB))


def require_root(request: Request) -> None:
    if not request.principal.is_root:
        raise AccessDenied("Only the root account may do this.")
