"""One HTTP/1.1 connection to a node over a bare socket: no copies beyond the kernel's own.

aiohttp's client costs more per call than a node needs to answer one, and copies what it streams. A node answers every
call with a Content-Length, so this little is enough.
"""

import asyncio
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

from manta.core.checksums import Buffer
from manta.core.errors import InvalidArgument, NodeUnavailable
from manta.core.limits import HEADER_MAX_BYTES, MIB, NODE_MESSAGE_MAX_BYTES, STREAM_CHUNK_BYTES

_SOCKET_BUFFER_BYTES = MIB
_UNIX_URL_MAX_BYTES = len("unix:") + 107
"""The kernel takes no longer path of a socket."""


@dataclass(frozen=True, slots=True)
class Head:
    """A reply's status and headers, names in lower case."""

    status: int
    headers: Mapping[str, str]

    @property
    def length(self) -> int:
        return int(self.headers.get("content-length", "0"))


class Connection:
    """Not for two calls at once. OSError and EOFError are its failures; whoever meets one closes it."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._loop = asyncio.get_running_loop()
        self._buffer = bytearray()
        self.reusable = True

    async def send_head(self, method: str, target: str, headers: Mapping[str, str], body: Buffer = b"") -> None:
        lines = [f"{method} {target} HTTP/1.1", "host: node", *(f"{name}: {value}" for name, value in headers.items())]
        head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
        if len(body) <= STREAM_CHUNK_BYTES:
            await self.send(head + body if body else head)
        else:
            await self.send(head)
            await self.send(body)

    async def send(self, data: Buffer) -> None:
        try:
            sent = self._sock.send(data)
        except BlockingIOError:
            sent = 0
        if sent < len(data):
            await self._loop.sock_sendall(self._sock, memoryview(data)[sent:])

    def send_descriptor(self, descriptor: int, data: bytes) -> None:
        """A few bytes with an open file, on a Unix socket that has room for them."""
        socket.send_fds(self._sock, [data], [descriptor])

    async def read_head(self) -> Head:
        while (end := self._buffer.find(b"\r\n\r\n")) < 0:
            if len(self._buffer) > HEADER_MAX_BYTES:
                raise EOFError("the reply's headers are too long")
            self._buffer += await self._receive()
        status_line, *lines = bytes(self._buffer[:end]).decode("latin-1").split("\r\n")
        del self._buffer[: end + 4]
        pairs = (line.partition(":") for line in lines)
        headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
        if headers.get("connection", "").lower() == "close":
            self.reusable = False
        words = status_line.split(" ", 2)
        numbers = (words[1] if len(words) > 1 else "", headers.get("content-length", "0"))
        if not all(text.isascii() and text.isdigit() and len(text) <= 18 for text in numbers):
            raise EOFError("the reply is not HTTP")
        return Head(int(numbers[0]), headers)

    async def read_body(self, head: Head) -> bytes:
        """The whole body of a control reply."""
        length = head.length
        if length > NODE_MESSAGE_MAX_BYTES:
            raise EOFError("the reply is too long")
        while len(self._buffer) < length:
            self._buffer += await self._receive()
        body = bytes(self._buffer[:length])
        del self._buffer[:length]
        return body

    async def read_some(self, left: int) -> bytes:
        """The next bytes of a streamed body of which `left` are still to come."""
        if self._buffer:
            data = bytes(self._buffer[:left])
            del self._buffer[:left]
            return data
        data = await self._loop.sock_recv(self._sock, min(left, STREAM_CHUNK_BYTES))
        if not data:
            raise EOFError("the node closed the connection")
        return data

    def is_quiet(self) -> bool:
        """Whether an idle connection can be used again: nothing may have come, not even an end."""
        try:
            self._sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return self.reusable and not self._buffer
        except OSError:
            return False
        return False

    def interrupt(self) -> None:
        """Wakes whoever waits on the connection with its end; the owner closes it."""
        self.reusable = False
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.reusable = False
        self._sock.close()

    async def _receive(self) -> bytes:
        data = await self._loop.sock_recv(self._sock, STREAM_CHUNK_BYTES)
        if not data:
            raise EOFError("the node closed the connection")
        return data


async def connect(url: str, timeout_s: float) -> Connection:
    """A connection to `unix:/path` or `http://host:port`. NodeUnavailable."""
    try:
        async with asyncio.timeout(timeout_s):
            return Connection(await _open_socket(url))
    except (OSError, TimeoutError, ValueError, InvalidArgument) as error:
        raise NodeUnavailable(f"The storage node at {url} does not answer: {error or 'timed out'}.") from None


def parse_url(url: str) -> str | tuple[str, int]:
    """The path of `unix:/path`, or the (host, port) of `http://host:port`. InvalidArgument."""
    if url.startswith("unix:/") and url.isprintable() and len(url.encode()) <= _UNIX_URL_MAX_BYTES:
        return url.removeprefix("unix:")
    try:
        parts = urlsplit(url)
        if parts.scheme == "http" and parts.hostname and parts.port and url.isprintable():
            return parts.hostname, parts.port
    except ValueError:
        pass
    raise InvalidArgument(f"A node's address is unix:/path or http://host:port, not {url[:120]!r}.")


async def _open_socket(url: str) -> socket.socket:
    loop = asyncio.get_running_loop()
    place = parse_url(url)
    if isinstance(place, str):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        address: str | tuple[str, int] = place
    else:
        found = await loop.getaddrinfo(*place, type=socket.SOCK_STREAM)
        family, kind, protocol, _, resolved = found[0]
        sock = socket.socket(family, kind, protocol)
        address = (str(resolved[0]), int(resolved[1]))
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SOCKET_BUFFER_BYTES)
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await loop.sock_connect(sock, address)
    except BaseException:
        sock.close()
        raise
    return sock
