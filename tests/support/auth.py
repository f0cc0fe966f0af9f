"""What the tests of manta.auth share: one key, one clock, and botocore as the oracle that signs."""

import datetime
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock
from urllib.parse import urlsplit

import botocore.auth
from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotoCredentials

from manta.auth.verify import Credentials, Identity, SignedRequest, Verifier

ACCESS_KEY = "AKIAIOSFODNN7EXAMPLE"
SECRET_KEY = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
REGION = "us-east-1"
NOW = datetime.datetime(2026, 11, 22, 12, 0, 0, tzinfo=datetime.UTC)
HOST = "store.example:7070"
URL = f"http://{HOST}"


class FixedClock:
    """A clock that tests set."""

    def __init__(self, now: datetime.datetime = NOW) -> None:
        self.now = now

    def wall_s(self) -> float:
        return self.now.timestamp()

    def monotonic_s(self) -> float:
        return self.now.timestamp()


async def find_key(access_key: str) -> Credentials | None:
    return Credentials(ACCESS_KEY, SECRET_KEY, "alice") if access_key == ACCESS_KEY else None


def verifier(now: datetime.datetime = NOW, region: str = REGION) -> Verifier:
    return Verifier(find_key, FixedClock(now), (region,))


def verify_now(request: SignedRequest, at: Verifier | None = None) -> Identity:
    """Runs `verify` without an event loop: its only await is `find_key`, which never waits here."""
    coroutine = (at or verifier()).verify(request)
    try:
        coroutine.send(None)
    except StopIteration as done:
        identity: Identity = done.value
        return identity
    raise AssertionError("verify waited for something")


@contextmanager
def boto_time(now: datetime.datetime) -> Iterator[None]:
    with mock.patch.object(botocore.auth, "get_current_datetime", return_value=now.replace(tzinfo=None)):
        yield


def boto_sign(
    method: str,
    target: str,
    headers: dict[str, str] | None = None,
    body: bytes = b"",
    *,
    now: datetime.datetime = NOW,
    expires: int | None = None,
    region: str = REGION,
    access_key: str = ACCESS_KEY,
    secret_key: str = SECRET_KEY,
    token: str | None = None,
    payload_signing: bool = True,
) -> SignedRequest:
    """A request as botocore signs it: presigned when `expires` is given. `target` is the raw path and query."""
    aws = AWSRequest(
        method=method, url=URL + target, headers=dict(headers or {}), data=body if expires is None else b""
    )
    aws.context["payload_signing_enabled"] = payload_signing
    aws.context["client_config"] = mock.Mock(s3={"payload_signing_enabled": payload_signing})
    credentials = BotoCredentials(access_key, secret_key, token)
    with boto_time(now):
        if expires is None:
            S3SigV4Auth(credentials, "s3", region).add_auth(aws)
        else:
            S3SigV4QueryAuth(credentials, "s3", region, expires=expires).add_auth(aws)
    return from_boto(aws)


def from_boto(aws: AWSRequest) -> SignedRequest:
    parts = urlsplit(aws.url)
    items = tuple((name, value.decode() if isinstance(value, bytes) else value) for name, value in aws.headers.items())
    return SignedRequest(aws.method, parts.path or "/", parts.query, (("Host", HOST), *items), HOST)
