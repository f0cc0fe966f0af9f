"""What nodes say of the attempts they hold: which run, and since when, by this process's monotonic clock. Pure."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from math import inf

from jobs.model.resources import Needs
from jobs.model.wire import AttemptRef
from manta.core.limits import STUCK_S, TASK_GRACE_S


@dataclass(slots=True)
class Followed:
    """An attempt that a node holds. `since_s`: when it began to run, or else to wait for its turn or for its outputs.

    `phase` and `timeout_s` are None until somebody looked them up. `tried_s`: when which node was to try it as well.
    `needs` and `hosts` (none: any node may run it) are known where this process handed it out. `recalled_s`: when its
    node was told that another one could begin it. `has_run` also after its task has ended.
    """

    node_id: str
    ref: AttemptRef
    runs: bool
    since_s: float
    phase: int | None = None
    timeout_s: float | None = None
    tried_s: dict[str, float] = field(default_factory=dict)
    needs: Needs | None = None
    hosts: Sequence[str] = ()
    recalled_s: float = -inf
    has_run: bool = False

    def is_suspect(self, now_s: float) -> bool:
        """Whether it may be overdue, whatever its timeout."""
        return now_s - self.since_s > (TASK_GRACE_S if self.runs else STUCK_S)


class Attempts:
    """By node, as its last poll named them. A node that does not poll is another matter: its leases end."""

    def __init__(self) -> None:
        self._nodes: dict[str, dict[AttemptRef, Followed]] = {}

    def named(self, node_id: str, held: Iterable[AttemptRef], started: Collection[AttemptRef], now_s: float) -> None:
        """A poll of the node: all it holds, and which of it runs."""
        before = self._nodes.get(node_id, {})
        running = frozenset(started)
        after: dict[AttemptRef, Followed] = {}
        for ref in held:
            known, runs = before.get(ref), ref in running
            if known is None:
                known = Followed(node_id, ref, runs, now_s)
            elif known.runs is not runs:
                known.runs, known.since_s = runs, now_s
            known.has_run |= runs
            after[ref] = known
        self._nodes[node_id] = after

    def granted(self, one: Followed) -> None:
        """It goes out to the node, which will name it in its next poll."""
        self._nodes.setdefault(one.node_id, {})[one.ref] = one

    def waiting(self, node_id: str, before_s: float) -> list[Followed]:
        """Those that have waited there since."""
        held = self._nodes.get(node_id, {})
        return [one for one in held.values() if not one.has_run and one.since_s < before_s]

    def find(self, node_id: str, ref: AttemptRef) -> Followed | None:
        return self._nodes.get(node_id, {}).get(ref)

    def forget(self, node_id: str) -> None:
        self._nodes.pop(node_id, None)

    def __iter__(self) -> Iterator[Followed]:
        for held in self._nodes.values():
            yield from held.values()

    def overdue(self, now_s: float) -> list[Followed]:
        """Attempts that their nodes should have ended or begun long ago. Those without a timeout are left out."""
        found: list[Followed] = []
        for held in self._nodes.values():
            longest_s = max((one.timeout_s or 0.0 for one in held.values()), default=0.0)
            for one in held.values():
                limit_s = TASK_GRACE_S + (one.timeout_s or 0.0) if one.runs else STUCK_S + longest_s
                if one.timeout_s is not None and now_s - one.since_s > limit_s:
                    found.append(one)
        return found
