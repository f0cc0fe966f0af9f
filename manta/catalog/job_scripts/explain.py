"""The script that looks up inputs as a job would, and writes nothing."""

from collections import Counter
from collections.abc import Sequence

import msgspec

from jobs.model.document import JobPlan, encode_plan
from jobs.model.inputs import InputSpec
from jobs.model.states import JobState, PhaseCounts
from jobs.model.wire import TaskKind
from manta.catalog.job_records import FoundInputs
from manta.catalog.job_scripts.job_row import JobRow
from manta.catalog.job_scripts.map_tasks import close_batches
from manta.catalog.job_scripts.resolve import resolve_specs
from manta.catalog.job_scripts.unit import Unit
from manta.catalog.ops import Script
from manta.catalog.task_records import TaskRow
from manta.core.limits import RESOLVE_PAGE


def find_inputs(
    owner_id: str, plan: JobPlan, specs: Sequence[InputSpec], position: int, after: str, now_ms: int
) -> Script[FoundInputs]:
    """One page, from that spec and key on. The unit is never flushed; its one phase maps, so that inputs are tasks."""
    job = JobRow(
        "", owner_id, plan.name, JobState.QUEUED.value, now_ms, None, encode_plan(plan), 1, None, 0, 0, 0, 0, 0, 0, 0,
        0, 0, 0, 0, 0,
    )  # fmt: skip
    unit = Unit(job, [PhaseCounts(0, TaskKind.MAP, 1)], now_ms)
    position, after, _ = yield from resolve_specs(unit, specs, position, after, RESOLVE_PAGE)
    close_batches(unit)
    unreadable = Counter(str(msgspec.json.decode(record)["code"]) for _, _, record in unit.errors)
    tasks = tuple(
        (_bytes(task), tuple(task.nodes), 0 if task.range_start else task.weight)
        for task in unit.new_tasks
        if task.version_id
    )
    return FoundInputs(tasks, dict(unreadable), position, after)


def _bytes(task: TaskRow) -> int:
    return task.size if task.range is None else task.range.size
