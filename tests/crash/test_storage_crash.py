"""kill -9 of a storage node at every named step of a write: nothing acknowledged is lost, no part can be read."""

import asyncio
import random
import signal
from pathlib import Path

import pytest

from manta.core.errors import MantaError, NodeUnavailable, NoSuchBlob
from manta.core.limits import MIB
from storage_nodes.client.node_client import NodeClient
from storage_nodes.disk.durable import STEPS
from tests.support.node_writes import SMALL, Write, put_large, put_parts, put_small
from tests.support.storage import NewNode, blob_id, get, put_stream, storage_node

__all__ = ["storage_node"]

STREAM = ("temporary-opened", "temporary-written", "temporary-synced", "blob-linked", "folder-synced", "before-reply")
CASES = [
    *((put_small, step, True) for step in ("journal-written", "journal-synced", "file-created", "before-reply")),
    *((put_small, step, False) for step in STREAM),
    *((put_large, step, True) for step in (*STREAM, "sums-linked")),
    *(
        (put_parts, step, True)
        for step in ("slot-written", "slot-synced", "slot-recorded", "finish-synced", "sums-linked", "finish-linked")
    ),
]


def test_every_step_has_a_case() -> None:
    assert {step for _, step, _ in CASES} == set(STEPS)


@pytest.mark.invariant("D1", "D3")
@pytest.mark.parametrize(("write", "step", "journal"), CASES)
async def test_d1_d3_killed_at_each_step(write: Write, step: str, journal: bool, storage_node: NewNode) -> None:
    node = storage_node(journal=journal)
    node.start()
    acknowledged = {blob_id(): SMALL for _ in range(3)}
    client = node.client()
    for name in acknowledged:
        await client.put(name, SMALL)
    await client.close()
    node.stop()

    node.start(crash_at=step)
    client, name = node.client(), blob_id()
    with pytest.raises(NodeUnavailable):
        await write(client, name)
    assert node.wait() == -signal.SIGKILL
    await client.close()

    node.start()
    client = node.client()
    assert not any((node.data / "tmp").iterdir())
    for known, data in acknowledged.items():
        assert await get(client, known, len(data)) == data
    await whole_or_nothing(client, name)
    data = await write(client, name)
    assert await get(client, name, len(data)) == data
    await client.verify(name)
    assert (await client.status()).blobs_quarantined == 0
    await client.close()
    node.stop()


@pytest.mark.invariant("D1", "D3")
@pytest.mark.parametrize("journal", [True, False])
async def test_d1_d3_killed_at_random_under_load(storage_node: NewNode, journal: bool) -> None:
    node, chance = storage_node(journal=journal), random.Random(7)
    acknowledged: dict[str, bytes] = {}
    tried: set[str] = set()
    for _ in range(4):
        node.start()
        client = node.client()
        writers = [asyncio.create_task(keep_writing(client, acknowledged, tried, seed)) for seed in range(6)]
        enough = len(acknowledged) + chance.randint(20, 120)
        async with asyncio.timeout(60):
            while len(acknowledged) < enough:
                await asyncio.sleep(0.001)
        node.kill()
        await asyncio.gather(*writers)
        await client.close()
    node.start()
    client = node.client()
    for name, data in acknowledged.items():
        assert await get(client, name, len(data)) == data
    for name in tried - acknowledged.keys():
        await whole_or_nothing(client, name)
    assert (await client.status()).blobs_quarantined == 0
    await client.close()
    node.stop()


async def keep_writing(client: NodeClient, acknowledged: dict[str, bytes], tried: set[str], seed: int) -> None:
    """Put blobs, mostly small, until the node is gone."""
    sizes = random.Random(seed)
    while True:
        name, size = blob_id(), sizes.choice([100, 4096, 4096, 4096, 60_000, 3 * MIB])
        data = (name.encode() * (size // 32 + 1))[:size]
        tried.add(name)
        try:
            await (client.put(name, data) if size < MIB else put_stream(client, name, data))
        except NodeUnavailable:
            return
        acknowledged[name] = data


async def whole_or_nothing(client: NodeClient, name: str) -> None:
    """A write that was not acknowledged may be there whole; else it cannot be read at all."""
    try:
        await client.verify(name)
    except NoSuchBlob:
        with pytest.raises(MantaError):
            await client.open_get(name, 0, 1)


@pytest.mark.invariant("D2")
@pytest.mark.parametrize(
    ("loss", "journal_after"), [("missing", True), ("empty", True), ("short", False), ("other bytes", True)]
)
async def test_d2_the_journal_brings_back_what_a_power_cut_took(
    storage_node: NewNode, loss: str, journal_after: bool
) -> None:
    """The plain file was never synced: after a power cut it may be anything. The journal's record is what counts."""
    node = storage_node()
    node.start()
    client, names = node.client(), [blob_id() for _ in range(40)]
    await asyncio.gather(*(client.put(name, SMALL + name.encode()) for name in names))
    deleted, again = names.pop(), names[0]
    await client.delete([deleted, again])
    await client.put(again, SMALL + again.encode())
    node.kill()
    await client.close()
    for name in names:
        spoil(Path(node.data / "blobs" / name[30:] / name[28:30] / name), loss)
    node.journal = journal_after
    node.start()
    client = node.client()
    for name in names:
        assert await get(client, name, len(SMALL) + 32) == SMALL + name.encode()
    with pytest.raises(NoSuchBlob):
        await client.stat(deleted)
    await client.close()
    node.stop()


def spoil(file: Path, loss: str) -> None:
    file.chmod(0o600)
    match loss:
        case "missing":
            file.unlink()
        case "empty":
            file.write_bytes(b"")
        case "short":
            file.write_bytes(file.read_bytes()[:-1])
        case _:
            file.write_bytes(bytes(file.stat().st_size))


@pytest.mark.invariant("O2")
async def test_o2_the_journal_is_used_over_and_again(storage_node: NewNode) -> None:
    """Segments are 16 MiB: writing 40 MiB of small blobs must give segments back, and lose none of the blobs."""
    node = storage_node()
    node.start()
    client = node.client()
    data = {blob_id(): bytes([number]) * 250_000 for number in range(170)}
    await asyncio.gather(*(client.put(name, content) for name, content in data.items()))
    node.kill()
    await client.close()
    node.start()
    client = node.client()
    for name, content in data.items():
        assert await get(client, name, len(content)) == content
    assert len(list((node.data / "journal").iterdir())) <= 8
    await client.close()
    node.stop()
