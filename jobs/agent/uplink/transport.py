"""A gateway's calls for nodes over HTTP/1.1: signed, over TCP or a Unix socket, on kept connections."""

import asyncio
from typing import Final, TypeVar

import msgspec

from jobs.model.wire import pack, unpack
from manta.core.clock import Clock
from manta.core.errors import AccessDenied, BadRequest, Conflict, MantaError, NodeUnavailable, ServiceUnavailable
from manta.core.limits import NODE_TOKEN_TTL_S
from storage_nodes import token
from storage_nodes.client.connection import Head, connect
from storage_nodes.client.idle import IdleConnections

Reply = TypeVar("Reply", bound=msgspec.Struct)
NODE_HEADER: Final = "x-manta-node"
_SAID_MAX_BYTES: Final = 500


class GatewayUnreachable(ServiceUnavailable):
    """No answer, or one that says that a later try may do."""


class HttpGateway:
    """The gateway at `http://host:port` or `unix:/path`."""

    def __init__(self, url: str, node_id: str, key: bytes, clock: Clock) -> None:
        self._url = url
        self._node_id = node_id
        self._key = key
        self._clock = clock
        self._idle = IdleConnections()

    @property
    def url(self) -> str:
        return self._url

    async def call(self, name: str, message: msgspec.Struct, kind: type[Reply], timeout_s: float) -> Reply:
        """The reply to `message`. GatewayUnreachable when trying again may help, another error when not."""
        path = f"/_manta/node/v1/{name}"
        body = pack(message)
        headers = {
            token.HEADER: token.sign(self._key, "POST", path, self._clock.wall_s() + NODE_TOKEN_TTL_S, body),
            NODE_HEADER: self._node_id,
            "content-type": "application/msgpack",
            "content-length": str(len(body)),
        }
        try:
            async with asyncio.timeout(timeout_s):
                head, reply = await self._exchange(path, headers, body)
        except (OSError, EOFError, TimeoutError, NodeUnavailable) as error:
            raise GatewayUnreachable(f"The gateway at {self._url} does not answer: {error or 'timed out'}.") from None
        if head.status == 200:
            return unpack(reply, kind)
        raise self._refusal(name, head.status, reply)

    async def close(self) -> None:
        self._idle.close()

    async def _exchange(self, path: str, headers: dict[str, str], body: bytes) -> tuple[Head, bytes]:
        connection = self._idle.take() or await connect(self._url, timeout_s=5.0)
        try:
            await connection.send_head("POST", path, headers, body)
            head = await connection.read_head()
            reply = await connection.read_body(head)
        except BaseException:
            connection.close()
            raise
        self._idle.keep(connection)
        return head, reply

    def _refusal(self, name: str, status: int, reply: bytes) -> MantaError:
        message = f"The gateway at {self._url} answered {status} to {name}: {_words(reply)}"
        if status >= 500 or status == 429:
            return GatewayUnreachable(message)
        if status == 400:
            return BadRequest(message)
        return AccessDenied(message) if status == 403 else Conflict(message)


class _Error(msgspec.Struct):
    message: str = ""


class _Refusal(msgspec.Struct):
    error: _Error


def _words(reply: bytes) -> str:
    """The sentence of an error in JSON; whatever was said by what is no gateway."""
    try:
        return msgspec.json.decode(reply, type=_Refusal).error.message[:_SAID_MAX_BYTES]
    except msgspec.DecodeError:
        return reply[:_SAID_MAX_BYTES].decode("utf-8", "replace")
