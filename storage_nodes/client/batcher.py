"""Small blobs on their way to one node, sent together with their neighbours in time.

While a message is in flight the next one collects, so the batch grows with the load and nothing waits for a timer.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from manta.core.checksums import Buffer
from manta.core.errands import give_up, spawn
from manta.core.errors import MantaError, NodeUnavailable
from manta.core.limits import BATCH_MAX_BLOBS, BATCH_MAX_BYTES
from storage_nodes import messages
from storage_nodes.api import Stored
from storage_nodes.messages import PutBatch, PutBatchReply, Refusal

Send = Callable[[bytes], Awaitable[bytes]]
"""Sends the encoded batch and returns the encoded reply."""


@dataclass(slots=True)
class _Waiting:
    blob_id: str
    data: Buffer
    done: "asyncio.Future[Stored]"


class Batcher:
    """Joins concurrent puts. `in_flight` messages are under way at most."""

    def __init__(self, send: Send, in_flight: int = 2) -> None:
        self._send = send
        self._free = in_flight
        self._waiting: list[_Waiting] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def put(self, blob_id: str, data: Buffer) -> Stored:
        """Returns when the blob is durable; the error is this blob's own."""
        done: asyncio.Future[Stored] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(blob_id, data, done))
        if self._free and len(self._waiting) == 1:
            self._free -= 1
            spawn(self._tasks, self._drain())
        return await done

    async def close(self) -> None:
        """Ends what is under way; its callers get NodeUnavailable."""
        await give_up(self._tasks)
        waiting, self._waiting = self._waiting, []
        _fail(waiting, NodeUnavailable("The client of this storage node was closed."))

    async def _drain(self) -> None:
        try:
            while batch := self._take():
                await self._exchange(batch)
        finally:
            self._free += 1

    def _take(self) -> list[_Waiting]:
        """The next batch, bounded in bytes and in blobs."""
        total = count = 0
        for waiting in self._waiting:
            total += len(waiting.data)
            if count and (total > BATCH_MAX_BYTES or count >= BATCH_MAX_BLOBS):
                break
            count += 1
        batch, self._waiting = self._waiting[:count], self._waiting[count:]
        return batch

    async def _exchange(self, batch: list[_Waiting]) -> None:
        try:
            body = messages.encode(PutBatch([(waiting.blob_id, memoryview(waiting.data)) for waiting in batch]))
            reply = messages.decode(await self._send(body), PutBatchReply)
            for waiting, result in zip(batch, reply.results, strict=True):
                _settle(waiting, result)
        except MantaError as error:
            _fail(batch, error)
        except ValueError:
            _fail(batch, NodeUnavailable("A storage node answered a batch with another number of results."))
        except BaseException:
            _fail(batch, NodeUnavailable("The client of this storage node was closed."))
            raise


def _settle(waiting: _Waiting, result: int | Refusal) -> None:
    if waiting.done.done():
        return
    if isinstance(result, Refusal):
        waiting.done.set_exception(messages.error_of(result))
    else:
        waiting.done.set_result(Stored(len(waiting.data), result))


def _fail(batch: list[_Waiting], error: MantaError) -> None:
    for waiting in batch:
        if not waiting.done.done():
            waiting.done.set_exception(type(error)(error.message))
