"""How much one task may put out: a bound for all, and less where its node's disk has little room (S5)."""

from collections.abc import Callable
from dataclasses import dataclass

from manta.core.limits import SMALL_BLOB_BYTES, TASK_OUTPUT_DISK_FRACTION, TASK_OUTPUT_MAX_BYTES
from storage_nodes.disk.space import Space


@dataclass(frozen=True, slots=True)
class Exceeded:
    """The limit that a task exceeded. `by_disk`: a node with more room would have let it write more."""

    limit_bytes: int
    by_disk: bool


def output_share(lanes: int) -> float:
    """Of what is left on a disk, for each task where so many run, and one more in reserve. Pure."""
    return min(TASK_OUTPUT_DISK_FRACTION, 1 / (lanes + 1))


def output_limit(space: Space, share: float) -> int:
    """Bytes that all outputs of a task may have together, beside so much that is free. Pure.

    It is a share of what is left beside them, not of what there was (dynamic thresholds: Choudhury and Hahne, IEEE/ACM
    Transactions on Networking 6(2), 1998). N tasks that write without end leave 1 / (1 + N * share) of the room, and
    if each waits at its limit for the next, 1 / (1 + share) ** N: more than a third, since share <= 1 / N. A small
    output is never too much: it is stored, or the disk is full.
    """
    left_bytes = max(0, space.free_bytes - space.reserve_bytes)
    return min(TASK_OUTPUT_MAX_BYTES, max(SMALL_BLOB_BYTES, int(left_bytes * share)))


class OutputMeter:
    """What one attempt has put out so far, by stdout and by its programs. `measure` says what its disk has then."""

    def __init__(self, measure: Callable[[], Space], share: float) -> None:
        self._measure = measure
        self._share = share
        self._bytes = 0
        self.exceeded: Exceeded | None = None
        self.copied_bytes = 0
        """What further nodes were sent, for their copies."""

    def take(self, size: int) -> bool:
        """Whether so many bytes more are within the limit; once they are not, none are."""
        self._bytes += size
        if self.exceeded is None and self._bytes > SMALL_BLOB_BYTES:
            limit = output_limit(self._measure(), self._share)
            if self._bytes > limit:
                self.exceeded = Exceeded(limit, by_disk=limit < TASK_OUTPUT_MAX_BYTES)
        return self.exceeded is None
