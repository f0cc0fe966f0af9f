"""Bodies in memory shared with a node: what it takes, what it refuses, and what a dead node leaves behind."""

import mmap
import os
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from manta.core.checksums import crc32c
from manta.core.errors import IncompleteBody, InvalidArgument, MantaError, NodeUnavailable, NoSuchBlob
from manta.core.limits import BLOCK_BYTES, DIRECT_MIN_BYTES, DIRECT_SLOT_MIN_BYTES, MIB, RING_BYTES, RING_MIN_BYTES
from storage_nodes import token
from storage_nodes.api import BlobWriter, Stored
from storage_nodes.client.connection import Connection
from storage_nodes.client.shared_upload import SharedUpload
from storage_nodes.client.transport import Transport
from storage_nodes.disk import durable
from storage_nodes.ring import Ring, make
from storage_nodes.server.shared_body import FRAME, HEADER, NEW_RING
from tests.support.storage import KEY, NewNode, NodeProcess, blob_id, get, new_nodes, write_all
from tests.support.waiting import eventually


@pytest.fixture
async def nodes(tmp_path: Path) -> AsyncIterator[NewNode]:
    with new_nodes(tmp_path) as make_node:
        yield make_node


def started(node: NodeProcess) -> NodeProcess:
    node.start()
    return node


def transport_of(node: NodeProcess) -> Transport:
    return Transport(node.url, lambda method, target, _body: token.sign(KEY, method, target, time.time() + 60))


async def test_two_nodes_read_the_same_ring(nodes: NewNode) -> None:
    clients = [started(nodes(name, node_id=name)).client() for name in ("n1", "n2")]
    ring, name, size = make(), blob_id(), DIRECT_MIN_BYTES + 3 * MIB + 5
    data = os.urandom(size)
    writers = [await client.open_put(name, size) for client in clients]
    assert all(isinstance(writer, SharedUpload) for writer in writers)
    for at in range(0, size, BLOCK_BYTES):
        piece = data[at : at + BLOCK_BYTES]
        view = memoryview(ring)[at % RING_BYTES :][: len(piece)]
        view[:] = piece
        for writer in writers:
            await writer.write(view)
    assert [await writer.commit() for writer in writers] == [Stored(size, crc32c(data))] * 2
    for client in clients:
        assert await get(client, name, size) == data
        await client.close()
    assert not ring.spoiled


async def test_pieces_of_any_size_from_anywhere(nodes: NewNode) -> None:
    client = started(nodes()).client()
    ring, name = make(), blob_id()
    data = os.urandom(DIRECT_MIN_BYTES)
    memoryview(ring)[:] = data[:RING_BYTES]
    writer = await client.open_put(name, len(data))
    await writer.write(memoryview(ring)[:5])
    await writer.write(data[5 : MIB + 1])
    await writer.write(memoryview(ring)[MIB + 1 : 2 * MIB])
    await write_all(writer, data[2 * MIB :], 777_777)
    assert await writer.commit() == Stored(len(data), crc32c(data))
    assert await get(client, name, len(data)) == data
    await client.close()


async def test_parts_go_past_the_page_cache(nodes: NewNode) -> None:
    node = started(nodes())
    client, name, ring = node.client(), blob_id(), make()
    sizes = (DIRECT_SLOT_MIN_BYTES, DIRECT_SLOT_MIN_BYTES, DIRECT_SLOT_MIN_BYTES - MIB + 77)
    data = os.urandom(sum(sizes))
    for number, size in enumerate(sizes):
        start = number * DIRECT_SLOT_MIN_BYTES
        writer = await client.open_slot(name, start, size)
        for at in range(start, start + size, BLOCK_BYTES):
            piece = data[at : min(at + BLOCK_BYTES, start + size)]
            view = memoryview(ring)[at % RING_BYTES :][: len(piece)]
            view[:] = piece
            await writer.write(view)
        assert await writer.commit() == Stored(size, crc32c(data[start : start + size]))
    path = node.data / "growing" / name
    if direct_writes_work(node.data):
        assert not is_cached(path, 0)
        assert not is_cached(path, DIRECT_SLOT_MIN_BYTES)
    assert await client.finish(name, len(data)) == Stored(len(data), crc32c(data))
    assert await get(client, name, len(data)) == data
    await client.close()


def direct_writes_work(folder: Path) -> bool:
    """Not on every file system; on some they go through the page cache all the same."""
    path, memory = folder / "probe", memoryview(mmap.mmap(-1, MIB))
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        if not durable.set_direct(descriptor, direct=True) or not durable.write_direct(descriptor, [memory], 0):
            return False
    finally:
        os.close(descriptor)
    return not is_cached(path, 0)


