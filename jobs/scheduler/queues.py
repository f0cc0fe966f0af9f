"""How things stand on the nodes, as each told last: what its waiting poll may get, and what of a job only waits. Pure.

The catalog counts a leased task as running; who watches its job is told so only once it has a lane, room and a zone.
Each node says how things stand with its polls and its reports; only of what is on its way to it this process has to
reckon what will begin. Kept by each gateway for itself, since every node polls each of them. Counts are of inputs, as
the catalog's are: a batch has several.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain

from jobs.model.resources import Capacity, Needs, Room, Used
from jobs.model.states import TaskState
from jobs.model.wire import AttemptRef, Standing
from manta.catalog.job_records import JobView, PhaseView


@dataclass(frozen=True, slots=True)
class Given:
    """A task that a node gets, of so many inputs."""

    ref: AttemptRef
    phase: int
    weight: int
    needs: Needs


@dataclass(slots=True)
class _Node:
    epoch: str
    standing: Standing = field(default_factory=Standing)
    asked: Standing = field(default_factory=Standing)
    """As its last ordinary poll told it: it asks for tasks that it has room for beside what it thought of then."""
    capacity: Capacity | None = None
    underway: dict[bool, Sequence[Given]] = field(default_factory=dict)
    """What our last answer gave, to an ordinary poll and to one for the lane in reserve, until the node heard it."""
    waiting: dict[tuple[str, int], int] = field(default_factory=dict)
    """How many inputs of each (job, phase) wait there."""
    free_lanes: int = 0
    is_reserve_free: bool = False
    room: Room = field(default_factory=lambda: Room(None, Used()))
    """What is left when all that is underway has begun: lanes, the one in reserve, and room."""

    def hear(self, standing: Standing) -> bool:
        """The node's word, unless a newer one came before. Whether a poll of it that waits may get some now."""
        before = self.standing
        if standing.number >= before.number:
            self.standing = standing
            self.underway = {at: tasks for at, tasks in self.underway.items() if tasks[0].ref not in standing.heard}
        self.reckon()
        may_get_more = bool(self.asked.blocked_jobs) and (self.standing.room or 0) > (before.room or 0)
        return may_get_more or not set(before.blocked_jobs).issubset(self.standing.blocked_jobs)

    def reckon(self) -> None:
        """Of what is underway those begin that the node has room and free lanes for, and one of a job that has none
        running there in the lane in reserve."""
        standing = self.standing
        self.waiting = {(job_id, phase): max(0, count) for job_id, phase, count in standing.queued}
        lanes, reserve, jobs = standing.lanes, standing.reserve, set(standing.jobs)
        room = Room(self.capacity, standing.used)
        for one in chain(*self.underway.values()):
            job_id, key = one.ref.job_id, (one.ref.job_id, one.phase)
            may_reserve = lanes <= 0 and reserve and job_id not in jobs and not self.waiting.get(key)
            if lanes > 0 and room.take(one.needs):
                lanes -= 1
            elif may_reserve and room.take(one.needs):
                reserve = False
            else:
                self.waiting[key] = self.waiting.get(key, 0) + one.weight
            jobs.add(job_id)
        self.free_lanes, self.is_reserve_free, self.room = lanes, reserve, room


class Queues:
    """By node, as its last word and our last answer have it."""

    def __init__(self) -> None:
        self._nodes: dict[str, _Node] = {}

    def polled(
        self, node_id: str, epoch: str, standing: Standing, capacity: Capacity | None, *, reserve: bool = False
    ) -> bool:
        """The node asks for tasks: it has heard our last answer to such a poll, or never will. Whether a poll of it
        that waits may get some now."""
        node = self._nodes.get(node_id)
        if node is None or node.epoch != epoch:
            if reserve:  # an agent begins with an ordinary one
                return False
            node = self._nodes[node_id] = _Node(epoch)
        node.capacity = capacity
        if not reserve:
            node.asked = standing
        node.underway.pop(reserve, None)
        return node.hear(standing)

    def reported(self, node_id: str, epoch: str, standing: Standing) -> bool:
        """A report is in. Whether a poll of the node that waits may get some now."""
        node = self._nodes.get(node_id)
        return node is not None and node.epoch == epoch and node.hear(standing)

    def granted(self, node_id: str, tasks: Sequence[Given], *, reserve: bool = False) -> None:
        """The answer to the node's present poll gives it these."""
        node = self._nodes.get(node_id)
        if node is not None and tasks:
            node.underway[reserve] = tasks
            node.reckon()

    def blocked_jobs(self, node_id: str) -> tuple[str, ...]:
        """Those of which the node wants no tasks."""
        node = self._nodes.get(node_id)
        return node.standing.blocked_jobs if node is not None else ()

    def free_lanes(self, node_id: str) -> int:
        """Lanes that nothing there waits for, nor is on its way to."""
        node = self._nodes.get(node_id)
        return 0 if node is None else node.free_lanes

    def has_room(self, node_id: str, needs: Needs) -> bool:
        """Whether such a task would wait there for nothing but a lane or a zone, as far as is known."""
        node = self._nodes.get(node_id)
        return node is None or node.room.fits(needs)

    def is_reserve_free(self, node_id: str) -> bool:
        """Whether its lane in reserve is there for a job of which nothing runs."""
        node = self._nodes.get(node_id)
        return node is not None and node.is_reserve_free

    def room(self, node_id: str, asked: int) -> int:
        """How many tasks to give to its ordinary poll that asked for so many. What has ended since made room for more.
        But of what was blocked then it did not think: that may wait for nothing but a lane now."""
        node = self._nodes.get(node_id)
        if node is None or node.standing.room is None:
            return asked
        return (min if node.asked.blocked_jobs else max)(asked, node.standing.room)

    def forget_all_but(self, alive: Mapping[str, str]) -> None:
        """Nodes by their epochs: what waited on others is not theirs any more."""
        self._nodes = {node_id: node for node_id, node in self._nodes.items() if alive.get(node_id) == node.epoch}

    def as_started(self, view: JobView) -> JobView:
        """The job with what waits on nodes as ready instead of running."""
        phases = tuple(self._phase(view.job_id, number, phase) for number, phase in enumerate(view.phases))
        return view if phases == view.phases else replace(view, phases=phases)

    def _phase(self, job_id: str, number: int, phase: PhaseView) -> PhaseView:
        waiting = sum(node.waiting.get((job_id, number), 0) for node in self._nodes.values())
        running, ready = TaskState.RUNNING.name.lower(), TaskState.READY.name.lower()
        moved = min(waiting, phase.tasks[running])
        if not moved:
            return phase
        tasks = {**phase.tasks, running: phase.tasks[running] - moved, ready: phase.tasks[ready] + moved}
        return replace(phase, tasks=tasks)
