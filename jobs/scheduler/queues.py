"""What was leased to nodes and waits there for a lane, as each told with its last poll: for those who watch a job.

The catalog counts a leased task as running; it is told as running only once it has a lane. Kept by each gateway for
itself, since every node polls each of them.
"""

from collections.abc import Sequence
from dataclasses import replace

from jobs.model.states import TaskState
from manta.catalog.job_records import JobView, PhaseView


class Queues:
    """By node: (job, phase) and how many tasks of it wait there."""

    def __init__(self) -> None:
        self._nodes: dict[str, dict[tuple[str, int], int]] = {}

    def note(self, node_id: str, queued: Sequence[tuple[str, int, int]]) -> None:
        self._nodes[node_id] = {(job_id, phase): max(0, count) for job_id, phase, count in queued}

    def forget(self, node_id: str) -> None:
        self._nodes.pop(node_id, None)

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
