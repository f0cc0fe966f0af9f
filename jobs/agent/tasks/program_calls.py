"""What the programs of one attempt may ask of the agent, and its answers (jobs/programs/protocol.py)."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from itertools import islice
from typing import Final, TypeVar

import msgspec

from jobs.agent.outcome import unforeseen
from jobs.agent.ports import Caller
from jobs.agent.streams.inputs import ReduceInputs
from jobs.agent.streams.intake import Intake
from jobs.agent.streams.task_outputs import TaskOutputs, TooMuch
from jobs.model.outputs import check_output_headers
from jobs.model.questions import ListingReply, ListingRequest, NamedObject, ObjectsReply, ObjectsRequest, Purpose
from jobs.model.wire import AttemptRef, InputRef
from jobs.programs import protocol
from jobs.programs.protocol import FRAME_HEAD_BYTES, FRAME_MAX_BYTES, Kind, OutputCall
from manta.core.errors import BadRequest, InternalError, InvalidArgument, MantaError
from manta.core.limits import PROGRAM_NAMES_MAX

Reply = TypeVar("Reply", bound=msgspec.Struct)
_FRAMES_IN_A_ROW: Final = 16


class Refused(MantaError):
    """A name that the gateway does not let the job's owner use, in the gateway's words."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.shown_code = code


