"""Cutting at line ends: whatever the bytes and the cuts, each byte is in one range and no line is in two."""

from itertools import pairwise

from hypothesis import example, given
from hypothesis import strategies as st

from jobs.model.ranges import Range, nominal_ranges, whole_lines
from manta.core.limits import OBJECT_MAX_BYTES, SPLIT_MIN_BYTES, SPLIT_RANGES_MAX

TEXTS = st.lists(st.sampled_from([b"\n", b"a", b"bc", b"long line", b"\r\n", b"\0"]), max_size=40).map(b"".join)


def lines_of(data: bytes, nominal: Range) -> tuple[Range, int]:
    """The lines of that range, and how many bytes were looked at for them."""
    search = whole_lines(len(data), nominal)
    looked_at = 0
    try:
        wanted = next(search)
        while True:
            place = data.find(b"\n", wanted.start, wanted.end)
            looked_at += (place + 1 if place >= 0 else wanted.end) - wanted.start
            wanted = search.send(place if place >= 0 else None)
    except StopIteration as end:
        found: Range = end.value
        return found, looked_at


@given(TEXTS, st.integers(1, 50))
@example(b"no newline at all", 3)
@example(b"\n\n\n\n", 1)
@example(b"ab\ncd\nef", 3)
def test_j1_every_byte_is_in_one_range_and_no_line_is_cut(data: bytes, split: int) -> None:
    nominal = nominal_ranges(len(data), split) or [Range(0, len(data))]
    found = [lines_of(data, one)[0] for one in nominal]
    assert b"".join(data[one.start : one.end] for one in found) == data
    assert sum(one.size for one in found) == len(data)
    for one in found:
        assert one.size == 0 or one.start == 0 or data[one.start - 1 : one.start] == b"\n"


@given(TEXTS, st.integers(1, 50))
def test_finding_the_lines_looks_at_little(data: bytes, split: int) -> None:
    """Without newlines too: else an object of one line would be read through by every range."""
    for nominal in nominal_ranges(len(data), split):
        lines, looked_at = lines_of(data, nominal)
        assert looked_at <= nominal.size + max(0, lines.end - nominal.end)


@given(st.integers(0, OBJECT_MAX_BYTES), st.integers(SPLIT_MIN_BYTES, OBJECT_MAX_BYTES))
def test_cuts_follow_each_other_and_are_bounded(size: int, split: int) -> None:
    found = nominal_ranges(size, split)
    assert bool(found) == (size > split)
    assert len(found) <= SPLIT_RANGES_MAX
    if found:
        assert (found[0].start, found[-1].end) == (0, size)
        assert all(left.end == right.start and left.size >= split for left, right in pairwise(found))


def test_what_is_not_split() -> None:
    assert nominal_ranges(10, None) == nominal_ranges(10, 10) == nominal_ranges(0, 5) == nominal_ranges(10, 5, 1) == []
    assert [str(one) for one in nominal_ranges(10, 4)] == ["0-4", "4-8", "8-10"]
