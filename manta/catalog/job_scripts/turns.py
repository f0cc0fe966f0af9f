"""Whose turn it is: the accounts that have ready tasks for a node, the least busy first, and jobs of theirs."""

from collections import deque
from collections.abc import Collection
from dataclasses import dataclass

from jobs.model.states import Claim
from manta.catalog.job_records import ANY_NODE
from manta.catalog.ops import Op, Script
from manta.core.limits import FAIR_ACCOUNTS_MAX, FAIR_IDLE_MAX, FAIR_JOBS_MAX


@dataclass(slots=True)
class Turns:
    """`accounts`: how many tasks each runs anywhere. `order`: those that nobody has asked for their jobs yet."""

    accounts: dict[str, int]
    order: deque[str]
    queues: dict[str, list[str]]

    def next_claims(self, many: int, without: Collection[str] = ()) -> Script[dict[str, Claim]]:
        """The oldest jobs of the next so many accounts that have any beside those in `without`.

        An account of which nothing may be taken now is passed over: it would keep the node's lanes from all others.
        """
        claims: dict[str, Claim] = {}
        asking = 0
        while self.order and asking < many:
            owner_id = self.order.popleft()
            found: dict[str, Claim] = {}
            for queue in self.queues[owner_id]:
                rows = yield Op("ready_jobs", (queue, owner_id, FAIR_JOBS_MAX + len(without)))
                found.update({row[0]: Claim(*row) for row in rows if row[0] not in without})
            asking += bool(found)
            claims.update(found)
        return claims


def find_turns(node_id: str) -> Script[Turns]:
    queues: dict[str, list[str]] = {}
    accounts: dict[str, int] = {}
    for queue in (node_id, ANY_NODE):
        rows = yield Op("ready_accounts", (queue, FAIR_ACCOUNTS_MAX))
        for owner_id, running in rows:
            queues.setdefault(owner_id, []).append(queue)
            accounts[owner_id] = int(running)
    return Turns(accounts, deque(sorted(accounts, key=lambda one: (accounts[one], one))), queues)


def idle_claims(node_id: str) -> Script[list[Claim]]:
    """Jobs that have a task for the node and none running anywhere; those of the least busy account first."""
    turns = yield from find_turns(node_id)
    claims = yield from turns.next_claims(FAIR_IDLE_MAX)
    idle = [claim for claim in claims.values() if not claim.running]
    return sorted(idle, key=lambda claim: (turns.accounts[claim.owner_id], claim.job_id))
