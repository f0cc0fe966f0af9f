"""The row of phases that have tasks or zones here: whose turn it is, what waits, and what waits in vain. Pure."""

from collections.abc import Collection
from itertools import islice

from jobs.agent.attempt import Attempt, Stage
from jobs.agent.resources import Resources
from jobs.agent.zones.groups import Group
from jobs.model.wire import Standing
from manta.core.limits import HAND_BACK_NO_ROOM_S, HAND_BACK_S


class Row:
    """Who was served goes to the end. `resources` say what there is room to run; `free_lanes` are those without a task.

    A phase that found no room for long is starved: nothing behind it starts in a lane before it does.
    """

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._groups: dict[tuple[str, int], Group] = {}
        self.waiting = 0
        """Tasks, of all phases."""

    @property
    def groups(self) -> Collection[Group]:
        return self._groups.values()

    @property
    def zones(self) -> int:
        return sum(group.zones for group in self._groups.values())

    # -- coming and going --------------------------------------------------------------------------------------------

    def queue(self, attempt: Attempt, now_s: float) -> Group:
        """The attempt waits with its phase, which is the last in the row if it is new."""
        group = self._groups.get(attempt.group)
        if group is None:
            group = self._groups[attempt.group] = Group(attempt.spec)
        attempt.since_s = now_s
        group.waiting.append(attempt)
        self.waiting += 1
        return group

    def take(self, group: Group) -> Attempt:
        """Its first waiting task, which waits no more."""
        self.waiting -= 1
        return group.waiting.popleft()

    def withdraw(self, attempt: Attempt) -> Group:
        """Wherever among the waiting tasks of its phase it is."""
        group = self._groups[attempt.group]
        group.waiting.remove(attempt)
        self.waiting -= 1
        return group

    def may_leave(self, attempt: Attempt) -> bool:
        """Whether it waits, and no zone is being built in its name."""
        return attempt.stage is Stage.WAITING and attempt not in self._groups[attempt.group].builders

    def hand_back(self, now_s: float, free_lanes: int) -> list[Attempt]:
        """Take out what has waited too long for a lane, or for room. A zone that is being built keeps those in whose
        name it is."""
        found: list[Attempt] = []
        for group in self._groups.values():
            before_s = now_s - HAND_BACK_S
            if free_lanes > 0 and group.lacks_room_since(now_s - HAND_BACK_NO_ROOM_S):
                before_s = now_s
            late = [one for one in group.waiting if one.since_s < before_s and self.may_leave(one)]
            if group.starved_since_s is not None and not group.busy and self._may_hold_lanes(group):
                late = late[1:]  # the next room is kept for it
            for attempt in late:
                group.waiting.remove(attempt)
                self.waiting -= 1
            if late:
                group.handed_back_s = now_s
            if not group.waiting:
                group.starved_since_s = None
            found += late
        return found

    def of_job(self, job_id: str) -> list[Group]:
        return [group for key, group in self._groups.items() if key[0] == job_id]

    def drop_empty(self, now_s: float, job_id: str | None = None) -> None:
        """Forget phases without tasks and zones, of that job or of all."""
        for key, group in list(self._groups.items()):
            if job_id in (None, key[0]) and not group.waiting and not group.zones and now_s >= group.retry_at_s:
                del self._groups[key]

    def clear(self) -> None:
        self._groups.clear()

    # -- whose turn it is --------------------------------------------------------------------------------------------

    def in_turn(self, now_s: float) -> Group | None:
        """The first phase in turn that has a task, a zone for it, and room to run it; it goes to the end of the row."""
        for key, group in self._groups.items():
            if not group.waiting or not group.idle:
                group.starved_since_s = None
            elif self._has_room(group, now_s):
                del self._groups[key]
                self._groups[key] = group
                return group
            elif self._is_starved(group, now_s):
                return None
        return None

    def holder(self, now_s: float) -> Group | None:
        """The phase that free lanes are kept for, since it has waited long for room."""
        ready = (group for group in self._groups.values() if group.waiting and group.idle)
        first = next((one for one in ready if self._resources.fits(one.spec) or self._is_starved(one, now_s)), None)
        return None if first is None or self._resources.fits(first.spec) else first

    def for_reserve(self, now_s: float, holder: Group | None = None) -> Group | None:
        """A phase that could run a task, of a job that has none running here; it keeps its place in the row (J8).

        It is not to stand in the way of the `holder` of free lanes when the room of that comes.
        """
        for group in self._without_running():
            is_in_the_way = holder is not None and not self._resources.fit_beside_sessions(holder.spec, group.spec)
            if group.idle and not is_in_the_way and self._has_room(group, now_s):
                return group
        return None

    def needs_reserve(self) -> bool:
        """Whether a job waits that has none running here, and room for one."""
        return any(self._resources.fits(group.spec) for group in self._without_running())

    def _without_running(self) -> list[Group]:
        """Phases with waiting tasks, of jobs that have none running here."""
        running = self._running_jobs()
        return [group for (job_id, _), group in self._groups.items() if group.waiting and job_id not in running]

    def _running_jobs(self) -> set[str]:
        return {job_id for (job_id, _), group in self._groups.items() if group.busy}

    def _has_room(self, group: Group, now_s: float) -> bool:
        if self._resources.fits(group.spec):
            group.starved_since_s = None
            return True
        if group.starved_since_s is None:
            group.starved_since_s = now_s
        return False

    def _is_starved(self, group: Group, now_s: float) -> bool:
        return group.is_starved(now_s) and self._may_hold_lanes(group)

    def _may_hold_lanes(self, group: Group) -> bool:
        """Whether its room will come with the ends of tasks; login sessions are waited for by nobody else."""
        return self._resources.fit_beside_sessions(group.spec)

    # -- what waits --------------------------------------------------------------------------------------------------

    def blocked(self, now_s: float, free_lanes: int) -> int:
        """Tasks whose zone takes long to build, or that find no room: others are welcome meanwhile."""
        return sum(len(group.waiting) for group in self._groups.values() if self._is_blocked(group, now_s, free_lanes))

    def blocked_jobs(self, now_s: float, free_lanes: int) -> tuple[str, ...]:
        """Jobs of which no more tasks are wanted before a zone of theirs is built, or there is room for one."""
        groups = self._groups.items()
        return tuple({job_id for (job_id, _), group in groups if self._is_blocked(group, now_s, free_lanes)})

    def _is_blocked(self, group: Group, now_s: float, free_lanes: int) -> bool:
        """While every lane is busy it is the lanes that a task waits for, if it would find room then."""
        lacks_room = group.has_use(now_s) and not self._resources.fits(group.spec)
        return group.is_blocked(now_s) or (lacks_room and (free_lanes > 0 or not self._may_hold_lanes(group)))

    def standing(self, now_s: float, free_lanes: int, *, reserve_free: bool) -> Standing:
        """What waits for a lane, for room or for a zone, and what is left when all has begun that these are there
        for."""
        queued: list[tuple[str, int, int]] = []
        running, room = self._running_jobs(), self._resources.room()
        blocked_jobs = self.blocked_jobs(now_s, free_lanes)
        for (job_id, phase), group in self._groups.items():
            starting, ready = 0, min(len(group.waiting), group.zones_soon(now_s))
            while starting < min(free_lanes, ready) and room.take(group.spec):
                starting += 1
            free_lanes -= starting
            if group.waiting and not starting and free_lanes > 0 and self._is_starved(group, now_s):
                free_lanes, reserve_free = 0, False
            elif reserve_free and not (starting or free_lanes) and ready and job_id not in running:
                starting = int(room.take(group.spec))
                reserve_free = not starting
            if starting:
                running.add(job_id)
            if len(group.waiting) > starting:
                queued.append((job_id, phase, sum(one.lease.weight for one in islice(group.waiting, starting, None))))
        return Standing(tuple(queued), room.used, free_lanes, reserve_free, tuple(running), blocked_jobs=blocked_jobs)

    def works_for(self, job_id: str) -> bool:
        """Whether a task of that job runs here or waits to."""
        return any(key[0] == job_id and (group.waiting or group.busy) for key, group in self._groups.items())
