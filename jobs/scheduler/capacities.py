"""What each node has for tasks, as its polls say: a task too large for one is left to another that has enough."""

from collections.abc import Collection, Sequence

from jobs.model.resources import Capacity, Needs
from manta.catalog.job_records import Leaves


class Capacities:
    """Of the nodes that poll this gateway. Where nobody has enough, whoever asks gets the task, and says so."""

    def __init__(self) -> None:
        self._known: dict[str, Capacity] = {}

    def note(self, node_id: str, capacity: Capacity | None) -> None:
        if capacity is not None:
            self._known[node_id] = capacity

    def forget_all_but(self, alive: Collection[str]) -> None:
        for node_id in self._known.keys() - alive:
            del self._known[node_id]

    def left_by(self, node_id: str, alive: Collection[str]) -> Leaves:
        """What that node, of those alive, does not take."""
        here = self._known.get(node_id)

        def leaves(needs: Needs, holders: Sequence[str]) -> bool:
            if here is None or here.shortage(needs) is None:
                return False
            others = set(holders or self._known) & set(alive) - {node_id}
            return any(self._known[one].shortage(needs) is None for one in others if one in self._known)

        return leaves
