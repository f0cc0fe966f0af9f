"""What each node has for tasks, as its polls say: which of them it is to have, and which another node is to have."""

from collections.abc import Callable, Collection, Sequence

from jobs.model.resources import Capacity, Needs
from jobs.scheduler.queues import Queues
from manta.catalog.job_records import Choice, Choose


class Capacities:
    """Of the nodes that poll this gateway; `queues` know how much of it is in use, `takes_tasks` who may have any.

    A task too large for one node is left to another that has enough. What a node has no room for just now is kept for
    others that could begin it at once. Where nobody has enough or room, whoever asks gets the task: too large a one is
    refused there, and another one waits for its room.
    """

    def __init__(self, queues: Queues, takes_tasks: Callable[[str], bool] = lambda _: True) -> None:
        self._queues = queues
        self._takes_tasks = takes_tasks
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
        others = set(alive) - {node_id}
        # looked at now, not by `choose`: the catalog asks that in a thread of its own
        idle = {one for one in others if self._queues.free_lanes(one) > 0 and self._takes_tasks(one)}
        reserves = {one for one in others if self._queues.is_reserve_free(one) and self._takes_tasks(one)}

        def could_begin(needs: Needs, hosts: Sequence[str], is_idle: bool) -> bool:
            free = idle | reserves if is_idle else idle
            found = (one for one in free if not hosts or one in hosts)
            return any(self._queues.has_room(one, needs) for one in found)

        def choose(needs: Needs, hosts: Sequence[str], is_idle: bool) -> Choice:
            if here is not None and here.shortage(needs) is not None:
                is_for_others = any(self._holds(one, needs) for one in others if not hosts or one in hosts)
                return Choice.ELSEWHERE if is_for_others else Choice.HERE
            if self._queues.has_room(node_id, needs):
                return Choice.HERE
            return Choice.LATER if to_begin or could_begin(needs, hosts, is_idle) else Choice.HERE

        return choose

    def _holds(self, node_id: str, needs: Needs) -> bool:
        return node_id in self._known and self._known[node_id].shortage(needs) is None
