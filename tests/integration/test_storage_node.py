"""One storage node, a process of its own, through its client: Unix socket and TCP, with a journal and without."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from manta.core.checksums import crc32c
from manta.core.errors import (
    AccessDenied,
    AlreadyExists,
    BlobDamaged,
    Conflict,
    EntityTooLarge,
    IncompleteBody,
    InvalidRange,
    MantaError,
    NodeUnavailable,
    NoSuchBlob,
)
from manta.core.limits import BLOCK_BYTES, MIB, SMALL_BLOB_BYTES
from manta.core.peers import NodeAddress, PeerSource
from storage_nodes import messages, token
from storage_nodes.api import BlobWriter, Piece, Stored
from storage_nodes.client.node_client import NodeClient, PeerClient
from storage_nodes.client.transport import Transport
from storage_nodes.disk.layout import Layout
from storage_nodes.disk.reader import VolumeReader
from tests.support.storage import (
    KEY,
    NewNode,
    NodeProcess,
    blob_id,
    get,
    put_stream,
    read_all,
    storage_node,
    write_all,
)
from tests.support.waiting import eventually

__all__ = ["storage_node"]

PATTERN = bytes(range(256)) * 4096


def bytes_of(size: int) -> bytes:
    return (PATTERN * (size // len(PATTERN) + 1))[:size]


@pytest.fixture(scope="module", params=["unix", "tcp", "unix-simple"])
def node(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    kind = str(request.param)
    process = NodeProcess(tmp_path_factory.mktemp("node"), tcp=kind == "tcp", journal="simple" not in kind)
    process.start()
    yield process
    process.stop()


@pytest.fixture
async def client(node: NodeProcess) -> AsyncIterator[NodeClient]:
    made = node.client()
    yield made
    await made.close()


async def test_small_blobs_put_together_read_back(client: NodeClient) -> None:
    blobs = {blob_id(): bytes_of(size) for size in (0, 1, 4096, SMALL_BLOB_BYTES) for _ in range(5)}
    stored = await asyncio.gather(*(client.put(name, data) for name, data in blobs.items()))
    assert stored == [Stored(len(data), crc32c(data)) for data in blobs.values()]
    for name, data in blobs.items():
        assert await get(client, name, len(data)) == data
        assert (await client.stat(name)).size == len(data)


@pytest.mark.parametrize("sized", [True, False])
@pytest.mark.parametrize("size", [0, 5, BLOCK_BYTES, BLOCK_BYTES + 1, 20 * MIB + 7])
async def test_streams_read_back(client: NodeClient, node: NodeProcess, size: int, sized: bool) -> None:
    name, data = blob_id(), bytes_of(size)
    writer = await client.open_put(name, size if sized else None)
    await write_all(writer, data)
    assert await writer.commit() == Stored(size, crc32c(data))
    assert await get(client, name, size) == data
    file = Path(Layout(node.data).blob(name))
    assert file.read_bytes() == data
    assert file.stat().st_mode & 0o777 == 0o444


async def test_ranges(client: NodeClient) -> None:
    name, data = blob_id(), bytes_of(9 * MIB + 3)
    await put_stream(client, name, data)
    for start, length in [(0, 1), (BLOCK_BYTES - 1, 2), (5, 3 * MIB), (len(data) - 1, 1), (len(data), 0), (7, 0)]:
        assert await get(client, name, length, start) == data[start : start + length]
    for start, length in [(0, len(data) + 1), (len(data), 1), (len(data) + 9, 0), (9 * MIB, 9 * MIB)]:
        with pytest.raises(InvalidRange):
            await client.open_get(name, start, length)


async def test_what_does_not_exist(client: NodeClient) -> None:
    name = blob_id()
    for call in (client.open_get(name, 0, 1), client.stat(name), client.verify(name), client.finish(name, 5)):
        with pytest.raises(NoSuchBlob):
            await call
    await client.delete([name])


async def test_delete_and_put_again(client: NodeClient) -> None:
    small, large = blob_id(), blob_id()
    await client.put(small, b"x")
    await put_stream(client, large, bytes_of(2 * MIB))
    await client.delete([small, large])
    for name in (small, large):
        with pytest.raises(NoSuchBlob):
            await client.stat(name)
    await client.put(small, b"y")
    assert await get(client, small, 1) == b"y"


@pytest.mark.invariant("D3")
async def test_d3_the_same_write_twice_is_fine_and_another_is_refused(client: NodeClient) -> None:
    small, large, data = blob_id(), blob_id(), bytes_of(3 * MIB)
    for _ in range(2):
        await client.put(small, b"one")
        await put_stream(client, large, data)
    with pytest.raises(AlreadyExists):
        await client.put(small, b"two")
    with pytest.raises(AlreadyExists):
        await put_stream(client, large, data[1:])
    assert await get(client, small, 3) == b"one"
    assert await get(client, large, len(data)) == data


@pytest.mark.invariant("D3")
@pytest.mark.parametrize("sized", [True, False])
async def test_d3_an_abandoned_stream_leaves_nothing(client: NodeClient, node: NodeProcess, sized: bool) -> None:
    name = blob_id()
    writer = await client.open_put(name, 8 * MIB if sized else None)
    await writer.write(bytes_of(3 * MIB))
    await writer.abort()
    await eventually(lambda: not any((node.data / "tmp").iterdir()))
    with pytest.raises(NoSuchBlob):
        await client.stat(name)
    short = await client.open_put(name, 100)
    await short.write(b"x")
    with pytest.raises(IncompleteBody):
        await short.commit()


async def test_slots_become_a_blob_without_a_copy(client: NodeClient, node: NodeProcess) -> None:
    name, part = blob_id(), 5 * MIB
    data = bytes_of(2 * part + MIB + 17)

    async def put_part(number: int) -> None:
        piece = data[number * part : (number + 1) * part]
        writer = await client.open_slot(name, number * part, len(piece))
        await write_all(writer, piece)
        assert await writer.commit() == Stored(len(piece), crc32c(piece))

    await asyncio.gather(*(put_part(number) for number in (2, 0)))
    with pytest.raises(Conflict):
        await client.finish(name, len(data))
    await put_part(1)
    assert await read_all(await client.open_get(name, part - 3, 9, growing=True)) == data[part - 3 : part + 6]
    assert (await client.stat(name)).growing
    inode = Path(Layout(node.data).growing_blob(name)).stat().st_ino
    for _ in range(2):
        assert await client.finish(name, len(data)) == Stored(len(data), crc32c(data))
    assert Path(Layout(node.data).blob(name)).stat().st_ino == inode
    assert await get(client, name, len(data)) == data
    assert not any((node.data / "growing").iterdir())
    with pytest.raises(AlreadyExists):
        await client.open_slot(name, 0, part)


@pytest.mark.parametrize("size", [5 * MIB, 5 * MIB - 9, 4 * MIB + 1, 1])
async def test_a_growing_blob_may_be_cut_anywhere(client: NodeClient, size: int) -> None:
    name, data = blob_id(), bytes_of(6 * MIB)
    writer = await client.open_slot(name, 0, len(data))
    await write_all(writer, data)
    await writer.commit()
    assert await client.finish(name, size) == Stored(size, crc32c(data[:size]))
    assert await get(client, name, size) == data[:size]
    await client.verify(name)


@pytest.mark.invariant("D3")
async def test_d3_a_part_that_comes_after_completion_changes_nothing(client: NodeClient) -> None:
    name, data = blob_id(), bytes_of(2 * MIB)
    writer = await client.open_slot(name, 0, MIB)
    await writer.write(data[:MIB])
    await writer.commit()
    late = await client.open_slot(name, MIB, MIB)
    await late.write(data[: MIB // 2])
    await client.finish(name, MIB)
    with pytest.raises(MantaError):
        await end(late, data[MIB // 2 : MIB])
    await client.verify(name)
    assert await get(client, name, MIB) == data[:MIB]


async def test_a_slot_takes_exactly_its_size(client: NodeClient) -> None:
    name = blob_id()
    short = await client.open_slot(name, 0, MIB)
    await short.write(b"x")
    with pytest.raises(IncompleteBody):
        await short.commit()
    with pytest.raises(MantaError):
        await client.open_slot(name, 5, MIB)
    with pytest.raises(NoSuchBlob):
        await client.open_get(name, 0, 1, growing=True)
    await client.delete([name])


async def test_assemble_from_local_pieces(client: NodeClient) -> None:
    first, second, third, made = blob_id(), blob_id(), blob_id(), blob_id()
    a, b, c = bytes_of(3 * MIB + 1), bytes_of(2 * MIB)[::-1], b"small"
    await put_stream(client, first, a)
    slot = await client.open_slot(second, 0, len(b))
    await write_all(slot, b)
    await slot.commit()
    await client.put(third, c)
    pieces = [
        Piece(first, 7, 2 * MIB),
        Piece(second, 1, MIB, growing=True),
        Piece(third, 0, len(c)),
        Piece(first, 0, len(a)),
    ]
    wanted = a[7 : 7 + 2 * MIB] + b[1 : 1 + MIB] + c + a
    for _ in range(2):
        assert await client.assemble(made, pieces) == Stored(len(wanted), crc32c(wanted))
    assert await get(client, made, len(wanted)) == wanted
    with pytest.raises(NoSuchBlob):
        await client.assemble(blob_id(), [Piece(blob_id(), 0, 5)])


async def test_list_pages_in_order_of_id(client: NodeClient) -> None:
    before = {info.blob_id for info in await client.list()}
    old, new, growing = [blob_id(age_s=7200) for _ in range(4)], [blob_id() for _ in range(4)], blob_id()
    for name in (*old, *new):
        await client.put(name, b"12")
    await (await client.open_slot(growing, 0, MIB)).abort()
    found, after = [], ""
    while page := await client.list(after=after, limit=3):
        assert len(page) <= 3
        found += page
        after = page[-1].blob_id
    names = [info.blob_id for info in found]
    assert names == sorted(names)
    assert set(names) - before == {*old, *new, growing}
    assert {info.blob_id for info in found if info.growing and info.blob_id not in before} == {growing}
    aged = await client.list(older_than_ms=int((time.time() - 3600) * 1000))
    assert set(old) <= {info.blob_id for info in aged}
    assert not {info.blob_id for info in aged} & set(new)


async def test_status(client: NodeClient) -> None:
    status = await client.status()
    assert (status.node_id, status.writable, status.reason) == ("n1", True, "")
    assert 0 < status.free_bytes <= status.total_bytes


@pytest.mark.invariant("S1")
async def test_s1_a_call_without_the_nodes_key_is_refused(node: NodeProcess) -> None:
    stranger = NodeClient(NodeAddress("n1", node.url, b"guess" * 8))
    name = blob_id()
    calls = (
        stranger.put(name, b"x"),
        stranger.open_put(name, 5),
        stranger.open_slot(name, 0, MIB),
        stranger.open_get(name, 0, 1),
        stranger.delete([name]),
        stranger.list(),
        stranger.status(),
        stranger.finish(name, 1),
        stranger.assemble(name, []),
    )
    for call in calls:
        with pytest.raises(AccessDenied):
            await call
    expired = NodeClient(node.address, wall_s=lambda: time.time() - 3600)
    with pytest.raises(AccessDenied):
        await expired.status()
    await stranger.close()
    await expired.close()


@pytest.mark.invariant("S1")
async def test_s1_a_peers_token_is_for_one_blob_and_purpose(node: NodeProcess, client: NodeClient) -> None:
    name, other = blob_id(), blob_id()
    await client.put(name, b"data")
    await client.put(other, b"data")

    def peer(method: str) -> PeerClient:
        signed = token.sign(KEY, method, token.blob_path(name), time.time() + 60)
        return PeerClient(PeerSource("n1", node.url, signed))

    reading, writing = peer("GET"), peer("PUT")
    assert await read_all(await reading.open_get(name, 0, 4)) == b"data"
    for refused in (reading.open_get(other, 0, 4), reading.open_put(name, 4), writing.open_get(name, 0, 4)):
        with pytest.raises(AccessDenied):
            await refused
    writer = await writing.open_put(name, 4)
    await writer.write(b"data")
    await writer.commit()
    await reading.close()
    await writing.close()


async def overheard(node: NodeProcess, signed: str, body: bytes) -> None:
    """A delete with a token that another call bore."""
    listener = Transport(node.url, lambda _method, _target, _body: signed)
    try:
        await listener.call("POST", "/delete", body)
    finally:
        listener.close()


@pytest.mark.invariant("S1")
async def test_s1_an_overheard_delete_deletes_nothing_else(node: NodeProcess, client: NodeClient) -> None:
    doomed, kept = blob_id(), blob_id()
    for name in (doomed, kept):
        await client.put(name, b"data")
    body, another = (messages.encode(messages.DeleteRequest([name])) for name in (doomed, kept))
    heard = token.sign(KEY, "POST", "/delete", time.time() + 60, body)
    uncovered = token.sign(KEY, "POST", "/delete", time.time() + 60)
    for signed in (heard, uncovered):
        with pytest.raises(AccessDenied):
            await overheard(node, signed, another)
    assert (await client.stat(kept)).size == 4
    await overheard(node, heard, body)
    with pytest.raises(NoSuchBlob):
        await client.stat(doomed)


@pytest.mark.invariant("S3")
async def test_s3_a_blob_too_large_for_a_batch_is_refused(client: NodeClient) -> None:
    with pytest.raises(EntityTooLarge):
        await client.put(blob_id(), bytes(SMALL_BLOB_BYTES + 1))


@pytest.mark.invariant("D4")
@pytest.mark.parametrize("size", [4096, 20 * MIB])
async def test_d4_damage_is_never_served_and_is_quarantined(client: NodeClient, node: NodeProcess, size: int) -> None:
    name, data = blob_id(), bytes_of(size)
    await put_stream(client, name, data)
    file = Path(Layout(node.data).blob(name))
    damage(file, size - 1)
    before = (await client.status()).blobs_quarantined
    with pytest.raises((BlobDamaged, NodeUnavailable)):
        await get(client, name, size)
    async with asyncio.timeout(20):
        while (await client.status()).blobs_quarantined == before:
            await asyncio.sleep(0.01)
    with pytest.raises(NoSuchBlob):
        await client.open_get(name, 0, 1)
    assert any(kept.name.startswith(name) for kept in (node.data / "quarantine").iterdir())
    await put_stream(client, name, data)
    assert await get(client, name, size) == data


@pytest.mark.invariant("D4")
@pytest.mark.parametrize("what", ["shorter", "longer", "sums", "no-sums"])
async def test_d4_every_kind_of_damage_is_found(client: NodeClient, node: NodeProcess, what: str) -> None:
    name, data = blob_id(), bytes_of(3 * MIB)
    await put_stream(client, name, data)
    file = Path(Layout(node.data).blob(name))
    match what:
        case "shorter":
            os.truncate(file, len(data) - 1)
        case "longer":
            os.truncate(file, len(data) + 1)
        case "sums":
            damage(file.with_name(name + ".sum"), 30)
        case _:
            file.with_name(name + ".sum").unlink()
    with pytest.raises((BlobDamaged, NoSuchBlob)):
        await get(client, name, 2 * MIB)


@pytest.mark.invariant("D4")
async def test_d4_a_direct_reader_checks_too_and_tells_the_node(client: NodeClient, node: NodeProcess) -> None:
    reader = VolumeReader(node.data)
    small, large = blob_id(), blob_id()
    await client.put(small, b"hello")
    await put_stream(client, large, bytes_of(5 * MIB))
    assert reader.read(small, 1, 3) == b"ell"
    assert reader.read(large, MIB - 1, 2) == bytes_of(5 * MIB)[MIB - 1 : MIB + 1]
    with reader.open_verified(large, 0, 5 * MIB) as blob:
        assert blob.size == 5 * MIB
    for name in (small, large):
        damage(Path(Layout(node.data).blob(name)), 3)
        with pytest.raises(BlobDamaged):
            reader.read(name, 0, 4)
        with pytest.raises(BlobDamaged):
            reader.open_verified(name, 0, 4)
        with pytest.raises(BlobDamaged):
            await client.verify(name)
        with pytest.raises(NoSuchBlob):
            reader.open(name)


async def test_a_node_that_is_gone_is_unavailable(storage_node: NewNode) -> None:
    process = storage_node()
    process.start()
    client = process.client()
    name = blob_id()
    await put_stream(client, name, bytes_of(40 * MIB))
    reader = await client.open_get(name, 0, 40 * MIB)
    await reader.read()
    writer = await client.open_put(blob_id(), None)
    process.kill()
    with pytest.raises(NodeUnavailable):
        await read_all(reader)
    with pytest.raises(NodeUnavailable):
        await end(writer, bytes_of(40 * MIB))
    for call in (client.put(name, b"x"), client.status(), client.open_put(name, 1)):
        with pytest.raises(NodeUnavailable):
            await call
    process.start()
    assert (await client.status()).writable
    await client.close()


async def test_assemble_fetches_from_peers_what_is_missing_or_damaged_here(storage_node: NewNode) -> None:
    here, there = storage_node("here", node_id="n1"), storage_node("there", node_id="n2", tcp=True)
    here.start()
    there.start()
    mine, theirs = here.client(), there.client()
    missing, damaged, growing, made = blob_id(), blob_id(), blob_id(), blob_id()
    data = bytes_of(5 * MIB + 9)
    for name in (missing, damaged):
        await put_stream(theirs, name, data)
    await put_stream(mine, damaged, data)
    damage(Path(Layout(here.data).blob(damaged)), 3 * MIB)
    slot = await theirs.open_slot(growing, 0, MIB)
    await slot.write(data[:MIB])
    await slot.commit()

    def sources(name: str) -> tuple[PeerSource, ...]:
        good = token.sign(KEY, "GET", token.blob_path(name), time.time() + 60)
        gone = PeerSource("n3", "unix:/nowhere", good)
        return (PeerSource("n1", here.url, good), gone, PeerSource("n2", there.url, good))

    pieces = [
        Piece(missing, 5, 3 * MIB, sources=sources(missing)),
        Piece(damaged, 0, len(data), sources=sources(damaged)),
        Piece(growing, 1, MIB - 1, growing=True, sources=sources(growing)),
    ]
    wanted = data[5 : 5 + 3 * MIB] + data + data[1:MIB]
    assert await mine.assemble(made, pieces) == Stored(len(wanted), crc32c(wanted))
    assert await get(mine, made, len(wanted)) == wanted
    assert (await mine.status()).blobs_quarantined == 1
    await mine.close()
    await theirs.close()


@pytest.mark.invariant("O1")
async def test_o1_sigterm_lets_what_is_under_way_end(storage_node: NewNode) -> None:
    node = storage_node()
    node.start()
    client, name, data = node.client(), blob_id(), bytes_of(3 * MIB)
    writer = await client.open_put(name, len(data))
    await writer.write(data[:MIB])
    node.signal(signal.SIGTERM)
    await writer.write(data[MIB:])
    assert await writer.commit() == Stored(len(data), crc32c(data))
    await client.close()
    assert await asyncio.to_thread(node.wait) == 0
    node.start()
    client = node.client()
    assert await get(client, name, len(data)) == data
    await client.close()


async def test_a_volume_belongs_to_one_node_and_one_process(storage_node: NewNode) -> None:
    first = storage_node()
    first.start()
    second = storage_node()
    with pytest.raises(RuntimeError, match="in use by another node process"):
        second.start()
    first.stop()
    foreign = storage_node(node_id="n2")
    with pytest.raises(RuntimeError, match="belongs to node n1, not n2"):
        foreign.start()
    (first.data / "identity").unlink()
    with pytest.raises(RuntimeError, match="not a volume"):
        second.start()


async def end(writer: BlobWriter, data: bytes) -> Stored:
    await write_all(writer, data)
    return await writer.commit()


def damage(file: Path, position: int) -> None:
    """Change one byte, as a bad disk would."""
    file.chmod(0o600)
    with file.open("r+b") as opened:
        opened.seek(position)
        byte = opened.read(1)
        opened.seek(position)
        opened.write(bytes([byte[0] ^ 0x40]))
    file.chmod(0o444)
