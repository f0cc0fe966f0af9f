"""A body on its way in: hashed, checked against what the client claimed for it, handed to storage.

PutObject, UploadPart and whatever else stores a client's bytes come through here, so that no path skips a check.
"""

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from manta.catalog.records import Blob, Checksum
from manta.core import checksums
from manta.core.checksums import Algorithm, Buffer
from manta.core.errors import (
    BadDigest,
    BadRequest,
    EntityTooLarge,
    IncompleteBody,
    InvalidArgument,
    MalformedTrailer,
)
from manta.core.limits import HASH_BATCH_BYTES, HASH_BEHIND_BYTES, HASH_INLINE_BYTES, PUT_MAX_BYTES, SMALL_BLOB_BYTES
from manta.gateway.context import Blobs

DEFAULT_ALGORITHM = Algorithm.CRC64NVME
"""Kept for an object whose client sent no checksum, as S3 does since 2025."""

_pool = ThreadPoolExecutor(max_workers=4, thread_name_prefix="hash")

Kept = TypeVar("Kept")
Committed = TypeVar("Committed", covariant=True)


class Body(Protocol):
    """The decoded, verified bytes of a request (`manta.gateway.http.body`). `trailers` is complete once they ended."""

    length: int | None

    @property
    def trailers(self) -> Mapping[str, str]: ...

    def __aiter__(self) -> AsyncIterator[Buffer]: ...


