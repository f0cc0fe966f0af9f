"""How fast tasks go through the lanes, and so how many are welcome ahead of the running ones. Pure."""

from typing import Final

from manta.core.limits import LEASE_BATCH_MAX, PREFETCH_S, WAITING_MAX

_SMOOTHING: Final = 0.2
_TASK_MIN_S: Final = 0.001


class Pace:
    """Of one node's lanes. `running_s`: how long the youngest of their tasks runs already; 0 while a lane is free."""

    def __init__(self, lanes: int) -> None:
        self._lanes = lanes
        self._task_s: float | None = None

    def learn(self, task_s: float) -> None:
        """A task took so long."""
        known_s = self._task_s if self._task_s is not None else task_s
        self._task_s = known_s + _SMOOTHING * (task_s - known_s)

    def expected_s(self, running_s: float) -> float:
        """How long tasks take: as those that ended did, but no less than all that run now have taken already."""
        return max(self._task_s or 0.0, running_s)

    def prefetch(self, running_s: float) -> int:
        """Tasks to hold beyond the running ones: work for about PREFETCH_S; none when tasks take longer than that."""
        most = WAITING_MAX if self._task_s is not None else self._lanes
        return min(most, int(self._lanes * PREFETCH_S / max(self.expected_s(running_s), _TASK_MIN_S)))

    def room(self, running: int, waiting: int, blocked: int, running_s: float) -> int:
        """How many more tasks are welcome beside those; `blocked` of the waiting ones cannot start soon."""
        wanted = self._lanes + self.prefetch(running_s) - (running + waiting - blocked)
        return max(0, min(LEASE_BATCH_MAX, wanted, WAITING_MAX - waiting))
