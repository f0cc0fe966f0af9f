"""What the tests of manta.auth share: one key, one clock, and botocore as the oracle that signs."""

import datetime
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock
from urllib.parse import urlsplit

import botocore.auth
from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotoCredentials

from manta.auth import sigv4
from manta.auth.aws_chunked import CHUNK_KIND, TRAILER_KIND
from manta.auth.payload import PayloadKind
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


def sign_for(
    method: str = "GET",
    path: str = "/b/k",
    pairs: sigv4.Pairs = (),
    headers: dict[str, str] | None = None,
    scope: sigv4.Scope | None = None,
    timestamp: str = "20261122T120000Z",
    payload: str = sigv4.EMPTY_SHA256,
) -> SignedRequest:
    """A request signed by `sigv4` itself, for forms that botocore never makes."""
    fields = {"host": HOST, "x-amz-content-sha256": payload, "x-amz-date": timestamp, **(headers or {})}
    names = ";".join(sorted(fields))
    query = sigv4.encoded_query(pairs)
    scope = scope or sigv4.Scope(timestamp[:8], "us-east-1", "s3")
    canonical = sigv4.canonical_request(
        method, path, query, sigv4.canonical_headers(sorted(fields), fields), f"{names}\n{payload}"
    )
    signature = sigv4.signer(SECRET_KEY, scope, timestamp).sign_request(canonical)
    authorization = f"AWS4-HMAC-SHA256 Credential={ACCESS_KEY}/{scope},SignedHeaders={names},Signature={signature}"
    return SignedRequest(method, path, query, (*fields.items(), ("Authorization", authorization)), HOST)


def signed_chunks(pieces: list[bytes], signer: sigv4.Signer, seed: str) -> list[bytes]:
    """Each piece as a signed chunk, and the empty last one, without the line that ends the body."""
    wire = []
    previous = seed
    for piece in [*pieces, b""]:
        digest = hashlib.sha256(piece).hexdigest()
        previous = signer.sign(CHUNK_KIND, previous, sigv4.EMPTY_SHA256, digest)
        wire.append(b"%x;chunk-signature=%s\r\n%s" % (len(piece), previous.encode(), piece + b"\r\n" if piece else b""))
    return wire


def chunked_wire(
    pieces: list[bytes], signer: sigv4.Signer | None, seed: str, trailers: dict[str, str], kind: PayloadKind
) -> bytes:
    """A whole aws-chunked body of that kind."""
    lines = [f"{name}:{value}" for name, value in trailers.items()]
    if signer is None:
        chunks = [b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces] + [b"0\r\n"]
    else:
        chunks = signed_chunks(pieces, signer, seed)
        if kind is PayloadKind.SIGNED_CHUNKS_TRAILER:
            last = chunks[-1].partition(b"chunk-signature=")[2].strip().decode()
            digest = hashlib.sha256("".join(f"{line}\n" for line in sorted(lines)).encode()).hexdigest()
            lines.append(f"x-amz-trailer-signature:{signer.sign(TRAILER_KIND, last, digest)}")
    return b"".join(chunks) + "".join(f"{line}\r\n" for line in lines).encode() + b"\r\n"
