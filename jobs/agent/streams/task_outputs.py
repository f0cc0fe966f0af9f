"""What an attempt's programs put out: gathered while the task runs, stored at its end, or forgotten with it (J1)."""

import asyncio
from typing import Final

from msgspec import structs

from jobs.agent.output_limit import OutputMeter
from jobs.agent.ports import Caller, LocalStore
from jobs.agent.streams.intake import Intake
from jobs.agent.streams.outputs import Outputs
from jobs.model.questions import NamedObject, SlotsReply, SlotsRequest
from jobs.model.wire import AttemptRef, Output, OutputSlot
from jobs.programs.protocol import OutputCall
from manta.core.errors import InvalidArgument, NotEnoughNodes
from manta.core.limits import PROGRAM_KEPT_BYTES, PROGRAM_SLOTS_MAX, TASK_OUTPUTS_MAX

_SIDE_BY_SIDE: Final = 16
_NO_DIGEST: Final = (bytes(16), bytes(8))


class TooMuch(InvalidArgument):
    """The outputs together exceed the limit of a task."""


class TaskOutputs:
    """In the order in which they were begun; only those that came whole count."""

    def __init__(
        self,
        node_id: str,
        attempt: AttemptRef,
        store: LocalStore,
        outputs: Outputs,
        caller: Caller,
        meter: OutputMeter,
        max_count: int = TASK_OUTPUTS_MAX,
        *,
        inline_bytes: int = 0,
    ) -> None:
        self._node_id = node_id
        self._attempt = attempt
        self._store = store
        self._outputs = outputs
        self._caller = caller
        self._meter = meter
        self._inline_bytes = inline_bytes
        self._max_count = max_count
        self._items: list[Intake | Output] = []
        self._names: set[tuple[str, str]] = set()
        self._slots: list[OutputSlot] = []
        self._used: list[str] = []
        self._asked = 0
        self._asking = asyncio.Lock()
        self._kept = 0
        self.replaces_stdout = False
        """An output was begun or referred to: stdout is none then."""

    async def begin(self, call: OutputCall) -> Intake:
        """Room for one more output. InvalidArgument; the errors of the gateway."""
        self.require_room(1)
        if call.target is not None:
            if call.target in self._names:
                raise InvalidArgument(f"The task has an output {'/'.join(call.target)!r} already.")
            self._names.add(call.target)
        if not call.side:
            self.replaces_stdout = True
        try:
            slot = await self._slot()
        except BaseException:
            self.forget_name(call)
            raise
        self._used.append(slot.blob_id)
        intake = Intake(self._store, slot, call, self._keep)
        self._items.append(intake)
        return intake

    def forget_name(self, call: OutputCall) -> None:
        """The output did not come whole: another may have its name."""
        if call.target is not None:
            self._names.discard(call.target)

    def refer(self, names: list[tuple[str, str]], found: tuple[NamedObject, ...]) -> None:
        """Existing objects, each an output."""
        self.require_room(len(names))
        self.replaces_stdout = True
        md5, crc = _NO_DIGEST
        for (bucket, key), one in zip(names, found, strict=True):
            self._items.append(
                Output(None, one.size, md5, crc, bucket=bucket, key=key, version_id=one.version_id)
            )  # fmt: skip

    def take(self, size: int) -> None:
        """So many more bytes of outputs. TooMuch."""
        if not self._meter.take(size):
            raise TooMuch("The task has written more than its outputs may have together.")

    async def store(self) -> tuple[Output, ...]:
        """Every output, durable everywhere it has to be. Errors are the store's own."""
        done: list[Output] = []
        for start in range(0, len(self._items), _SIDE_BY_SIDE):
            page = self._items[start : start + _SIDE_BY_SIDE]
            for end in await asyncio.gather(*map(self._store_one, page), return_exceptions=True):
                if isinstance(end, BaseException):
                    raise end  # now that none of them is on its way any more, and all can be removed
                if end is not None:
                    done.append(end)
        return tuple(done)

    async def _store_one(self, item: Intake | Output) -> Output | None:
        """None for what did not come whole."""
        if isinstance(item, Output):
            return item
        if item.captured is None:
            return None
        named = item.call.target is not None
        stored = await self._outputs.store(
            self._attempt, item.slot, item.captured, self._meter,
            further=True, inline_bytes=0 if named else self._inline_bytes,
        )  # fmt: skip
        bucket, key = item.call.target or ("", "")
        return structs.replace(
            stored, reducer=item.call.reducer, bucket=bucket, key=key, headers=item.call.headers, side=item.call.side
        )

    async def discard(self) -> None:
        """The attempt came to nothing: so do its outputs."""
        for item in self._items:
            if isinstance(item, Intake):
                await item.abort()
        used, self._used = self._used, []
        self._items.clear()
        if used:
            await self._outputs.discard(*used)

    def require_room(self, more: int) -> None:
        """InvalidArgument when so many more outputs are too many."""
        if len(self._items) + more > self._max_count:
            raise InvalidArgument(f"A task has at most {self._max_count} outputs.")

    def _keep(self, size: int) -> bool:
        if self._kept + size > PROGRAM_KEPT_BYTES:
            return False
        self._kept += size
        return True

    async def _slot(self) -> OutputSlot:
        """One at first, then more and more ahead: most tasks want one."""
        async with self._asking:
            if not self._slots:
                count = min(max(1, self._asked), PROGRAM_SLOTS_MAX)
                request = SlotsRequest(self._node_id, self._attempt, count, further=True)
                reply = await self._caller.call("slots", request, SlotsReply)
                if not reply.slots:
                    raise NotEnoughNodes
                self._asked += len(reply.slots)
                self._slots = list(reply.slots)
            return self._slots.pop()
