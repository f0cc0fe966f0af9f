"""Which nodes live, by this process's monotonic clock alone: a wall clock that is set decides nothing here. Pure."""

from collections.abc import Iterable

from manta.core.limits import LEASE_S, TAKEOVER_S


class Liveness:
    """A node lives while it polls this gateway, or while its row in the catalog changes: others write it then.

    What is first seen is given the time of a lease: this process may have just begun to listen. So a gateway takes a
    dead node's tasks over LEASE_S after it last heard of it itself, TAKEOVER_S after the row last changed at most.
    """

    def __init__(self) -> None:
        self._until_s: dict[str, float] = {}
        self._rows: dict[str, tuple[str, int]] = {}

    def heard(self, node_id: str, now_s: float) -> None:
        """It polled this gateway."""
        self._lives(node_id, now_s + LEASE_S)

    def wrote(self, node_id: str, epoch: str, until_ms: int) -> None:
        """This process writes the node's row: what it says is no news."""
        self._rows[node_id] = epoch, until_ms

    def seen(self, rows: Iterable[tuple[str, str, int]], now_s: float) -> None:
        """All rows as they are now. A row that differs from what was known is a sign of life."""
        found = {node_id: (epoch, until_ms) for node_id, epoch, until_ms in rows}
        for node_id, row in found.items():
            known = self._rows.get(node_id)
            if known is None:
                self._lives(node_id, now_s + LEASE_S)
            elif known != row:
                self._lives(node_id, now_s + TAKEOVER_S)
        for node_id in self._until_s.keys() - found.keys():
            del self._until_s[node_id]
        self._rows = found

    def alive(self, now_s: float) -> set[str]:
        return {node_id for node_id, until_s in self._until_s.items() if until_s >= now_s}

    def epochs(self, now_s: float) -> dict[str, str]:
        """Of the nodes that live, as their rows have them."""
        return {node_id: self._rows[node_id][0] for node_id in self.alive(now_s) if node_id in self._rows}

    def dead(self, now_s: float) -> dict[str, float]:
        """Node → for how many seconds it has been dead, as far as this process knows."""
        return {node_id: now_s - until_s for node_id, until_s in self._until_s.items() if until_s < now_s}

    def _lives(self, node_id: str, until_s: float) -> None:
        self._until_s[node_id] = max(until_s, self._until_s.get(node_id, until_s))
