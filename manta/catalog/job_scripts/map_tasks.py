"""The tasks of a map phase's inputs: one each, one for each range of a large one, one for a batch of small ones.

Whatever the tasks, inputs are accounted for one by one: a batch in which some fail lets go of those, each as a task of
its own, and only what it committed stays in it.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from jobs.model.ranges import Range, nominal_ranges
from jobs.model.states import TaskState
from jobs.model.wire import TaskKind
from manta.catalog.job_records import FoundObject
from manta.catalog.job_scripts.unit import Unit
from manta.catalog.ops import Op, Script
from manta.catalog.task_records import Member, TaskRow, pack_members
from manta.core.limits import BATCH_INPUT_MAX_BYTES, BATCH_MAX_INPUT_BYTES, RESOLVE_PAGE

_WHOLE: Final = Range(0, 0)
_UNCUT_ROWS: Final = 64
"""Inputs that one page of work cuts on."""
_OF_THE_INPUT: Final = ("bucket", "key", "version_id", "size", "blob_id", "holders", "first_input")


def add_map_input(unit: Unit, phase: int, bucket: str, found: FoundObject, first_input: str) -> int:
    """An input of that map phase; how many tasks or parts of a batch it is.

    The input's own reference to its blob is the caller's; further tasks add theirs.
    """
    spec = unit.plan.phases[phase]
    ranges = nominal_ranges(found.size, spec.split_bytes)
    if not ranges and spec.batch > 1 and found.size <= BATCH_INPUT_MAX_BYTES:
        _gather(unit, phase, bucket, found, first_input)
        return 1
    what = {
        "bucket": bucket, "key": found.key, "version_id": found.version_id, "size": found.size,
        "blob_id": found.blob_id, "holders": _holders(found), "first_input": first_input,
    }  # fmt: skip
    return _add_ranges(unit, phase, ranges or [_WHOLE], what)


def _add_ranges(unit: Unit, phase: int, ranges: Sequence[Range], what: Mapping[str, Any]) -> int:
    """A task for each that there is room for, and one that waits, for all the others; how many tasks that is.

    The input that `what` describes has a reference to its blob already: each task but one adds its own.
    """
    room = len(ranges) if unit.cut_room is None or len(ranges) == 1 else max(0, unit.cut_room)
    cut = ranges[:room]
    for part in cut:
        task = unit.new_task(phase, TaskState.READY, **what, range_start=part.start, range_end=part.end)
        unit.offer(task, task.nodes)
    made = len(cut)
    if made < len(ranges):
        end = ranges[-1].end
        unit.new_task(phase, TaskState.WAITING, **what, range_start=ranges[made].start, range_end=end)
        unit.job.tend = 1
        made += 1
    if unit.cut_room is not None:
        unit.cut_room -= made
    if what["blob_id"] is not None:
        unit.retain.extend([(what["blob_id"],)] * (made - 1))
    return made


def cut_page(unit: Unit) -> Script[bool]:
    """A page of the ranges that wait to be cut; whether there may be more. Map tasks wait for nothing else."""
    if not _has_uncut(unit):
        return False
    unit.cut_room = RESOLVE_PAGE
    for row in (yield Op("tasks_uncut", (unit.job.job_id, _UNCUT_ROWS))):
        if unit.cut_room <= 0:
            break
        task = TaskRow(*row)
        ranges = nominal_ranges(task.size, unit.plan.phases[task.phase].split_bytes)
        left = [part for part in ranges if part.start >= task.range_start]
        unit.gone.append((task.job_id, task.task_id))
        unit.phases[task.phase].waiting -= 1
        what = {name: getattr(task, name) for name in _OF_THE_INPUT}
        _add_ranges(unit, task.phase, left, what)
    return _has_uncut(unit)


def _has_uncut(unit: Unit) -> bool:
    return any(phase.waiting for phase in unit.phases if phase.kind is TaskKind.MAP)


def _holders(found: FoundObject) -> str:
    return found.holders if found.blob_id is not None else ""


def _gather(unit: Unit, phase: int, bucket: str, found: FoundObject, first_input: str) -> None:
    """Inputs of one batch lie on the same nodes: whoever takes it has them all (J5)."""
    place = phase, ",".join(sorted(_holders(found).split(",")))
    waiting = unit.gathered.setdefault(place, [])
    if waiting and sum(one.size for one in waiting) + found.size > BATCH_MAX_INPUT_BYTES:
        _close(unit, place)
        waiting = unit.gathered[place]
    waiting.append(Member(0, bucket, found.key, found.version_id, found.size, found.blob_id, first_input))
    if len(waiting) == unit.plan.phases[phase].batch:
        _close(unit, place)


def close_batches(unit: Unit) -> None:
    """What is gathered becomes tasks, however few: no input waits for those of a later page."""
    for place in list(unit.gathered):
        _close(unit, place)
    unit.gathered.clear()


def _close(unit: Unit, place: tuple[int, str]) -> None:
    waiting, unit.gathered[place] = unit.gathered[place], []
    if not waiting:
        return
    phase, holders = place
    members = None
    if len(waiting) > 1:
        first = unit.job.next_task + 2
        members = pack_members([_numbered(one, first + at) for at, one in enumerate(waiting)])
    head = waiting[0]
    task = unit.new_task(
        phase, TaskState.READY, bucket=head.bucket, key=head.key, version_id=head.version_id,
        size=sum(one.size for one in waiting), blob_id=head.blob_id, holders=holders, first_input=head.first_input,
        members=members,
    )  # fmt: skip
    if members is not None:
        unit.job.next_task += len(waiting)
    unit.offer(task, task.nodes)


def _numbered(one: Member, number: int) -> Member:
    return Member(number, one.bucket, one.key, one.version_id, one.size, one.blob_id, one.first_input)


def part(unit: Unit, task: TaskRow, leaving: Collection[int]) -> tuple[TaskRow | None, list[TaskRow]]:
    """The inputs of these numbers leave the batch: (what is left of it, they as tasks in the same state)."""
    apart = [one._replace(slot=None) for one in task.inputs if one.task_id in leaving]
    unit.new_tasks += apart
    if task.state == TaskState.RUNNING:
        unit.job.running += len(apart)
    return _shrunk(unit, task, [one for one in task.inputs if one.task_id not in leaving]) if apart else task, apart


def _shrunk(unit: Unit, task: TaskRow, left: Sequence[TaskRow]) -> TaskRow | None:
    if not left:
        unit.gone.append((task.job_id, task.task_id))
        if task.state == TaskState.RUNNING:
            unit.job.running -= 1
        return None
    head = left[0]
    changed = task._replace(
        members=pack_members(left), size=sum(one.size for one in left), bucket=head.bucket, key=head.key,
        version_id=head.version_id, blob_id=head.blob_id, first_input=head.first_input,
    )  # fmt: skip
    unit.shrinks.append(
        (
            changed.members, changed.size, changed.bucket, changed.key, changed.version_id, changed.blob_id,
            changed.first_input, changed.job_id, changed.task_id,
        )
    )  # fmt: skip
    return changed
