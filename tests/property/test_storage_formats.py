"""What a node writes down reads back the same; damaged or cut short it is noticed, never misread."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manta.core.checksums import crc32c
from manta.core.limits import BLOCK_BYTES
from storage_nodes.disk import journal_format, slots, sums
from storage_nodes.disk.journal_format import Kind, Record
from storage_nodes.disk.slots import Slot
from storage_nodes.disk.sums import Summer

ids = st.binary(min_size=16, max_size=16).map(bytes.hex)
records = st.one_of(
    st.builds(lambda i, d: Record(Kind.PUT, i, d), ids, st.binary(max_size=300)),
    st.builds(lambda i: Record(Kind.DELETE, i), ids),
)
sequences = st.integers(1, (1 << 63) - 1)


def segment(contents: list[Record], sequence: int, rest: bytes = b"") -> bytes:
    written = b"".join(bytes(part) for record in contents for part in journal_format.encode(record, sequence))
    return journal_format.header(sequence) + written + rest


def plain(record: Record) -> tuple[Kind, str, bytes]:
    return record.kind, record.blob_id, bytes(record.data)


def read(data: bytes) -> list[tuple[Kind, str, bytes]]:
    return [plain(record) for record in journal_format.read_records(data)]


@given(st.lists(records, max_size=8), sequences, st.binary(max_size=64))
def test_a_journal_reads_back_what_was_appended(contents: list[Record], sequence: int, rest: bytes) -> None:
    assert read(segment(contents, sequence)) == [plain(record) for record in contents]
    assert read(segment(contents, sequence, bytes(100)))[: len(contents)] == [plain(record) for record in contents]
    assert read(segment(contents, sequence, rest))[: len(contents)] == [plain(record) for record in contents]


@pytest.mark.invariant("D3")
@given(st.lists(records, max_size=6), sequences, st.data())
def test_d3_any_cut_or_damage_of_a_journal_leaves_a_prefix(
    contents: list[Record], sequence: int, data: st.DataObject
) -> None:
    whole = segment(contents, sequence)
    wanted = [plain(record) for record in contents]
    cut = read(whole[: data.draw(st.integers(0, len(whole)))])
    assert cut == wanted[: len(cut)]
    position = data.draw(st.integers(0, len(whole) - 1))
    flipped = bytearray(whole)
    flipped[position] ^= data.draw(st.integers(1, 255))
    damaged = read(bytes(flipped))
    assert damaged == wanted[: len(damaged)]


@given(st.lists(records, max_size=4), st.lists(records, min_size=1, max_size=6), sequences)
def test_records_of_an_older_use_are_never_read(new: list[Record], old: list[Record], sequence: int) -> None:
    older = segment(old, sequence)
    newer = segment(new, sequence + 1)
    assert read(newer + older[len(newer) :]) == [plain(record) for record in new]
    aligned = segment(old, sequence)[journal_format.HEADER_BYTES :]
    assert read(newer + aligned) == [plain(record) for record in new]


def test_a_cleared_segment_holds_nothing() -> None:
    whole = segment([Record(Kind.PUT, "0" * 32, b"x")], 5)
    assert read(journal_format.header(0) + whole[journal_format.HEADER_BYTES :]) == []
    assert read(b"") == []
    assert read(bytes(1000)) == []


@settings(max_examples=30)
@given(ids, st.integers(0, 3 * BLOCK_BYTES + 5), st.lists(st.integers(1, 3 * BLOCK_BYTES), max_size=5))
def test_sums_of_a_stream_do_not_depend_on_how_it_was_cut(blob_id: str, size: int, cuts: list[int]) -> None:
    data = (blob_id.encode() * (size // 32 + 1))[:size]
    summer, at = Summer(), 0
    for cut in [*cuts, size]:
        summer.update(data[at : at + cut])
        at = min(size, at + cut)
    found = summer.sums(blob_id)
    assert (found.size, found.whole, len(found.blocks)) == (size, crc32c(data), sums.block_count(size))
    assert sums.decode(found.encode(), blob_id) == found
    if size <= BLOCK_BYTES:
        assert sums.of_small(blob_id, data) == found


@given(ids, st.integers(0, 5 * BLOCK_BYTES), st.data())
def test_damaged_sums_are_noticed(blob_id: str, size: int, data: st.DataObject) -> None:
    written = sums.from_blocks(blob_id, size, range(sums.block_count(size))).encode()
    assert sums.decode(written[: data.draw(st.integers(0, len(written) - 1))], blob_id) is None
    flipped = bytearray(written)
    flipped[data.draw(st.integers(0, len(written) - 1))] ^= data.draw(st.integers(1, 255))
    assert sums.decode(bytes(flipped), blob_id) is None
    assert sums.decode(written, "f" * 32 if blob_id != "f" * 32 else "0" * 32) is None


@given(st.integers(0, 50), st.integers(1, 4 * BLOCK_BYTES), st.data())
def test_slot_entries_read_back_where_they_belong(first: int, size: int, data: st.DataObject) -> None:
    slot = Slot(first * BLOCK_BYTES, size)
    crcs = data.draw(
        st.lists(st.integers(0, 2**32 - 1), min_size=-(-size // BLOCK_BYTES), max_size=-(-size // BLOCK_BYTES))
    )
    position, entries = slots.encode(slot, crcs)
    blocks = slots.decode(bytes(position) + entries)
    assert blocks[:first] == [None] * first
    assert [(block.crc, block.size) for block in blocks[first:] if block] == [
        (crc, sums.block_size(size, number)) for number, crc in enumerate(crcs)
    ]
    moved = slots.decode(bytes(position + slots.ENTRY_BYTES) + entries)
    assert moved[first:] == [None] * (len(crcs) + 1)
