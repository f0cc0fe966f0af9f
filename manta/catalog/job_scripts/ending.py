"""How inputs of a first phase that reduces come to say that they ended: after all its reducers have, a page at a time.

They are records, no tasks: a reducer may have a million. Until then the job's row remembers how each reducer ended.
"""

from typing import Any

import msgspec

from jobs.model.states import TaskState
from manta.catalog.job_scripts.unit import Unit
from manta.catalog.ops import Op, Script
from manta.core.limits import RESOLVE_PAGE


class _Ending(msgspec.Struct):
    """`ends`: states by reducer; `after`: inputs up to this number say so."""

    ends: dict[int, int] = {}
    after: int = 0


def reducer_ended(unit: Unit, reducer: int, state: TaskState) -> None:
    ending = _read(unit)
    ending.ends[reducer] = int(state)
    _write(unit, ending)


def ended_as(unit: Unit, reducer: int) -> TaskState | None:
    """How that reducer of the first phase ended, as long as its inputs may not say so."""
    state = _read(unit).ends.get(reducer)
    return None if state is None else TaskState(state)


def end_inputs(unit: Unit) -> Script[bool]:
    """A page; whether there are more."""
    ending = _read(unit)
    rows: list[Any] = yield Op("inputs_recorded", (unit.job.job_id, ending.after, RESOLVE_PAGE))
    for task_id, reducer, state in rows:
        ending.after = task_id
        if state == TaskState.WAITING and reducer in ending.ends:
            unit.input_ends.append((ending.ends[reducer], unit.job.job_id, task_id))
    more = len(rows) == RESOLVE_PAGE
    _write(unit, ending if more else None)
    return more


def _read(unit: Unit) -> _Ending:
    return msgspec.json.decode(unit.job.ending, type=_Ending) if unit.job.ending else _Ending()


def _write(unit: Unit, ending: _Ending | None) -> None:
    unit.job.ending = "" if ending is None else msgspec.json.encode(ending).decode()
