"""A request's body: bytes as the client meant them, bounded, with a deadline for silence, verified at the end.

Whatever frames them (aws-chunked) is taken off by the decoder that the verifier gave; it raises when a signature,
a length or a hash does not fit, so that whoever reads to the end has verified bytes.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Protocol

from aiohttp import StreamReader

from manta.core.errors import BadRequest, EntityTooLarge, IncompleteBody
from manta.core.limits import BODY_IDLE_TIMEOUT_S


class BodyDecoder(Protocol):
    """Bytes off the wire in, bytes of the object out; raises when anything about them is not as signed."""

    @property
    def trailers(self) -> Mapping[str, str]: ...

    def feed(self, data: bytes) -> Iterable[bytes]: ...

    def finish(self) -> Iterable[bytes]:
        """The last bytes, once the wire has ended."""
        ...


class Body:
    """`length` is what will come in bytes after decoding, or None when the client did not say. To be read once."""

    __slots__ = ("_decoder", "_stream", "length")

    def __init__(self, stream: StreamReader, decoder: BodyDecoder | None, length: int | None) -> None:
        self._stream = stream
        self._decoder = decoder
        self.length = length

    @property
    def trailers(self) -> Mapping[str, str]:
        """Verified trailers by lower-case name; complete once the body has been read."""
        return self._decoder.trailers if self._decoder is not None else {}

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Pieces as they arrive; IncompleteBody when the client stops or stalls, the verifier's errors at the end."""
        decoder = self._decoder
        received = 0
        while data := await self._next():
            for piece in (data,) if decoder is None else decoder.feed(data):
                received += len(piece)
                if self.length is not None and received > self.length:
                    raise IncompleteBody("The body is longer than its declared length.")
                yield piece
        if decoder is not None:
            for piece in decoder.finish():
                received += len(piece)
                yield piece
        if self.length is not None and received != self.length:
            raise IncompleteBody(f"The body has {received} bytes; {self.length} were declared.")

    async def read(self, limit: int) -> bytes:
        """The whole body; EntityTooLarge when it has more than `limit` bytes."""
        if self.length is not None and self.length > limit:
            raise EntityTooLarge
        pieces: list[bytes] = []
        size = 0
        async for piece in self:
            size += len(piece)
            if size > limit:
                raise EntityTooLarge
            pieces.append(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def _next(self) -> bytes:
        stream = self._stream
        try:
            if stream.is_eof() or stream.total_bytes > 0:
                data = stream.read_nowait()
                if data:
                    return data
                if stream.at_eof():
                    return b""
            async with asyncio.timeout(BODY_IDLE_TIMEOUT_S):
                return await stream.readany()
        except TimeoutError:
            raise IncompleteBody(f"No byte of the body came for {BODY_IDLE_TIMEOUT_S:.0f} s.") from None
        except ConnectionError:
            raise IncompleteBody from None
        except BadRequest:
            raise
        except Exception as error:
            raise IncompleteBody(f"The body could not be read: {type(error).__name__}.") from None
