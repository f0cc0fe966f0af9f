"""What was leased to nodes and waits there for a lane, or for room: for those who watch a job. Pure.

The catalog counts a leased task as running; it is told as running only once it has a lane. Each node tells with its
polls what waits; in between it follows from what it is given and what it reports. Kept by each gateway for itself,
since every node polls each of them. Counts are of inputs, as the catalog's are: a batch has several.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

from jobs.model.resources import Needs, Room
from jobs.model.states import TaskState
from manta.catalog.job_records import JobView, PhaseView


class Queues:
    """By node: (job, phase) and how many inputs of it wait there."""

    def __init__(self) -> None:
        self._nodes: dict[str, dict[tuple[str, int], int]] = {}
        self._unreported: dict[str, int] = {}
        """By node: inputs whose tasks had left their lanes before its last word, and are still to be reported."""
        self._reserved: dict[str, set[str]] = {}
        """By node: jobs that got the lane in reserve. None of another job takes it when theirs end."""

    def note(
        self, node_id: str, queued: Sequence[tuple[str, int, int]], unreported: int, held: Collection[str] = ()
    ) -> None:
        """The node's own word; `held` are the jobs that it has tasks of."""
        self._reserved[node_id] = self._reserved.get(node_id, set()).intersection(held)
        self._nodes[node_id] = {(job_id, phase): max(0, count) for job_id, phase, count in queued}
        self._unreported[node_id] = max(0, unreported)

    def granted(
        self,
        node_id: str,
        tasks: Iterable[tuple[str, int, int, Needs]],
        lanes: int,
        running: Iterable[str],
        reserve: int,
        room: Room,
    ) -> None:
        """Tasks by (job, phase, inputs, needs) that the node gets now. Those begin that it has `room` and idle `lanes`
        for, and so many in `reserve`, of jobs that are not `running` there."""
        queued = self._nodes.setdefault(node_id, {})
        jobs = set(running)
        for job_id, phase, count, needs in tasks:
            may_reserve = lanes <= 0 < reserve and job_id not in jobs and not queued.get((job_id, phase))
            if lanes > 0 and room.take(needs):
                lanes -= 1
            elif may_reserve and room.take(needs):
                reserve -= 1
                self.reserve(node_id, job_id)
            else:
                queued[job_id, phase] = queued.get((job_id, phase), 0) + count
            jobs.add(job_id)

    def reserve(self, node_id: str, job_id: str) -> None:
        """A task of the job gets the lane in reserve."""
        self._reserved.setdefault(node_id, set()).add(job_id)

    def ended(self, node_id: str, job_id: str, phase: int, count: int) -> None:
        """A task of so many inputs is reported. If it has left its lane since the node's word, what waits has that now:
        most likely a task like it, of its own phase."""
        known = min(count, self._unreported.get(node_id, 0))
        if known:
            self._unreported[node_id] -= known
            count -= known
        if not count:
            return
        queued = self._nodes.get(node_id, {})
        others = () if job_id in self._reserved.get(node_id, ()) else tuple(queued)
        for at in ((job_id, phase), *others):
            taken = min(count, queued.get(at, 0))
            if taken:
                queued[at] -= taken
                count -= taken

    def forget(self, node_id: str) -> None:
        self._nodes.pop(node_id, None)
        self._unreported.pop(node_id, None)
        self._reserved.pop(node_id, None)

    def as_started(self, view: JobView) -> JobView:
        phases = tuple(self._phase(view.job_id, number, phase) for number, phase in enumerate(view.phases))
        return view if phases == view.phases else replace(view, phases=phases)

    def _phase(self, job_id: str, number: int, phase: PhaseView) -> PhaseView:
        waiting = sum(queued.get((job_id, number), 0) for queued in self._nodes.values())
        running, ready = TaskState.RUNNING.name.lower(), TaskState.READY.name.lower()
        moved = min(waiting, phase.tasks[running])
        if not moved:
            return phase
        tasks = {**phase.tasks, running: phase.tasks[running] - moved, ready: phase.tasks[ready] + moved}
        return replace(phase, tasks=tasks)
