"""Which attempts run much longer than their phase's ended tasks did, as far as this gateway has seen. Pure."""

from collections import OrderedDict, deque
from collections.abc import Iterator

from jobs.model.states import is_straggler
from jobs.scheduler.attempts import Attempts, Followed
from manta.core.limits import (
    SECOND_ATTEMPT_AGAIN_S,
    STRAGGLER_MIN_S,
    STRAGGLER_PHASES_MAX,
    STRAGGLER_SAMPLE_MAX,
)


class Stragglers:
    """Times of the last ended tasks of a phase, and the attempts that were offered to a node in vain."""

    def __init__(self, attempts: Attempts) -> None:
        self._attempts = attempts
        self._ended_s: OrderedDict[tuple[str, int], deque[float]] = OrderedDict()

    def ended(self, one: Followed, task_s: float) -> None:
        """The attempt succeeded after running so long. What is not known of it teaches nothing."""
        if one.phase is None:
            return
        key = one.ref.job_id, one.phase
        times_s = self._ended_s.get(key)
        if times_s is None:
            times_s = self._ended_s[key] = deque(maxlen=STRAGGLER_SAMPLE_MAX)
            if len(self._ended_s) > STRAGGLER_PHASES_MAX:
                self._ended_s.popitem(last=False)
        times_s.append(task_s)

    def for_node(self, node_id: str, now_s: float) -> Iterator[Followed]:
        """Stragglers of other nodes that this one may try, the longest running first."""
        slow = [
            one
            for one in self._attempts
            if one.runs and one.node_id != node_id and one.phase is not None and now_s - one.since_s >= STRAGGLER_MIN_S
        ]
        for one in sorted(slow, key=lambda one: one.since_s):
            tried_s = one.tried_s.get(node_id)
            if tried_s is not None and now_s - tried_s < SECOND_ATTEMPT_AGAIN_S:
                continue
            times_s = self._ended_s.get((one.ref.job_id, one.phase or 0), ())
            if is_straggler(now_s - one.since_s, list(times_s)):
                one.tried_s[node_id] = now_s
                yield one
