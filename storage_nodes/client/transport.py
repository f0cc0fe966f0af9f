"""Calls to one node: pooled connections, tokens, timeouts, and every failure translated once."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from manta.core.checksums import Buffer
from manta.core.errors import MantaError, NodeUnavailable
from manta.core.limits import NODE_CONNECTIONS_MAX, NODE_TIMEOUT_S
from storage_nodes import messages, token
from storage_nodes.client.connection import Connection, Head, connect
from storage_nodes.client.idle import IdleConnections
from storage_nodes.messages import Refusal

SWITCHING_PROTOCOLS = 101
TokenFor = Callable[[str, str, Buffer | None], str]
"""(method, path and query, body to be covered) → the token to send with that call."""


class Transport:
    """Connections to the node at `url`. `token_for` signs, or hands out a token that someone else signed."""

    def __init__(self, url: str, token_for: TokenFor, timeout_s: float = NODE_TIMEOUT_S) -> None:
        self.url = url
        self.local = url.startswith("unix:")
        """Whether the node is on this machine, and memory can be shared with it."""
        self._token_for = token_for
        self._timeout_s = timeout_s
        self._idle = IdleConnections()
        self._busy: set[Connection] = set()
        self._places = asyncio.Semaphore(NODE_CONNECTIONS_MAX)
        self._closed = False

    async def call(
        self, method: str, target: str, body: Buffer = b"", timeout_s: float | None = None, *, covered: bool = True
    ) -> bytes:
        """One call with a whole body each way; the reply's body. The node's own error, or NodeUnavailable."""
        async with self.exchange(timeout_s) as connection:
            headers = {"content-length": str(len(body))}
            await self.begin(connection, method, target, headers, body, covered=covered)
            return await self.finish(connection)

    async def upgrade(self, target: str, first: bytes, timeout_s: float) -> Connection:
        """A connection for another protocol, the caller's own, once the node has agreed; `first` is sent ahead."""
        connection = await self._connect()
        try:
            async with self.translated(timeout_s):
                headers = {"connection": "upgrade", "upgrade": "websocket"}
                await self.begin(connection, "GET", target, headers, first, covered=True)
                await _switched(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    @asynccontextmanager
    async def exchange(self, timeout_s: float | None = None) -> AsyncIterator[Connection]:
        """A connection for one call, given back if the call ended well."""
        connection = await self.take()
        try:
            async with self.translated(timeout_s):
                yield connection
        except BaseException as error:
            self.give_back(connection, reusable=_left_in_order(error))
            raise
        self.give_back(connection, reusable=True)

    @asynccontextmanager
    async def translated(self, timeout_s: float | None = None) -> AsyncIterator[None]:
        """NodeUnavailable for whatever a socket may say."""
        try:
            async with asyncio.timeout(timeout_s or self._timeout_s):
                yield
        except (OSError, EOFError, TimeoutError) as error:
            raise NodeUnavailable(f"The storage node at {self.url} failed: {error or 'timed out'}.") from None

    async def begin(
        self,
        connection: Connection,
        method: str,
        target: str,
        headers: dict[str, str],
        body: Buffer = b"",
        *,
        covered: bool = False,
    ) -> None:
        headers[token.HEADER] = self._token_for(method, target, body if covered else None)
        await connection.send_head(method, target, headers, body)

    async def finish(self, connection: Connection) -> bytes:
        """The reply's body, or the error it carries."""
        head = await connection.read_head()
        body = await connection.read_body(head)
        raise_refusal(head, body)
        return body

    async def take(self) -> Connection:
        """A live connection; `give_back` must follow."""
        await self._places.acquire()
        try:
            connection = self._idle.take() or await self._connect()
        except BaseException:
            self._places.release()
            raise
        self._busy.add(connection)
        return connection

    async def _connect(self) -> Connection:
        if self._closed:
            raise NodeUnavailable("The client of this storage node is closed.")
        return await connect(self.url, self._timeout_s)

    def give_back(self, connection: Connection, *, reusable: bool) -> None:
        self._places.release()
        self._busy.discard(connection)
        if reusable and not self._closed:
            self._idle.keep(connection)
        else:
            connection.close()

    def interrupt(self) -> None:
        """Every call under way ends with NodeUnavailable now: nobody waits for a node that was found dead."""
        for connection in self._busy:
            connection.interrupt()

    def close(self) -> None:
        self._closed = True
        self._idle.close()


async def _switched(connection: Connection) -> None:
    """Reads the node's agreement to another protocol, or raises what it says instead."""
    head = await connection.read_head()
    if head.status != SWITCHING_PROTOCOLS:
        raise refusal_of(head, await connection.read_body(head))


def raise_refusal(head: Head, body: bytes) -> None:
    """Raise what a reply of status 300 or more says."""
    if head.status >= 300:
        raise refusal_of(head, body)


def refusal_of(head: Head, body: bytes) -> MantaError:
    """What a reply says that is not the one that was hoped for."""
    refused = Refusal("NodeUnavailable", f"A storage node answered {head.status}.")
    with suppress(MantaError):
        refused = messages.decode(body, Refusal)
    error = messages.error_of(refused)
    error.in_order = True  # type: ignore[attr-defined]
    return error


def _left_in_order(error: BaseException) -> bool:
    """Whether the connection was left at the end of a reply: then it can be used again."""
    return bool(getattr(error, "in_order", False))
