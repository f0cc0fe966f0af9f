"""Each way of writing a blob to a node, for tests that disturb it."""

from collections.abc import Awaitable, Callable
from contextlib import suppress

from manta.core.errors import AlreadyExists
from manta.core.limits import MIB
from storage_nodes.client.node_client import NodeClient
from tests.support.storage import put_stream, write_all

SMALL = b"small blob" * 400
LARGE = bytes(range(256)) * (12 * 1024)

Write = Callable[[NodeClient, str], Awaitable[bytes]]
"""Returns what was written."""


async def put_small(client: NodeClient, name: str) -> bytes:
    await client.put(name, SMALL)
    return SMALL


async def put_large(client: NodeClient, name: str) -> bytes:
    await put_stream(client, name, LARGE)
    return LARGE


async def put_parts(client: NodeClient, name: str) -> bytes:
    """May be repeated after it was interrupted."""
    with suppress(AlreadyExists):
        for offset in (0, 2 * MIB):
            size = MIB if offset else 2 * MIB
            writer = await client.open_slot(name, offset, size)
            await write_all(writer, LARGE[offset : offset + size])
            await writer.commit()
    await client.finish(name, 3 * MIB)
    return LARGE[: 3 * MIB]
