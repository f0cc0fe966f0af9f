"""An output made durable: here first, then on its further copies, before its task is reported."""

import asyncio
import contextlib
from typing import Final

from msgspec import structs

from jobs.agent.output_limit import OutputMeter
from jobs.agent.ports import Caller, LocalStore, Peers
from jobs.agent.streams.capture import Captured
from jobs.model.questions import SlotsReply, SlotsRequest
from jobs.model.wire import AttemptRef, Output, OutputSlot
from manta.core.errors import AccessDenied, MantaError, NotEnoughNodes
from manta.core.limits import STREAM_CHUNK_BYTES, TASK_OUTPUT_DISK_FRACTION
from manta.core.peers import PeerSource

_PAUSES_S: Final = (0.0, 0.2, 1.0, 3.0)
"""Between tries to place the copies: a gateway needs up to 3 s to notice that a node is dead."""


class Outputs:
    """Stores what tasks made, of each at most its `share` of the disk. Errors are the store's own (retryable)."""

    def __init__(
        self,
        node_id: str,
        store: LocalStore,
        peers: Peers,
        caller: Caller,
        share: float = TASK_OUTPUT_DISK_FRACTION,
    ) -> None:
        self._node_id = node_id
        self._store = store
        self._peers = peers
        self._caller = caller
        self._share = share

    def meter(self) -> OutputMeter:
        """For what one attempt puts out, stdout and all others together."""
        return OutputMeter(self._store.space, self._share)

    async def store(
        self,
        attempt: AttemptRef,
        slot: OutputSlot,
        captured: Captured,
        meter: OutputMeter,
        *,
        further: bool = False,
        inline_bytes: int = 0,
    ) -> Output:
        """The durable output. A peer that does not take its copy is replaced by another, under a new blob id.

        `further`: beside the one that the task's own slot is for. Up to `inline_bytes` it becomes durable with the
        task's report instead. `meter` learns what peers were sent.
        """
        output = Output(blob_id=None, size=captured.size, md5=captured.md5, crc64nvme=captured.crc64nvme)
        if captured.size == 0:
            return output
        if captured.data is not None and captured.size <= inline_bytes:
            return structs.replace(output, inline=captured.data)
        if captured.data is not None:
            await self._store.put(slot.blob_id, captured.data)
        slot = await self._copy_everywhere(attempt, slot, captured, meter, further=further)
        nodes = (self._node_id, *(copy.node_id for copy in slot.copies))
        return Output(slot.blob_id, output.size, output.md5, output.crc64nvme, nodes)

    async def discard(self, *blob_ids: str) -> None:
        """Remove what an attempt that lost its lease wrote here; the sweeper would, later."""
        with contextlib.suppress(MantaError, OSError):
            await self._store.delete(list(blob_ids))

    async def _copy_everywhere(
        self, attempt: AttemptRef, slot: OutputSlot, captured: Captured, meter: OutputMeter, *, further: bool
    ) -> OutputSlot:
        avoid: set[str] = set()
        failed = await self._copy(slot, captured, meter)
        for pause_s in _PAUSES_S:
            if not failed:
                return slot
            avoid |= {node_id for node_id, error in failed.items() if not isinstance(error, AccessDenied)}
            await asyncio.sleep(pause_s)
            slot = await self._move_to_new_slot(attempt, slot, captured, avoid, further=further)
            failed = await self._copy(slot, captured, meter)
        if failed:
            raise NotEnoughNodes(f"The further copies of an output could not be written to {', '.join(sorted(avoid))}.")
        return slot

    async def _copy(self, slot: OutputSlot, captured: Captured, meter: OutputMeter) -> dict[str, MantaError]:
        """Node id → error, of the copies that failed."""
        if not slot.copies:
            return {}
        ends = await asyncio.gather(*(self._copy_to(copy, slot.blob_id, captured, meter) for copy in slot.copies))
        return {copy.node_id: error for copy, error in zip(slot.copies, ends, strict=True) if error is not None}

    async def _copy_to(
        self, copy: PeerSource, blob_id: str, captured: Captured, meter: OutputMeter
    ) -> MantaError | None:
        try:
            if captured.data is not None:
                await self._peers.put(copy, blob_id, captured.data)
                meter.copied_bytes += captured.size
            else:
                await self._stream_to(copy, blob_id, captured.size, meter)
        except MantaError as error:
            return error
        return None

    async def _stream_to(self, copy: PeerSource, blob_id: str, size: int, meter: OutputMeter) -> None:
        writer = await self._peers.open_put(copy, blob_id, size)
        try:
            reader = await self._store.open_get(blob_id, 0, size)
            try:
                while data := await reader.read():
                    for start in range(0, len(data), STREAM_CHUNK_BYTES):
                        await writer.write(data[start : start + STREAM_CHUNK_BYTES])
                    meter.copied_bytes += len(data)
            finally:
                await reader.close()
        except BaseException:
            await writer.abort()
            raise
        await writer.commit()

    async def _move_to_new_slot(
        self, attempt: AttemptRef, slot: OutputSlot, captured: Captured, avoid: set[str], *, further: bool
    ) -> OutputSlot:
        request = SlotsRequest(self._node_id, attempt, count=1, avoid=tuple(sorted(avoid)), further=further)
        reply = await self._caller.call("slots", request, SlotsReply)
        if not reply.slots:
            raise NotEnoughNodes
        new = reply.slots[0]
        if captured.data is not None:
            await self._store.put(new.blob_id, captured.data)
        else:
            await self._store.copy(slot.blob_id, new.blob_id, captured.size)
        await self.discard(slot.blob_id)
        return new