class Sink(Protocol[Committed]):
    """Where a large body goes. Exactly one of commit or abort ends it."""

    async def write(self, data: Buffer) -> None: ...

    async def commit(self) -> Committed: ...

    async def abort(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Claims:
    """What the client says about the bytes it sends; each is verified.

    With `trailer` the checksum follows the body. `algorithm` is the one to compute and keep, whether or not a value
    for it was sent. (The payload hash that the signature covers is the body decoder's matter.)
    """

    md5: bytes | None = None
    checksum: bytes | None = None
    trailer: bool = False
    algorithm: Algorithm = DEFAULT_ALGORITHM


@dataclass(frozen=True, slots=True)
class Received(Generic[Kept]):
    """A verified body: where it was kept (None for zero bytes), its size, its MD5 and the checksum to store."""

    kept: Kept | None
    size: int
    md5: bytes
    checksum: Checksum

    @property
    def etag(self) -> str:
        return self.md5.hex()


def read_claims(headers: Mapping[str, str], *, default: Algorithm = DEFAULT_ALGORITHM) -> Claims:
    """The claims in a request's headers. InvalidDigest, InvalidArgument, BadRequest (several checksums).

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObject.html
    """
    md5 = headers.get("content-md5")
    sent = [algorithm for algorithm in Algorithm if algorithm.header in headers]
    trailer = _trailer_algorithm(headers.get("x-amz-trailer"))
    if len(sent) + (trailer is not None) > 1:
        raise BadRequest("Expecting a single x-amz-checksum- header or trailer.")
    named = headers.get("x-amz-sdk-checksum-algorithm") or headers.get("x-amz-checksum-algorithm")
    algorithm = sent[0] if sent else trailer or (parse_algorithm(named) if named else default)
    return Claims(
        md5=checksums.decode(md5, 16) if md5 is not None else None,
        checksum=checksums.decode(headers[algorithm.header], algorithm.digest_size) if sent else None,
        trailer=trailer is not None,
        algorithm=algorithm,
    )


def parse_algorithm(text: str) -> Algorithm:
    """S3's name of a checksum algorithm, in any case. InvalidArgument."""
    try:
        return Algorithm(text.lower())
    except ValueError:
        raise InvalidArgument(f"The checksum algorithm {text[:40]!r} is not known.") from None


def _trailer_algorithm(header: str | None) -> Algorithm | None:
    if header is None:
        return None
    prefix = "x-amz-checksum-"
    name = header.strip().lower()
    if not name.startswith(prefix):
        raise BadRequest(f"The trailer {header[:60]!r} is not known; a checksum trailer is expected.")
    return parse_algorithm(name[len(prefix) :])


async def receive_blob(blobs: Blobs, body: Body, claims: Claims, *, limit: int = PUT_MAX_BYTES) -> Received[Blob]:
    """`receive` into a blob of its own, on as many nodes as the store keeps copies."""
    return await receive(body, claims, blobs.put_small, blobs.open_put, limit=limit)


async def receive(
    body: Body,
    claims: Claims,
    put_small: Callable[[Buffer], Awaitable[Kept]],
    open_sink: Callable[[int | None], Awaitable[Sink[Kept]]],
    *,
    small_bytes: int = SMALL_BLOB_BYTES,
    limit: int = PUT_MAX_BYTES,
) -> Received[Kept]:
    """Take the whole body in; nothing is kept unless every claim held.

    Up to `small_bytes` it is gathered and passed to `put_small`, beyond that it streams into a sink while it is
    hashed in a thread. IncompleteBody, EntityTooLarge, BadDigest, MalformedTrailer, and what storage raises.
    """
    length = body.length
    if length is not None and length > limit:
        raise EntityTooLarge
    hashes = _Hashes(claims)
    chunks = aiter(body)
    head: list[Buffer] = []
    if length is None or length <= small_bytes:
        gathered = 0
        async for chunk in chunks:
            head.append(chunk)
            gathered += len(chunk)
            if gathered > small_bytes:
                break
        else:
            return await _keep_small(body, hashes, head, put_small)
    sink = await open_sink(length)
    try:
        size = await _stream(hashes, sink, head, chunks, limit)
        _check_size(body, size)
        hashes.verify(body)
        return Received(await sink.commit(), size, hashes.md5.digest(), hashes.result())
    except BaseException:
        await hashes.settle()
        await sink.abort()
        raise


async def _keep_small(
    body: Body, hashes: "_Hashes", parts: list[Buffer], put_small: Callable[[Buffer], Awaitable[Kept]]
) -> Received[Kept]:
    data = parts[0] if len(parts) == 1 else b"".join(parts)
    _check_size(body, len(data))
    if len(data) <= HASH_INLINE_BYTES:
        hashes.update(data)
    else:
        await hashes.feed(data)
        await hashes.finish()
    hashes.verify(body)
    kept = await put_small(data) if data else None
    return Received(kept, len(data), hashes.md5.digest(), hashes.result())


async def _stream(
    hashes: "_Hashes", sink: Sink[Kept], head: list[Buffer], chunks: AsyncIterator[Buffer], limit: int
) -> int:
    """Everything into the sink and the digests; the number of bytes."""
    size = 0
    for chunk in head:
        size += len(chunk)
        await hashes.feed(chunk)
        await sink.write(chunk)
    async for chunk in chunks:
        size += len(chunk)
        if size > limit:
            raise EntityTooLarge
        await hashes.feed(chunk)
        await sink.write(chunk)
    await hashes.finish()
    return size


def _check_size(body: Body, size: int) -> None:
    if body.length is not None and size != body.length:
        raise IncompleteBody(f"The body has {size} bytes; {body.length} were declared.")


async def digest_of(blobs: Blobs, blob: Blob | None, algorithm: Algorithm) -> bytes:
    """The checksum of a stored blob, read anew. Errors as of `Blobs.open_get`."""
    hashes = _Hashes(Claims(algorithm=algorithm))
    if blob is not None:
        reader = await blobs.open_get(blob, 0, blob.size)
        try:
            while data := await reader.read():
                await hashes.feed(data)
        finally:
            await hashes.finish()
            await reader.close()
    return hashes.kept.digest()


class _Hashes:
    """The digests of one body, updated in a thread behind the stream.

    The thread takes chunk after chunk by itself, so it never idles while there are any; the stream waits for it when
    more than HASH_BEHIND_BYTES are queued.
    """

    def __init__(self, claims: Claims) -> None:
        self.claims = claims
        self.md5 = checksums.new_md5()
        self.kept = checksums.new(claims.algorithm)
        self._queue: deque[Buffer] = deque()
        self._lock = threading.Lock()
        self._behind = 0
        self._running: asyncio.Future[None] | None = None
        self._room: asyncio.Future[None] | None = None
        self._loop = asyncio.get_running_loop()

    def update(self, chunk: Buffer) -> None:
        self.md5.update(chunk)
        self.kept.update(chunk)

    async def feed(self, chunk: Buffer) -> None:
        """Queue a chunk, which must not change until HASH_BEHIND_BYTES more were fed."""
        with self._lock:
            self._queue.append(chunk)
            self._behind += len(chunk)
            idle = self._running is None
            if idle and self._behind >= HASH_BATCH_BYTES:
                self._running = self._loop.run_in_executor(_pool, self._drain)
            full = self._behind > HASH_BEHIND_BYTES
            if full:
                self._room = self._loop.create_future()
        if full and self._room is not None:
            await self._room

    def _drain(self) -> None:
        """In the thread: everything that is queued, and what is queued meanwhile."""
        while True:
            with self._lock:
                if not self._queue:
                    self._running = None
                    return
                chunk = self._queue.popleft()
            self.update(chunk)
            with self._lock:
                self._behind -= len(chunk)
                if self._room is not None and self._behind <= HASH_BEHIND_BYTES // 2:
                    self._loop.call_soon_threadsafe(_set, self._room)
                    self._room = None

    async def finish(self) -> None:
        """Returns once every queued chunk is in the digests."""
        while True:
            with self._lock:
                running = self._running
                if running is None and self._queue:
                    running = self._running = self._loop.run_in_executor(_pool, self._drain)
            if running is None:
                return
            await running

    async def settle(self) -> None:
        """Drop what is queued and wait for the thread; nothing touches the digests afterwards."""
        with self._lock:
            self._queue.clear()
        await self.finish()

    def verify(self, body: Body) -> None:
        if self.claims.md5 is not None and self.md5.digest() != self.claims.md5:
            raise BadDigest("The Content-MD5 you specified did not match what we received.")
        claimed = self._trailing(body) if self.claims.trailer else self.claims.checksum
        if claimed is not None and self.kept.digest() != claimed:
            raise BadDigest(f"The {self.claims.algorithm.value.upper()} you specified did not match what we received.")

    def _trailing(self, body: Body) -> bytes:
        text = body.trailers.get(self.claims.algorithm.header)
        if text is None:
            raise MalformedTrailer(f"The trailer {self.claims.algorithm.header} was announced but did not come.")
        return checksums.decode(text, self.claims.algorithm.digest_size)

    def result(self) -> Checksum:
        return Checksum(self.claims.algorithm, self.kept.digest())


def _set(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)
