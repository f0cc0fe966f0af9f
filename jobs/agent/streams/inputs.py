"""A reducer's inputs, each whole, one after another into its stdin: from here where they lie here, else from a peer."""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator
from typing import Final

from jobs.agent.counters import InputBytes
from jobs.agent.ports import Caller, LocalStore, Peers
from jobs.agent.streams.pipes import InPipe
from jobs.model.questions import InputsReply, InputsRequest
from jobs.model.wire import AttemptRef, InputRef
from manta.core.errands import give_up
from manta.core.errors import AccessDenied, MantaError, NodeUnavailable
from manta.core.limits import INPUTS_AHEAD, SMALL_BLOB_BYTES
from manta.core.peers import PeerSource
from storage_nodes.api import BlobReader

_PASSES: Final = 2
"""Every source is tried once, then once more with fresh tokens."""


class InputDenied(AccessDenied):
    """The job's owner may not read an input any more: no other try, and no other node, will do."""


class ReduceInputs:
    """Streams the inputs of reducers. Raises a MantaError when an input can be had from no source."""

    def __init__(self, node_id: str, store: LocalStore, peers: Peers, caller: Caller) -> None:
        self._node_id = node_id
        self._store = store
        self._peers = peers
        self._caller = caller

    async def stream(self, attempt: AttemptRef, pipe: InPipe, counted: InputBytes) -> None:
        """All inputs into `pipe`, then its end. A task that wants no more ends, and this is cancelled."""
        after: int | None = 0
        while after is not None:
            page = await self._page(attempt, after)
            await _Page(self, attempt, after, page.inputs, pipe, counted).stream()
            after = page.next_after
        pipe.end()

    async def _page(self, attempt: AttemptRef, after: int) -> InputsReply:
        try:
            return await self._caller.call("inputs", InputsRequest(self._node_id, attempt, after), InputsReply)
        except AccessDenied as error:
            raise InputDenied(error.message) from error

    def is_local(self, source: PeerSource) -> bool:
        return source.node_id == self._node_id

    def order(self, sources: tuple[PeerSource, ...]) -> list[PeerSource]:
        """Our own copy first."""
        return sorted(sources, key=lambda source: not self.is_local(source))

    async def _open(self, source: PeerSource, blob_id: str, offset: int, length: int) -> BlobReader:
        if self.is_local(source):
            return await self._store.open_get(blob_id, offset, length)
        return await self._peers.open_get(source, blob_id, offset, length)

    async def fetch(self, ref: InputRef) -> tuple[bytes, bool] | None:
        """A small input whole, and whether it lay here; None when no source gave it."""
        for source in self.order(ref.sources):
            with contextlib.suppress(MantaError):
                data = b"".join([part async for part in self.parts(source, ref, 0)])
                return data, self.is_local(source)
        return None

    async def whole(self, ref: InputRef) -> AsyncGenerator[bytes, None]:
        """An object from its first byte to its last, from whichever sources give it. NodeUnavailable."""
        offset = 0
        if ref.blob_id is None:
            return
        for source in self.order(ref.sources):
            with contextlib.suppress(MantaError):
                async with contextlib.aclosing(self.parts(source, ref, offset)) as parts:
                    async for data in parts:
                        offset += len(data)
                        yield data
            if offset == ref.size:
                return
        raise NodeUnavailable(f"No node gave all of {ref.bucket}/{ref.key}.")

    async def parts(self, source: PeerSource, ref: InputRef, offset: int) -> AsyncGenerator[bytes, None]:
        reader = await self._open(source, ref.blob_id or "", offset, ref.size - offset)
        try:
            while data := await reader.read():
                offset += len(data)
                yield data
        finally:
            await reader.close()
        if offset != ref.size:
            raise NodeUnavailable(f"Node {source.node_id} sent {offset} of {ref.size} bytes of an input.")

    async def pour(
        self, source: PeerSource, ref: InputRef, offset: int, pipe: InPipe, counted: InputBytes
    ) -> AsyncGenerator[int, None]:
        """The input from `offset` on into the pipe; yields how far it came."""
        async with contextlib.aclosing(self.parts(source, ref, offset)) as parts:
            async for data in parts:
                await give(pipe, data, counted, local=self.is_local(source))
                offset += len(data)
                yield offset

    async def refreshed(self, attempt: AttemptRef, after: int, index: int, ref: InputRef) -> InputRef:
        """The same input with new tokens: those of a long page may have expired."""
        inputs = (await self._page(attempt, after)).inputs
        return inputs[index] if index < len(inputs) and inputs[index].blob_id == ref.blob_id else ref


async def give(pipe: InPipe, data: bytes, counted: InputBytes, *, local: bool) -> None:
    """Counts what came from another node, whether the task reads it or not."""
    if not local:
        counted.shuffled += len(data)
    await pipe.write(data)


class _Page:
    """One page of inputs on its way into the pipe."""

    def __init__(
        self,
        owner: ReduceInputs,
        attempt: AttemptRef,
        after: int,
        inputs: tuple[InputRef, ...],
        pipe: InPipe,
        counted: InputBytes,
    ) -> None:
        self._owner = owner
        self._attempt = attempt
        self._after = after
        self._inputs = inputs
        self._pipe = pipe
        self._counted = counted
        self._ahead: deque[asyncio.Task[tuple[bytes, bool] | None]] = deque()

    async def stream(self) -> None:
        wanted = [(index, ref) for index, ref in enumerate(self._inputs) if ref.size > 0]
        small = deque(ref for _, ref in wanted if ref.inline is None and ref.size <= SMALL_BLOB_BYTES)
        try:
            for index, ref in wanted:
                while small and len(self._ahead) < INPUTS_AHEAD:
                    self._ahead.append(asyncio.create_task(self._owner.fetch(small.popleft())))
                await self._one(index, ref)
        finally:
            await give_up(self._ahead)
            self._ahead.clear()

    async def _one(self, index: int, ref: InputRef) -> None:
        if ref.inline is not None:
            await give(self._pipe, ref.inline, self._counted, local=False)
            return
        if ref.size <= SMALL_BLOB_BYTES:
            fetched = await self._ahead.popleft()
            if fetched is not None:
                await give(self._pipe, fetched[0], self._counted, local=fetched[1])
                return
        await self._large(index, ref)

    async def _large(self, index: int, ref: InputRef) -> None:
        offset = 0
        last: MantaError | None = None
        for turn in range(_PASSES):
            if turn > 0:
                ref = await self._owner.refreshed(self._attempt, self._after, index, ref)
            for source in self._owner.order(ref.sources):
                try:
                    steps = self._owner.pour(source, ref, offset, self._pipe, self._counted)
                    async with contextlib.aclosing(steps):
                        async for reached in steps:
                            offset = reached
                except MantaError as error:
                    last = error
                else:
                    return
        raise last or NodeUnavailable(f"No node holds the input {ref.bucket}/{ref.key}.")