def is_cached(path: Path, offset: int) -> bool:
    with path.open("rb") as file:
        try:
            return os.preadv(file.fileno(), [bytearray(1)], offset, os.RWF_NOWAIT) == 1
        except BlockingIOError:
            return False


async def write_on(writer: BlobWriter, block: memoryview) -> None:
    while True:
        await writer.write(block)


@pytest.mark.parametrize("committing", [True, False])
async def test_a_ring_that_a_dead_node_may_still_read_is_not_used_again(nodes: NewNode, committing: bool) -> None:
    node = started(nodes())
    client, ring = node.client(), make()
    writer = await client.open_put(blob_id(), RING_BYTES)
    node.signal(signal.SIGSTOP)
    block = memoryview(ring)[:BLOCK_BYTES]
    await writer.write(block)
    node.kill()
    with pytest.raises((NodeUnavailable, IncompleteBody)):
        await (writer.commit() if committing else write_on(writer, block))
    await writer.abort()
    assert ring.spoiled
    await client.close()


async def refusal(node: NodeProcess, size: int, send: Callable[[Connection], None]) -> MantaError:
    """What the node answers to a body of that size that `send` sends."""
    transport, target = transport_of(node), f"/blobs/{blob_id()}"
    connection = await transport.take()
    try:
        await transport.begin(connection, "PUT", target, {"content-length": "0", HEADER: str(size)})
        head = await connection.read_head()
        assert head.status == 100
        send(connection)
        with pytest.raises(MantaError) as raised:
            await transport.finish(connection)
    finally:
        transport.give_back(connection, reusable=False)
        transport.close()
    return raised.value


def with_ring(*frames: tuple[int, int], descriptor: int | None = None) -> Callable[[Connection], None]:
    def send(connection: Connection) -> None:
        ring: Ring = make()
        data = b"".join(FRAME.pack(*frame) for frame in ((NEW_RING, 0), *frames))
        connection.send_descriptor(ring.descriptor if descriptor is None else descriptor, data)

    return send


@pytest.mark.invariant("S3")
async def test_s3_nothing_outside_the_ring_is_read(nodes: NewNode) -> None:
    node = started(nodes())
    size = RING_MIN_BYTES
    for frames in (
        [(RING_BYTES, 1)],
        [(RING_BYTES - 1, 2)],
        [(2**32 - 2, 5)],
        [(0, 0)],
        [(0, size), (0, 1)],
        [(0, size + 1)],
        [(NEW_RING, 0)],
    ):
        assert isinstance(await refusal(node, size, with_ring(*frames)), InvalidArgument), frames


@pytest.mark.invariant("S3")
async def test_s3_memory_that_can_shrink_or_is_a_file_is_refused(nodes: NewNode) -> None:
    node = started(nodes())
    unsealed = os.memfd_create("unsealed", os.MFD_ALLOW_SEALING)
    small = os.memfd_create("small")
    os.ftruncate(unsealed, RING_BYTES)
    with tempfile.TemporaryFile() as file:
        file.truncate(RING_BYTES)
        for descriptor in (unsealed, small, file.fileno()):
            refused = await refusal(node, RING_MIN_BYTES, with_ring((0, 1), descriptor=descriptor))
            assert isinstance(refused, InvalidArgument)
    os.close(unsealed)
    os.close(small)


async def test_a_body_is_shared_on_unix_sockets_only(nodes: NewNode) -> None:
    node = started(nodes(tcp=True))
    transport, target = transport_of(node), f"/blobs/{blob_id()}"
    async with transport.exchange() as connection:
        await transport.begin(connection, "PUT", target, {"content-length": "0", HEADER: str(RING_MIN_BYTES)})
        with pytest.raises(InvalidArgument):
            await transport.finish(connection)
    transport.close()


@pytest.mark.invariant("D3")
async def test_d3_a_sender_that_goes_away_leaves_nothing(nodes: NewNode) -> None:
    node = started(nodes())
    transport, name = transport_of(node), blob_id()
    connection = await transport.take()
    framing = {"content-length": "0", HEADER: str(RING_MIN_BYTES)}
    await transport.begin(connection, "PUT", f"/blobs/{name}", framing)
    assert (await connection.read_head()).status == 100
    with_ring((0, BLOCK_BYTES))(connection)
    assert (await connection.read_head()).status == 102
    transport.give_back(connection, reusable=False)
    await eventually(lambda: not any((node.data / "tmp").iterdir()))
    client = node.client()
    with pytest.raises(NoSuchBlob):
        await client.stat(name)
    await client.close()
    transport.close()
