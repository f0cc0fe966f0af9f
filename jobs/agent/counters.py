"""What the agent has done since it started, for the node's status."""

from dataclasses import asdict, dataclass

from jobs.model.wire import Usage


@dataclass(slots=True)
class Counters:
    """Bytes of input: read in place, moved to a map task (J5: none), or shuffled to a reducer. Of outputs: all that
    tasks made, and what was sent to further nodes for their copies.
    """

    tasks_done: int = 0
    tasks_failed: int = 0
    tasks_lost: int = 0
    zones_built: int = 0
    zones_broken: int = 0
    in_place_bytes: int = 0
    moved_bytes: int = 0
    shuffled_bytes: int = 0
    output_bytes: int = 0
    copied_bytes: int = 0
    peer_read_bytes: int = 0
    """All that was read from other nodes, whatever for."""

    def add(self, usage: Usage, *, failed: bool) -> None:
        """An attempt has ended. (What moved was counted as it did.)"""
        self.tasks_done += 1
        self.tasks_failed += failed
        self.in_place_bytes += usage.in_place_bytes
        self.shuffled_bytes += usage.shuffled_bytes
        self.copied_bytes += usage.copied_bytes

    def as_dict(self) -> dict[str, int]:
        return asdict(self)


@dataclass(slots=True)
class InputBytes:
    """Input bytes of one attempt that came to its task from elsewhere."""

    shuffled: int = 0
