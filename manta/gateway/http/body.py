"""A request's body: bytes as the client meant them, bounded, with a deadline for silence, verified at the end.

Whatever frames them (aws-chunked) is taken off by the decoder that the verifier gave; it raises when a signature,
a length or a hash does not fit, so that whoever reads to the end has verified bytes.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping

from aiohttp import StreamReader

from manta.auth.body import BodyDecoder, Data, Trailers
from manta.core.checksums import Buffer
from manta.core.errors import EntityTooLarge, IncompleteBody, MantaError
from manta.core.limits import BODY_IDLE_TIMEOUT_S, DECODE_INLINE_BYTES
from storage_nodes.server.raw_body import RawBody


class Body:
    """`length` is what will come in bytes after decoding, or None when the client did not say. To be read once.

    `invite` is called before the first byte is asked for: a client that sent `Expect: 100-continue` waits for it.
    `hashes`: decoding costs a hash of every byte. `straight` takes the body from the socket past aiohttp, if that pays.
    """

    __slots__ = ("_decoder", "_hashes", "_invite", "_raw", "_straight", "_stream", "length", "trailers")

    def __init__(
        self,
        stream: StreamReader,
        decoder: BodyDecoder,
        length: int | None,
        invite: Callable[[], None] | None = None,
        *,
        hashes: bool = False,
        straight: Callable[[], RawBody | None] | None = None,
    ) -> None:
        self._stream = stream
        self._decoder = decoder
        self._invite = invite
        self._hashes = hashes
        self._straight = straight
        self._raw: RawBody | None = None
        self.length = length
        self.trailers: Mapping[str, str] = {}
        """Verified trailers by lower-case name; complete once the body has been read."""

    def __aiter__(self) -> AsyncIterator[Buffer]:
        """Pieces as they arrive; each may change once RING_KEPT_BYTES more were asked for.

        IncompleteBody when the client stops or stalls, the verifier's errors at the end.
        """
        if self._straight is not None:
            self._raw = self._straight()
        return self._pieces()

    async def _pieces(self) -> AsyncIterator[Buffer]:
        received = 0
        while data := await self._next():
            for piece in await self._decode_any(data):
                received += len(piece)
                if self.length is not None and received > self.length:
                    raise IncompleteBody("The body is longer than its declared length.")
                yield piece
        for piece in self._decode(None):
            received += len(piece)
            yield piece
        if self.length is not None and received != self.length:
            raise IncompleteBody(f"The body has {received} bytes; {self.length} were declared.")

    async def read(self, limit: int) -> bytes:
        """The whole body; EntityTooLarge when it has more than `limit` bytes."""
        if self.length is not None and self.length > limit:
            raise EntityTooLarge
        pieces: list[Buffer] = []
        size = 0
        async for piece in self._pieces():
            size += len(piece)
            if size > limit:
                raise EntityTooLarge
            pieces.append(piece)
        return b"".join(pieces)

    async def _decode_any(self, data: Buffer) -> list[Buffer]:
        """In a thread where a hash of many bytes would keep other requests waiting."""
        if self._hashes and len(data) >= DECODE_INLINE_BYTES:
            return await asyncio.to_thread(self._decode, data)
        return self._decode(data)

    def _decode(self, data: Buffer | None) -> list[Buffer]:
        """The object's bytes among the next ones off the wire, or (None) what remains at their end."""
        pieces: list[Buffer] = []
        for event in self._decoder.feed(data) if data is not None else self._decoder.finish():
            if isinstance(event, Data):
                pieces.append(event.data)
            elif isinstance(event, Trailers):
                self.trailers = dict(event.fields)
        return pieces

    async def _next(self) -> Buffer:
        stream = self._stream
        if self._invite is not None:
            self._invite()
            self._invite = None
        if self._raw is not None:
            return await self._raw.next_block()
        try:
            if stream.is_eof():
                return await _piece(stream)
            async with asyncio.timeout(BODY_IDLE_TIMEOUT_S):
                return await _piece(stream)
        except TimeoutError:
            raise IncompleteBody(f"No byte of the body came for {BODY_IDLE_TIMEOUT_S:.0f} s.") from None
        except MantaError:
            raise
        except Exception as error:
            raise IncompleteBody(f"The body broke off: {type(error).__name__}.") from None


async def _piece(stream: StreamReader) -> bytes:
    """One piece as it came from the socket, not joined with others: a join copies the body once more."""
    while True:
        data, _ = await stream.readchunk()
        if data or stream.at_eof():
            return data
