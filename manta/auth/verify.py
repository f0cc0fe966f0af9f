"""The one verifier that every request passes. Its default is to refuse (S1)."""

from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice, product

from manta.auth import sigv4
from manta.auth.claims import Claims, read_claims
from manta.auth.payload import PayloadPolicy, payload_policy
from manta.auth.request import AMZ, SignedRequest, canonical_fields
from manta.core.clock import Clock
from manta.core.errors import (
    AccessDenied,
    AuthorizationHeaderMalformed,
    AuthorizationQueryParametersError,
    InvalidAccessKeyId,
    InvalidURI,
    MantaError,
    RequestTimeTooSkewed,
    SignatureDoesNotMatch,
)
from manta.core.limits import CLOCK_SKEW_S

__all__ = ["Credentials", "FindKey", "Identity", "PayloadPolicy", "SignedRequest", "Verifier"]


@dataclass(frozen=True, slots=True)
class Credentials:
    """A key and whose it is. The secret has no repr, so that it reaches no log (S7)."""

    access_key: str
    secret_key: str = field(repr=False)
    account_id: str


FindKey = Callable[[str], Awaitable[Credentials | None]]
"""An access key → its credentials, or None if there are none."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who sent a verified request, and how its body must be checked before it is believed."""

    account_id: str
    access_key: str
    signed_headers: frozenset[str]
    payload: PayloadPolicy
    presigned: bool


class Verifier:
    """Verifies SigV4 requests in header or presigned form, for `regions` and one service."""

    def __init__(self, find_key: FindKey, clock: Clock, regions: Collection[str], service: str = "s3") -> None:
        self._find_key = find_key
        self._clock = clock
        self._regions = tuple(regions)
        self._service = service

    async def verify(self, request: SignedRequest) -> Identity:
        """The sender of `request`. MantaError, mostly AccessDenied's family, for every other request."""
        fields = canonical_fields(request)
        claims = read_claims(fields, request.raw_query)
        self._check_scope(claims)
        self._check_time(claims)
        _check_signed(claims, fields)
        credentials = await self._find_key(claims.access_key)
        if credentials is None:
            raise InvalidAccessKeyId
        signer = sigv4.signer(credentials.secret_key, claims.scope, claims.timestamp)
        _check_signature(request, fields, claims, signer)
        return Identity(
            account_id=credentials.account_id,
            access_key=credentials.access_key,
            signed_headers=frozenset(claims.signed_names),
            payload=payload_policy(claims.payload_hash, fields, signer, claims.signature),
            presigned=claims.expires_s is not None,
        )

    def _check_scope(self, claims: Claims) -> None:
        error: type[MantaError] = AuthorizationHeaderMalformed
        if claims.expires_s is not None:
            error = AuthorizationQueryParametersError
        scope = claims.scope
        if scope.region not in self._regions:
            expected = self._regions[0]
            raise error(f"The region {scope.region[:40]!r} is wrong; expecting {expected!r}.", Region=expected)
        if scope.service != self._service or scope.terminator != sigv4.TERMINATOR:
            raise error(f"The Credential must end with /{self._service}/{sigv4.TERMINATOR}.")
        if scope.date != claims.timestamp[:8]:
            raise error("The date of the Credential is not the day of the request's time.")

    def _check_time(self, claims: Claims) -> None:
        now = self._clock.wall_s()
        if claims.expires_s is None:
            if abs(now - claims.at_s) > CLOCK_SKEW_S:
                raise RequestTimeTooSkewed
        elif claims.at_s - now > CLOCK_SKEW_S:
            raise AccessDenied("The presigned request is not valid yet: check the clock that signed it.")
        elif now >= claims.at_s + claims.expires_s:
            raise AccessDenied("The presigned request has expired: sign it anew.")


def _check_signed(claims: Claims, fields: Mapping[str, str]) -> None:
    """Host and every x-amz-* header must be signed, and every signed header must be there."""
    signed = set(claims.signed_names)
    if "host" not in signed:
        raise AccessDenied("The Host header must be signed.")
    unsigned = [name for name in fields if name.startswith(AMZ) and name not in signed]
    if unsigned:
        raise AccessDenied(f"Headers were sent that are not signed: {', '.join(sorted(unsigned))[:400]}.")
    missing = signed - fields.keys()
    if missing:
        raise SignatureDoesNotMatch(f"The signed header {min(missing)[:80]} was not sent, or more than once.")


def _check_signature(request: SignedRequest, fields: Mapping[str, str], claims: Claims, signer: sigv4.Signer) -> None:
    """Clients sign path and query as sent or encoded anew: both name the same thing, so either is accepted."""
    headers = sigv4.canonical_headers(claims.signed_names, fields)
    rest = f"{claims.signed_text}\n{claims.payload_hash}"
    lines = 5 + len(claims.signed_names)
    try:
        for path, query in _canonical_forms(request, claims.pairs):
            canonical = sigv4.canonical_request(request.method, path, query, headers, rest)
            if canonical.count(b"\n") != lines:
                raise InvalidURI("A line break was smuggled into the request.")
            if sigv4.same(signer.sign_request(canonical), claims.signature):
                return
    except UnicodeEncodeError:
        raise InvalidURI from None
    raise SignatureDoesNotMatch


def _canonical_forms(request: SignedRequest, pairs: sigv4.Pairs) -> Iterator[tuple[str, str]]:
    """Up to six (path, query), the commonest first; the others are made only when it does not match.

    The bare query is what curl before 8.3 signs, which neither sorts nor adds a missing `=`.
    """
    query = sigv4.as_sent_query(pairs)
    yield request.raw_path, query
    paths = {request.raw_path: None, sigv4.encoded_path(request.raw_path): None}
    queries = {query: None, sigv4.encoded_query(pairs): None, request.raw_query: None}
    yield from islice(product(paths, queries), 1, None)
