"""Where the lines of a nominal range lie in an object of this node's volume."""

from typing import Final

from jobs.agent.ports import LocalStore
from jobs.model.ranges import Range, whole_lines
from jobs.model.wire import InputRef
from manta.core.limits import BLOCK_BYTES, KIB

_FIRST_LOOK_BYTES: Final = 64 * KIB
"""Most lines end within this; a long one is looked through block by block."""


async def lines_of(store: LocalStore, ref: InputRef) -> Range | None:
    """The lines that a task reads of its input, with no bytes if none begins in its range; None for the whole input.

    Errors are the store's own.
    """
    if ref.range is None or ref.blob_id is None:
        return None
    search = whole_lines(ref.size, Range(*ref.range))
    try:
        wanted = next(search)
        while True:
            wanted = search.send(await _newline(store, ref.blob_id, wanted))
    except StopIteration as end:
        lines: Range = end.value
        return lines


async def _newline(store: LocalStore, blob_id: str, within: Range) -> int | None:
    """Where the first newline of that range is."""
    position, look_bytes = within.start, _FIRST_LOOK_BYTES
    while position < within.end:
        reader = await store.open_get(blob_id, position, min(look_bytes, within.end - position))
        try:
            while data := await reader.read():
                place = data.find(b"\n")
                if place >= 0:
                    return position + place
                position += len(data)
        finally:
            await reader.close()
        look_bytes = 16 * BLOCK_BYTES
    return None