class ProgramCalls:
    """Serves each connection to its end. `on_trouble` is called when the task is to be ended: see `trouble`."""

    def __init__(
        self,
        node_id: str,
        attempt: AttemptRef,
        outputs: TaskOutputs,
        inputs: ReduceInputs,
        caller: Caller,
        on_trouble: Callable[[], None],
    ) -> None:
        self.outputs = outputs
        self.trouble: MantaError | None = None
        """The store's own fault: the attempt is worth another try."""
        self._node_id = node_id
        self._attempt = attempt
        self._inputs = inputs
        self._caller = caller
        self._on_trouble = on_trouble

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One program. What it did wrong, or the store, it is told; when it hangs up that is raised."""
        try:
            await self._answer(reader, writer)
        except (ConnectionError, EOFError):
            raise
        except Exception as error:
            told = error if isinstance(error, MantaError) else self._fault(unforeseen(error))
            code = told.shown_code if isinstance(told, Refused) else told.code
            payload = f"{code}\0{told.message}".encode("utf-8", "replace")[:FRAME_MAX_BYTES]
            writer.write(protocol.encode_frame(Kind.FAILED, payload))
            await writer.drain()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        frames = _Frames(reader)
        verb, *fields = _verb(await frames.next())
        match verb:
            case "output":
                await self._output(protocol.parse_output(fields), frames)
            case "refer":
                await self._refer(fields, frames)
            case "get":
                async for data in self._get(fields):
                    await _send(writer, data)
            case "list":
                await _send(writer, await self._list(fields))
            case _:
                raise InvalidArgument(f"The agent knows no call {verb[:40]!r}.")
        writer.write(protocol.encode_frame(Kind.DONE))
        await writer.drain()

    # -- outputs -----------------------------------------------------------------------------------------------------

    async def _output(self, call: OutputCall, frames: "_Frames") -> None:
        if call.target is not None:
            check_output_headers(call.headers)
            await self._ask(Purpose.WRITE, [call.target])
        intake = await self.outputs.begin(call)
        try:
            async for data in _body(frames):
                self.outputs.take(len(data))
                await intake.write(data)
            await intake.finish()
        except TooMuch:
            self._on_trouble()
            raise
        except BadRequest:
            raise
        except MantaError as error:
            raise self._fault(error) from error
        finally:
            if intake.captured is None:
                await self._forget(intake)

    async def _forget(self, intake: Intake) -> None:
        self.outputs.forget_name(intake.call)
        await intake.abort()

    async def _refer(self, fields: list[str], frames: "_Frames") -> None:
        """All of them or none."""
        names = [protocol.parse_name(text) for text in fields]
        while (frame := await frames.next())[0] is not Kind.END:
            more = _verb(frame)
            if more[0] != "refer":
                raise InvalidArgument("One connection makes one call.")
            names += [protocol.parse_name(text) for text in more[1:]]
            self.outputs.require_room(len(names))
        found: list[NamedObject] = []
        waiting = iter(names)
        while page := list(islice(waiting, PROGRAM_NAMES_MAX)):
            found += await self._ask(Purpose.READ, page)
        self.outputs.refer(names, tuple(found))

    # -- reading -----------------------------------------------------------------------------------------------------

    async def _get(self, fields: list[str]) -> AsyncIterator[bytes]:
        bucket, key = protocol.parse_name(fields[0] if fields else "")
        (found,) = await self._ask(Purpose.READ, [(bucket, key)])
        ref = InputRef(bucket, key, found.size, found.blob_id, found.sources)
        try:
            async with contextlib.aclosing(self._inputs.whole(ref)) as pieces:
                async for data in pieces:
                    yield data
        except MantaError as error:
            raise self._fault(error) from error

    async def _list(self, fields: list[str]) -> bytes:
        bucket, prefix = protocol.parse_place(fields[0] if fields else "")
        after = fields[1] if len(fields) > 1 else ""
        request = ListingRequest(self._node_id, self._attempt, bucket, prefix, after)
        page = await self._gateway("listing", request, ListingReply)
        if page.code:
            raise Refused(page.code, page.message)
        pieces = [page.next_after or ""]
        for key, size in page.keys:
            pieces += (key, str(size))
        return protocol.join_fields(pieces)

    async def _ask(self, purpose: Purpose, names: list[tuple[str, str]]) -> tuple[NamedObject, ...]:
        request = ObjectsRequest(self._node_id, self._attempt, purpose, tuple(names))
        reply = await self._gateway("objects", request, ObjectsReply)
        if len(reply.objects) != len(names):
            raise InternalError("The gateway answered for other names.")
        for found in reply.objects:
            if found.code:
                raise Refused(found.code, found.message)
        return reply.objects

    async def _gateway(self, name: str, message: msgspec.Struct, kind: type[Reply]) -> Reply:
        try:
            return await self._caller.call(name, message, kind)
        except MantaError as error:
            raise self._fault(error) from error

    def _fault(self, error: MantaError) -> InternalError:
        """The store's own trouble ends the attempt, for another try. The task hears nothing of the node's inside."""
        self.trouble = error
        self._on_trouble()
        return InternalError("The store failed: the task will be tried again.")


class _Frames:
    """What a program sends. Those that have come already are read without waiting, so others have a turn in between:
    frames may be small, and many."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader
        self._count = 0

    async def next(self) -> tuple[Kind, bytes]:
        self._count += 1
        if self._count % _FRAMES_IN_A_ROW == 0:
            await asyncio.sleep(0)
        kind, length = protocol.decode_head(await self._reader.readexactly(FRAME_HEAD_BYTES))
        return kind, await self._reader.readexactly(length) if length else b""


def _verb(frame: tuple[Kind, bytes]) -> list[str]:
    kind, payload = frame
    if kind is not Kind.CALL:
        raise InvalidArgument("A connection begins with a call.")
    return protocol.split_fields(payload)


async def _body(frames: _Frames) -> AsyncIterator[bytes]:
    while True:
        kind, payload = await frames.next()
        if kind is Kind.END:
            return
        if kind is not Kind.DATA or not payload:  # what is empty counts against no limit
            raise InvalidArgument("An output is sent as data, then its end.")
        yield payload


async def _send(writer: asyncio.StreamWriter, data: bytes) -> None:
    view = memoryview(data)
    for start in range(0, len(view), FRAME_MAX_BYTES):
        writer.write(protocol.encode_frame(Kind.DATA, bytes(view[start : start + FRAME_MAX_BYTES])))
        await writer.drain()
