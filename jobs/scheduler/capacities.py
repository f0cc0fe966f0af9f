"""What each node has for tasks, as its polls say: which of them it is to have, and which another node is to have."""

from collections.abc import Collection, Sequence

from jobs.model.resources import Capacity, Needs
from jobs.scheduler.queues import Queues
from manta.catalog.job_records import Choice, Choose


class Capacities:
    """Of the nodes that poll this gateway; `queues` know how much of it is in use.

    A task too large for one node is left to another that has enough. What a node has no room for just now is kept for
    others that could begin it at once. Where nobody has enough or room, whoever asks gets the task: too large a one is
    refused there, and another one waits for its room.
    """

    def __init__(self, queues: Queues) -> None:
        self._queues = queues
        self._known: dict[str, Capacity] = {}

    def note(self, node_id: str, capacity: Capacity | None) -> None:
        if capacity is not None:
            self._known[node_id] = capacity

    def forget_all_but(self, alive: Collection[str]) -> None:
        for node_id in self._known.keys() - alive:
            del self._known[node_id]

    def choose_for(self, node_id: str, alive: Collection[str], *, to_begin: bool = False) -> Choose:
        """What that node, of those alive, is to have; nothing that would wait for room if all is `to_begin`."""
        here = self._known.get(node_id)

        def choose(needs: Needs, holders: Sequence[str]) -> Choice:
            others = set(holders or self._known) & set(alive) - {node_id}
            if here is not None and here.shortage(needs) is not None:
                return Choice.ELSEWHERE if any(self._holds(one, needs) for one in others) else Choice.HERE
            if self._queues.has_room(node_id, needs):
                return Choice.HERE
            is_for_others = to_begin or any(self._queues.could_begin(one, needs) for one in others)
            return Choice.LATER if is_for_others else Choice.HERE

        return choose

    def _holds(self, node_id: str, needs: Needs) -> bool:
        return node_id in self._known and self._known[node_id].shortage(needs) is None
