"""How a large object is cut into ranges of whole lines (`split` of a map phase). Pure.

An object is cut by size alone when a job is resolved; where lines end is found by the node that reads. The lines of a
range begin after the first newline at or after its nominal start (the first range begins at 0) and end with the line
that holds its nominal end. So the ranges of an object follow each other without gap or overlap, and no line is cut. A
range in which no line begins has no lines: they belong to the one before.
"""

from collections.abc import Generator
from typing import NamedTuple

from manta.core.limits import SPLIT_RANGES_MAX


class Range(NamedTuple):
    """Bytes of an object, from `start` up to and without `end`."""

    start: int
    end: int

    @property
    def size(self) -> int:
        return self.end - self.start

    def __str__(self) -> str:
        return f"{self.start}-{self.end}"


def nominal_ranges(size: int, split_bytes: int | None, most: int = SPLIT_RANGES_MAX) -> list[Range]:
    """The cuts of an object of that size; none if it is not larger than `split_bytes`. They grow beyond `most`."""
    if split_bytes is None or size <= split_bytes or most < 2:
        return []
    step = max(split_bytes, -(-size // most))
    return [Range(start, min(start + step, size)) for start in range(0, size, step)]


def whole_lines(size: int, nominal: Range) -> Generator[Range, int | None, Range]:
    """Yields ranges to look for their first newline, is sent where that is (None: nowhere), and returns the lines."""
    start = 0
    if nominal.start > 0:
        newline = yield nominal
        if newline is None:
            return Range(nominal.end, nominal.end)
        start = newline + 1
    if nominal.end == size:
        return Range(start, size)
    newline = yield Range(nominal.end, size)
    return Range(start, size if newline is None else newline + 1)
