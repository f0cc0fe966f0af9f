"""Which attempts this process handed to which node, and whether the node has had time to name them. Pure."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from jobs.model.wire import AttemptRef
from manta.core.limits import LEASE_S


@dataclass(slots=True)
class _Node:
    epoch: str
    granted: set[AttemptRef] = field(default_factory=set)
    reserved: set[AttemptRef] = field(default_factory=set)
    """Those granted to polls for the lane in reserve."""
    unnamed_s: dict[AttemptRef, float] = field(default_factory=dict)
    """Attempts that another process granted and the node does not name, and since when."""


class Deliveries:
    """A node polls one gateway with one call at a time, so its next poll is composed after it read our last reply; so
    it does, beside that, for its lane in reserve.

    An attempt that we granted in an earlier poll and that the node does not name was never delivered, or was refused.
    What another process granted, or one that died, may be on its way: it is given the time of a lease to arrive.
    """

    def __init__(self) -> None:
        self._nodes: dict[str, _Node] = {}

    def begin(
        self, node_id: str, epoch: str, held: Iterable[AttemptRef], running: Collection[AttemptRef], now_s: float
    ) -> tuple[list[AttemptRef], list[AttemptRef]]:
        """A poll came in that names `held`: what of the node's `running` attempts never reached it, and what it has
        not named for the time of a lease, although it may have run it."""
        node = self._nodes.get(node_id)
        if node is None or node.epoch != epoch:
            node = self._nodes[node_id] = _Node(epoch)
        unnamed = set(running).difference(held)
        missing = unnamed & node.granted
        node.granted.clear()
        node.unnamed_s = {attempt: node.unnamed_s.get(attempt, now_s) for attempt in unnamed - missing}
        late = {attempt for attempt, since_s in node.unnamed_s.items() if now_s - since_s > LEASE_S}
        return [one for one in running if one in missing], [one for one in running if one in late]

    def begin_reserve(self, node_id: str, epoch: str, arrived: Collection[AttemptRef]) -> list[AttemptRef]:
        """A poll for the lane in reserve came in that names what `arrived`: what of such grants never reached the node.
        Its ordinary polls cannot tell, since they may have been composed before it read the reply."""
        node = self._nodes.get(node_id)
        if node is None or node.epoch != epoch:
            return []
        missing = node.reserved.difference(arrived)
        node.reserved.clear()
        return list(missing)

    def granted(self, node_id: str, attempts: Iterable[AttemptRef], *, reserve: bool = False) -> None:
        """These go out with the reply to the present poll."""
        node = self._nodes.get(node_id)
        if node is not None:
            (node.reserved if reserve else node.granted).update(attempts)

    def forget(self, node_id: str) -> None:
        self._nodes.pop(node_id, None)
