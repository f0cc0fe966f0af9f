"""Which attempts this process handed to which node, and whether the node has had time to name them. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from jobs.model.wire import AttemptRef


@dataclass(slots=True)
class _Node:
    epoch: str
    granted: set[AttemptRef] = field(default_factory=set)


class Deliveries:
    """A node polls one gateway with one call at a time, so its next poll is composed after it read our last reply.

    An attempt that we granted in an earlier poll and that the node does not name was never delivered, or was refused.
    Attempts granted by another gateway are not ours to judge: they may be on their way.
    """

    def __init__(self) -> None:
        self._nodes: dict[str, _Node] = {}

    def begin(self, node_id: str, epoch: str, held: Iterable[AttemptRef]) -> list[AttemptRef]:
        """A poll came in: what was granted before it and is not held."""
        node = self._nodes.get(node_id)
        if node is None or node.epoch != epoch:
            node = self._nodes[node_id] = _Node(epoch)
        named = set(held)
        missing = [attempt for attempt in node.granted if attempt not in named]
        node.granted.clear()
        return missing

    def granted(self, node_id: str, attempts: Iterable[AttemptRef]) -> None:
        """These go out with the reply to the present poll."""
        node = self._nodes.get(node_id)
        if node is not None:
            node.granted.update(attempts)

    def forget(self, node_id: str) -> None:
        self._nodes.pop(node_id, None)
