"""PutBucketPolicy, GetBucketPolicy, DeleteBucketPolicy: who else may read the bucket. Its owner's to say."""

from manta.auth.bucket_policy import EVERYONE, parse_policy
from manta.core.errors import MalformedPolicy, NoSuchBucketPolicy
from manta.core.limits import POLICY_MAX_BYTES
from manta.core.names import check_bucket
from manta.gateway.access import Action, authorize
from manta.gateway.context import Context
from manta.gateway.http.known_headers import CHECKSUM_HEADERS
from manta.gateway.http.request import Request
from manta.gateway.http.responses import Response
from manta.gateway.router import Level, Route
from manta.gateway.whole_body import read_verified


async def put_policy(context: Context, request: Request) -> Response:
    """204. MalformedPolicy also for an account that does not exist: it might be somebody's tomorrow."""
    name = check_bucket(request.bucket)
    bucket = await context.catalog.get_bucket(name)
    authorize(request, Action.MANAGE, bucket)
    body = await read_verified(request, POLICY_MAX_BYTES)
    accounts = {account for grant in parse_policy(body, name) for account in grant.accounts}
    for account_id in sorted(accounts - {EVERYONE}):
        if await context.catalog.get_account(account_id) is None:
            raise MalformedPolicy(f"Invalid principal in policy: there is no account {account_id[:80]!r}.")
    await context.catalog.set_bucket_policy(name, body.decode(), bucket_id=bucket.id)
    return Response(204)


async def get_policy(context: Context, request: Request) -> Response:
    bucket = await context.catalog.get_bucket(check_bucket(request.bucket))
    authorize(request, Action.MANAGE, bucket)
    if bucket.policy is None:
        raise NoSuchBucketPolicy
    return Response(200, {"Content-Type": "application/json"}, bucket.policy.encode())


async def delete_policy(context: Context, request: Request) -> Response:
    bucket = await context.catalog.get_bucket(check_bucket(request.bucket))
    authorize(request, Action.MANAGE, bucket)
    await context.catalog.set_bucket_policy(bucket.name, None, bucket_id=bucket.id)
    return Response(204)


ROUTES = (
    Route("PutBucketPolicy", put_policy, "PUT", Level.BUCKET, "policy", headers=CHECKSUM_HEADERS),
    Route("GetBucketPolicy", get_policy, "GET", Level.BUCKET, "policy"),
    Route("DeleteBucketPolicy", delete_policy, "DELETE", Level.BUCKET, "policy"),
)
