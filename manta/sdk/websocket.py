"""A WebSocket from the client's side: a request answered by 101, then messages over a socket that never blocks."""

import base64
import os
import socket
import ssl
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from manta.core import websocket
from manta.core.errors import ServiceUnavailable
from manta.core.limits import LOGIN_OPEN_S, TUNNEL_BYTES
from manta.core.websocket import CloseCode, Kind, Message

_CONNECT_S: Final = 10.0
_HEAD_MAX_BYTES: Final = 64 * 1024
_BODY_MAX_BYTES: Final = 1 << 20
_MASK_BYTES: Final = 4
_SWITCHING: Final = 101
_LOST: Final = "The connection to the store was lost: the session has ended."


@dataclass(frozen=True, slots=True)
class Answer:
    """What the store said instead of 101."""

    status: int
    body: bytes = b""


class WebSocket:
    """Messages both ways. Wait for `fileno` to be readable, or also writable while `backlog` is not 0."""

    def __init__(self, wire: socket.socket, first: bytes) -> None:
        self._wire = wire
        self._decoder = websocket.Decoder(masked=False, message_max_bytes=4 * TUNNEL_BYTES)
        self._first = first
        self._outgoing = bytearray()
        wire.setblocking(False)

    def fileno(self) -> int:
        return self._wire.fileno()

    @property
    def backlog(self) -> int:
        """Bytes that wait to be sent: send no more while this is large."""
        return len(self._outgoing)

    def send(self, kind: Kind, data: bytes = b"") -> None:
        self._outgoing += websocket.encode(kind, data, os.urandom(_MASK_BYTES))
        self.flush()

    def send_close(self) -> None:
        self._outgoing += websocket.encode_close(CloseCode.NORMAL, os.urandom(_MASK_BYTES))
        self.flush()

    def flush(self) -> None:
        """Send what the connection takes now. ServiceUnavailable when it is gone."""
        try:
            while self._outgoing:
                del self._outgoing[: self._wire.send(self._outgoing)]
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return
        except OSError as error:
            raise ServiceUnavailable(_LOST) from error

    def receive(self) -> list[Message]:
        """What has come by now. ServiceUnavailable when the connection is gone."""
        messages = self._decoder.feed(self._first)
        self._first = b""
        try:
            while data := self._wire.recv(TUNNEL_BYTES):
                messages += self._decoder.feed(data)
                if not (isinstance(self._wire, ssl.SSLSocket) and self._wire.pending()):
                    return messages
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return messages
        except OSError as error:
            raise ServiceUnavailable(_LOST) from error
        if not messages:
            raise ServiceUnavailable(_LOST)
        return messages

    def close(self) -> None:
        self._wire.close()


def new_key() -> str:
    return base64.b64encode(os.urandom(16)).decode()


def upgrade_headers(key: str) -> dict[str, str]:
    return {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": websocket.VERSION,
        "Sec-WebSocket-Key": key,
    }


def connect(url: str, headers: dict[str, str], key: str, ca_bundle: str | None) -> tuple[Answer, WebSocket | None]:
    """The socket, or what the store answered instead. ServiceUnavailable."""
    parts = urlsplit(url)
    fields = {"Host": parts.netloc, **headers}
    head = f"GET {parts.path}?{parts.query} HTTP/1.1\r\n" + "".join(f"{k}: {v}\r\n" for k, v in fields.items())
    try:
        wire = _open(parts.scheme, parts.hostname or "", parts.port, ca_bundle)
    except OSError as error:
        raise ServiceUnavailable(f"The store at {parts.netloc} does not answer: is `manta serve` running?") from error
    try:
        wire.sendall(head.encode("latin-1") + b"\r\n")
        status, said, rest = _read_head(wire)
        if status == _SWITCHING and said.get("sec-websocket-accept") == websocket.accept_of(key):
            return Answer(status), WebSocket(wire, rest)
        answer = Answer(status, _read_body(wire, said, rest))
    except OSError as error:
        wire.close()
        raise ServiceUnavailable(f"The store at {parts.netloc} did not begin the session: {error}.") from error
    except BaseException:
        wire.close()
        raise
    wire.close()
    return answer, None


def _open(scheme: str, host: str, port: int | None, ca_bundle: str | None) -> socket.socket:
    secure = scheme == "https"
    wire = socket.create_connection((host, port or (443 if secure else 80)), _CONNECT_S)
    try:
        wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if secure:
            wire = ssl.create_default_context(cafile=ca_bundle).wrap_socket(wire, server_hostname=host)
        wire.settimeout(LOGIN_OPEN_S + _CONNECT_S)
    except BaseException:
        wire.close()
        raise
    return wire


def _read_head(wire: socket.socket) -> tuple[int, dict[str, str], bytes]:
    """Status, headers by lower-case name, and what came behind them."""
    buffer = bytearray()
    while b"\r\n\r\n" not in buffer:
        data = wire.recv(TUNNEL_BYTES)
        if not data or len(buffer) > _HEAD_MAX_BYTES:
            raise ConnectionAbortedError("it closed the connection")
        buffer += data
    head, _, rest = bytes(buffer).partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    words = first.split(" ", 2)
    if len(words) < 2 or not words[1].isdecimal():
        raise ConnectionAbortedError("it does not speak HTTP")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return int(words[1]), headers, rest


def _read_body(wire: socket.socket, headers: dict[str, str], rest: bytes) -> bytes:
    length = headers.get("content-length", "0")
    wanted = min(int(length), _BODY_MAX_BYTES) if length.isdecimal() else 0
    body = bytearray(rest)
    while len(body) < wanted and (data := wire.recv(TUNNEL_BYTES)):
        body += data
    return bytes(body[:wanted])
