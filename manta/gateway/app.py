"""One request from head to reply: parse, verify, route, run, answer, count. Every error becomes a reply here."""

import asyncio
import itertools
import logging
import os
import time
from dataclasses import dataclass

from manta.auth.body import UnsignedBody
from manta.auth.request import SignedRequest
from manta.auth.verify import Identity, Verifier
from manta.core.errors import BadRequest, InternalError, MantaError
from manta.core.limits import RING_MIN_BYTES
from manta.gateway.access import require_root
from manta.gateway.context import Context
from manta.gateway.http.access_log import AccessLog, Entry, printable, redact_query
from manta.gateway.http.body import Body
from manta.gateway.http.exchange import Exchange
from manta.gateway.http.known_headers import check_headers
from manta.gateway.http.replies import error_reply
from manta.gateway.http.request import (
    Request,
    Target,
    bucket_and_key,
    decode_component,
    hoisted_headers,
    host_bucket,
    parse_headers,
    parse_query,
    split_target,
)
from manta.gateway.http.responses import Response, encode_head
from manta.gateway.router import Access, Level, Router

API_PREFIX = "/_manta/"

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Trace:
    """What is known so far of one request, for its reply and its line in the log."""

    id: str
    method: str
    target: str
    started_s: float
    path: str = ""
    query: str = ""
    resource: str = ""
    operation: str = "Unknown"
    account: str = ""
    error: str = ""
    api: bool = False
    bytes_in: int = 0
    bytes_out: int = 0


