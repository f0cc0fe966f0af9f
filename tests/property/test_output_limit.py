"""The limit of a task's outputs: endless ones never fill a disk, whatever their lanes and their order (S5)."""

import math
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.agent.output_limit import OutputMeter, output_limit, output_share
from manta.core.limits import GIB, MIB, SMALL_BLOB_BYTES, TASK_OUTPUT_DISK_FRACTION, TASK_OUTPUT_MAX_BYTES
from storage_nodes.disk.space import Space, reserve_bytes

CHUNK_BYTES = MIB


@dataclass
class Disk:
    """What tasks, by their numbers, and others have written."""

    total: int = GIB
    written: dict[int, int] = field(default_factory=dict)
    others: int = 0

    def space(self) -> Space:
        return Space(self.total, self.total - sum(self.written.values()) - self.others)

    @property
    def left(self) -> int:
        return self.space().free_bytes - reserve_bytes(self.total)


ORDERS = st.lists(st.integers(0, 40), max_size=60)


@pytest.mark.invariant("S5")
@given(st.integers(1, 40), st.integers(0, 900), ORDERS)
def test_s5_endless_tasks_in_every_lane_leave_a_third(lanes: int, others_mib: int, order: list[int]) -> None:
    """The worst of cases: none is ended, each stays at its limit, which it reached in one go or in turn with others."""
    disk = Disk(others=others_mib * MIB)
    room, tasks = disk.left, lanes + 1
    meters = {number: OutputMeter(disk.space, output_share(lanes)) for number in range(tasks)}
    disk.written = dict.fromkeys(meters, 0)
    for number in (*order, *meters):
        while number in meters and meters[number].take(CHUNK_BYTES):
            disk.written[number] += CHUNK_BYTES
            if number in order and disk.written[number] % (16 * MIB) == 0:
                break
    assert disk.left >= room / math.e - CHUNK_BYTES


@pytest.mark.invariant("S5")
@given(st.integers(0, 1 << 50), st.integers(0, 1 << 50), st.integers(1, 1000))
def test_s5_the_limit_is_a_share_of_what_is_left_within_its_bounds(total: int, free: int, lanes: int) -> None:
    share = output_share(lanes)
    assert share <= TASK_OUTPUT_DISK_FRACTION
    limit = output_limit(Space(total, free), share)
    assert SMALL_BLOB_BYTES <= limit <= TASK_OUTPUT_MAX_BYTES
    if limit > SMALL_BLOB_BYTES:
        assert limit * (lanes + 1) <= free - reserve_bytes(total) + lanes


@pytest.mark.invariant("S5")
@given(st.lists(st.integers(0, SMALL_BLOB_BYTES), max_size=20), st.integers(0, 4 * GIB))
def test_s5_a_small_output_is_never_too_much_and_too_much_stays_so(sizes: list[int], free: int) -> None:
    space = Space(8 * GIB, free)
    meter, taken = OutputMeter(lambda: space, TASK_OUTPUT_DISK_FRACTION), 0
    limit = output_limit(space, TASK_OUTPUT_DISK_FRACTION)
    for size in sizes:
        within = meter.take(size)
        taken += size
        assert within is (taken <= limit)
    if meter.exceeded is not None:
        assert (meter.exceeded.limit_bytes, meter.exceeded.by_disk) == (limit, True)
