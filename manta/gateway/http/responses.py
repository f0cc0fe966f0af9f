"""What a handler returns: a status, headers, and a body that knows how to write itself to the connection."""

import contextlib
import os
import time
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Any, BinaryIO, Protocol

import msgspec

from manta.core.errors import InvalidArgument
from manta.core.limits import STREAM_CHUNK_BYTES
from storage_nodes.api import BlobReader
from storage_nodes.server.tunnel import Tunnel

XML = "application/xml"
JSON = "application/json"
NDJSON = "application/x-ndjson"

_REASONS = {status.value: status.phrase for status in HTTPStatus}


class Sink(Protocol):
    """The connection, as a body sees it."""

    def write(self, data: bytes) -> None: ...

    async def drain(self) -> None:
        """Returns once there is room; ConnectionError when the client is gone."""
        ...

    async def sendfile(self, file: BinaryIO, offset: int, count: int) -> None: ...

    def tunnel(self) -> Tunnel:
        """The connection itself, once its client was told 101."""
        ...


class Response:
    """A body in memory, and the root of the other kinds. `headers` are written as given; values hold no line ends."""

    __slots__ = ("body", "close_connection", "headers", "status")

    def __init__(
        self, status: int = 200, headers: dict[str, str] | None = None, body: bytes = b"", content_type: str = ""
    ) -> None:
        self.status = status
        self.headers = headers if headers is not None else {}
        self.body = body
        self.close_connection = False
        if content_type:
            self.headers["Content-Type"] = content_type

    @property
    def length(self) -> int | None:
        """Bytes of the body; None when only its end will tell (sent in chunks)."""
        return len(self.body)

    async def write_body(self, sink: Sink) -> None:
        sink.write(self.body)
        await sink.drain()

    async def close(self) -> None:
        """Give back what the body holds; called exactly once, written or not."""


class StreamedResponse(Response):
    """A body of known length read from a BlobReader."""

    __slots__ = ("_length", "_reader")

    def __init__(self, status: int, headers: dict[str, str], reader: BlobReader, length: int) -> None:
        super().__init__(status, headers)
        self._reader = reader
        self._length = length

    @property
    def length(self) -> int | None:
        return self._length

    async def write_body(self, sink: Sink) -> None:
        left = self._length
        while left and (data := await self._reader.read()):
            left -= len(data)
            sink.write(data)
            await sink.drain()
        if left:
            raise ConnectionAbortedError(f"The blob ended {left} bytes early.")

    async def close(self) -> None:
        await self._reader.close()


class FileResponse(Response):
    """A body sent by the kernel from an open file; owns `descriptor`."""

    __slots__ = ("_file", "_length", "_offset")

    def __init__(self, status: int, headers: dict[str, str], descriptor: int, offset: int, length: int) -> None:
        super().__init__(status, headers)
        self._file: BinaryIO = os.fdopen(descriptor, "rb", buffering=0)
        self._offset = offset
        self._length = length

    @property
    def length(self) -> int | None:
        return self._length

    async def write_body(self, sink: Sink) -> None:
        if self._length:
            await sink.sendfile(self._file, self._offset, self._length)

    async def close(self) -> None:
        self._file.close()


class ChunkedResponse(Response):
    """A body whose end is not known beforehand: pages of lines, server-sent events."""

    __slots__ = ("_chunks",)

    def __init__(self, status: int, headers: dict[str, str], chunks: AsyncIterator[bytes]) -> None:
        super().__init__(status, headers)
        self._chunks = chunks

    @property
    def length(self) -> int | None:
        return None

    async def write_body(self, sink: Sink) -> None:
        async for chunk in self._chunks:
            for start in range(0, len(chunk), STREAM_CHUNK_BYTES):
                piece = chunk[start : start + STREAM_CHUNK_BYTES]
                sink.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            await sink.drain()
        sink.write(b"0\r\n\r\n")
        await sink.drain()

    async def close(self) -> None:
        closing = getattr(self._chunks, "aclose", None)
        if closing is not None:
            with contextlib.suppress(RuntimeError):
                await closing()


def xml_response(text: str, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(status, headers, text.encode("utf-8"), XML)


def json_response(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(status, headers, msgspec.json.encode(value), JSON)


class _DateCache:
    """The Date header, formatted once a second."""

    def __init__(self) -> None:
        self._second = 0
        self._text = ""

    def text(self) -> str:
        second = int(time.time())
        if second != self._second:
            self._second = second
            self._text = http_date(second)
        return self._text


def http_date(epoch_s: int) -> str:
    """RFC 9110's IMF-fixdate, without the locale."""
    at = time.gmtime(epoch_s)
    day = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")[at.tm_wday]
    month = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")[at.tm_mon - 1]
    return f"{day}, {at.tm_mday:02d} {month} {at.tm_year} {at.tm_hour:02d}:{at.tm_min:02d}:{at.tm_sec:02d} GMT"


_date = _DateCache()


def encode_head(response: Response, request_id: str, keep_alive: bool) -> bytes:
    """Status line and headers. InvalidArgument when a value would break out of its line."""
    lines = [
        f"HTTP/1.1 {response.status} {_REASONS.get(response.status, 'Unknown')}\r\n"
        f"x-amz-request-id: {request_id}\r\nDate: {_date.text()}\r\nServer: manta"
    ]
    for name, value in response.headers.items():
        lines.append(f"{name}: {value}")
    if response.status not in (101, 204, 304) and "Content-Length" not in response.headers:
        length = response.length
        lines.append("Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}")
    if not keep_alive and response.status != 101:
        lines.append("Connection: close")
    text = "\r\n".join(lines)
    if text.count("\n") != len(lines) + 2 or text.count("\r") != len(lines) + 2:
        raise InvalidArgument("A header of the reply contains a line end.")
    return (text + "\r\n\r\n").encode("utf-8", "surrogateescape")