class App:
    """Handles exchanges; `handle` is what the HTTP shell calls."""

    def __init__(self, context: Context, router: Router, verifier: Verifier, access_log: AccessLog) -> None:
        self._context = context
        self._router = router
        self._verifier = verifier
        self._access_log = access_log
        self._domain = context.config.domain
        self._ids = itertools.count(1)
        self._id_prefix = os.urandom(4).hex().upper()

    async def handle(self, exchange: Exchange) -> bool:
        message = exchange.message
        trace = Trace(f"{self._id_prefix}{next(self._ids):08X}", message.method, message.path, time.perf_counter())
        response = await self._respond(exchange, trace)
        try:
            return await self._send(exchange, trace, response)
        finally:
            await response.close()
            self._account(exchange, trace, response.status)

    async def _respond(self, exchange: Exchange, trace: Trace) -> Response:
        try:
            return await self._answer(exchange, trace)
        except MantaError as error:
            trace.error = error.code
            return error_reply(error, trace.resource or trace.path, trace.id, json=trace.api)
        except asyncio.CancelledError:
            raise
        except Exception:
            _log.exception("Request %s (%s %s) failed.", trace.id, trace.operation, trace.path)
            trace.error = InternalError.code
            return error_reply(InternalError(), trace.resource or trace.path, trace.id, json=trace.api)

    async def _answer(self, exchange: Exchange, trace: Trace) -> Response:
        if exchange.malformed:
            raise BadRequest(f"The request could not be read: {exchange.malformed}"[:200])
        target = split_target(trace.target)
        trace.path, trace.query = target.path, target.query
        headers = parse_headers(exchange.message.headers.items())
        host = headers.get("host", "")
        if target.authority and target.authority.lower() != host.lower():
            raise BadRequest("The request's URI names another host than its Host header.")
        virtual = host_bucket(host, self._domain)
        if not virtual and target.path.startswith(API_PREFIX):
            return await self._answer_api(exchange, trace, target, headers)
        identity = await self._verify(exchange, target, host)
        trace.account = identity.account_id
        bucket, key = bucket_and_key(target.path, virtual)
        trace.resource = f"/{bucket}/{key}" if key else f"/{bucket}"
        query = parse_query(target.query)
        fields = hoisted_headers(query, headers) if query else headers
        level = Level.OBJECT if key else Level.BUCKET if bucket else Level.SERVICE
        route = self._router.find(trace.method, level, query, fields)
        trace.operation = route.name
        check_headers(route.name, route.headers, fields)
        body = self._body(exchange, trace, headers, identity)
        request = Request(
            trace.id, trace.method, target.path, target.query, bucket, key, query, fields, identity, body,
            _peer(exchange), exchange.protocol.ssl_context is not None,
        )  # fmt: skip
        return await route.op(self._context, request)

    async def _answer_api(self, exchange: Exchange, trace: Trace, target: Target, headers: dict[str, str]) -> Response:
        trace.api = True
        path = decode_component(target.path)
        trace.resource = path
        route, params = self._router.find_api(trace.method, path[len(API_PREFIX) :])
        trace.operation = route.name
        identity = None
        if route.access in (Access.SIGNED, Access.ROOT):
            identity = await self._verify(exchange, target, headers.get("host", ""))
            trace.account = identity.account_id
        request = Request(
            trace.id, trace.method, target.path, target.query, "", "", parse_query(target.query), headers, identity,
            self._body(exchange, trace, headers, identity), _peer(exchange), exchange.protocol.ssl_context is not None,
            params, exchange.is_lost,
        )  # fmt: skip
        if route.access is Access.ROOT:
            require_root(request)
        return await route.op(self._context, request)

    async def _verify(self, exchange: Exchange, target: Target, host: str) -> Identity:
        signed = SignedRequest(
            exchange.message.method, target.path, target.query, exchange.message.headers.items(), host
        )
        return await self._verifier.verify(signed)

    def _body(self, exchange: Exchange, trace: Trace, headers: dict[str, str], identity: Identity | None) -> Body:
        declared = headers.get("content-length")
        length = int(declared) if declared else None if exchange.message.chunked else 0
        straight = exchange.take_straight if length is not None and length >= RING_MIN_BYTES else None
        if identity is not None and identity.payload.decoded_length is not None:
            length, straight = identity.payload.decoded_length, None
        decoder = identity.payload.decoder() if identity is not None else UnsignedBody()
        trace.bytes_in = length or 0
        invite = exchange.send_continue if exchange.expects_continue else None
        hashes = identity is not None and identity.payload.hashes
        return Body(exchange.payload, decoder, length, invite, hashes=hashes, straight=straight)

    async def _send(self, exchange: Exchange, trace: Trace, response: Response) -> bool:
        """Write the reply. A reply that cannot be finished ends the connection, so that nobody takes it for whole."""
        keep = exchange.keep_alive and not response.close_connection
        if keep and not exchange.payload.is_eof() and exchange.expects_continue and not exchange.invited:
            exchange.refuse_rest()
            keep = False
        if response.length is None and exchange.http10:
            response = error_reply(BadRequest("This call needs HTTP/1.1."), trace.resource, trace.id, json=trace.api)
        try:
            head = encode_head(response, trace.id, keep)
            if trace.method == "HEAD" or response.status in (204, 304):
                exchange.write(head)
            elif type(response) is Response:
                exchange.write(head + response.body)
                trace.bytes_out = len(response.body)
                await exchange.drain()
            else:
                exchange.write(head)
                await response.write_body(exchange)
                trace.bytes_out = response.length or 0
        except Exception as error:
            trace.error = trace.error or type(error).__name__
            if not isinstance(error, OSError | MantaError):
                _log.exception("The reply to %s (%s %s) broke.", trace.id, trace.operation, trace.path)
            exchange.abort()
            return False
        return keep

    def _account(self, exchange: Exchange, trace: Trace, status: int) -> None:
        seconds = time.perf_counter() - trace.started_s
        self._context.metrics.count(trace.operation, status, seconds, trace.bytes_in, trace.bytes_out)
        if not self._access_log.enabled:
            return
        self._access_log.add(
            Entry(
                time=time.time(),
                id=trace.id,
                peer=_peer(exchange),
                account=trace.account,
                method=trace.method,
                path=printable(trace.path),
                query=printable(redact_query(trace.query)),
                operation=trace.operation,
                status=status,
                error=trace.error,
                bytes_in=trace.bytes_in,
                bytes_out=trace.bytes_out,
                duration_ms=round(seconds * 1000, 3),
                agent=printable(exchange.message.headers.get("User-Agent", "")[:200]),
            )
        )


def _peer(exchange: Exchange) -> str:
    name = exchange.protocol.peername
    return str(name[0]) if isinstance(name, tuple) else ""
