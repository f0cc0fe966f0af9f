"""Tasks ahead of a node's lanes only once nodes with free lanes have looked for some. Hints, of this process alone."""

import contextlib
from collections.abc import Iterator

from jobs.scheduler.queues import Queues
from jobs.scheduler.wakes import Wakes


class IdleFirst:
    """Among the nodes whose `polls` wait here. Or the first to look would queue what others could run at once."""

    def __init__(self, queues: Queues, polls: Wakes) -> None:
        self._queues = queues
        self._polls = polls
        self._looking: set[str] = set()
        self._deferred: set[str] = set()
        """Nodes that get nothing before others have looked."""

    @contextlib.contextmanager
    def looking(self, node_id: str) -> Iterator[None]:
        """A poll of the node looks for tasks. Who was deferred for it looks again."""
        self._looking.add(node_id)
        try:
            yield
        finally:
            self._looking.discard(node_id)
            if node_id not in self._deferred:
                deferred, self._deferred = self._deferred, set()
                self._polls.wake(deferred)

    def share(self, node_id: str, wanted: int) -> int:
        """How many of the tasks that it wants the node may have now."""
        lanes = self._queues.free_lanes(node_id)
        self._deferred.discard(node_id)
        if wanted <= lanes or not self._others_come_first(node_id):
            return wanted
        if not lanes:
            self._deferred.add(node_id)
        return lanes

    def _others_come_first(self, node_id: str) -> bool:
        others = {*self._looking, *self._polls.woken()} - {node_id}
        return any(self._queues.free_lanes(one) > 0 for one in others)
