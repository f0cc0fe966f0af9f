"""A job's document as it may be written again: its defaults are told, its functions by their names and sizes. Pure."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from jobs.model.document import JobPlan, Phase
from jobs.model.inputs import InputSpec, parse_input
from jobs.model.program import PackedProgram
from jobs.model.units import scratch_most
from jobs.model.where import NUMBER_MAX, Where
from jobs.model.wire import TaskKind
from manta.core.names import split_uri

_SIZES: Final = (("T", 1 << 40), ("G", 1 << 30), ("M", 1 << 20), ("K", 1 << 10))
_DURATIONS: Final = (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1))
_DATES_MS: Final = (-62_135_596_800_000, 253_402_300_799_999)
"""The first and the last moment that a date can name."""


def written_plan(plan: JobPlan) -> dict[str, object]:
    """The document but for its inputs. What a phase does not say is left out, but for the limits that hold then."""
    document: dict[str, object] = {
        "name": plan.name,
        "phases": [_phase(phase) for phase in plan.phases],
        "output": None if plan.output is None else _uri(*plan.output),
        "max_errors": plan.max_errors,
    }
    return _said(document)


def written_input(spec: InputSpec) -> object:
    """As `s3://…` where that says it all, else as an object."""
    if spec.malformed is not None:
        return _malformed(spec, spec.malformed)
    short = _uri(spec.bucket, spec.prefix + (spec.key or "") + (spec.glob or ""))
    if parse_input(short) == spec:
        return short
    if spec.key is not None:
        return {"bucket": spec.bucket, "key": spec.key}
    where = None if spec.where is None else _where(spec.where)
    return {"bucket": spec.bucket, "prefix": spec.prefix, **_said({"glob": spec.glob, "where": where})}


def _malformed(spec: InputSpec, text: str) -> object:
    """What names nothing, as its text, unless that names something: of an empty key it is that of the whole bucket."""
    if parse_input(text) == spec:
        return text
    bucket, key = split_uri(text)
    return {"bucket": bucket, "key": key}


def _phase(phase: Phase) -> dict[str, object]:
    is_map = phase.kind is TaskKind.MAP
    return _said(
        {
            "type": phase.kind.value,
            "exec": phase.exec or None,
            "program": None if phase.program is None else _program(phase.program),
            "init": phase.init,
            "assets": [_uri(*asset) for asset in phase.assets] or None,
            "image": None if phase.image is None else _uri(*phase.image),
            "memory": _size(phase.memory_bytes),
            "disk": _size(min(phase.scratch_bytes, scratch_most(phase.memory_bytes))),
            "cpus": phase.cpus,
            "timeout": _duration(phase.timeout_s),
            "count": None if is_map else phase.count,
            "env": phase.env or None,
            "split": None if phase.split_bytes is None else _size(phase.split_bytes),
            "batch": phase.batch if is_map and phase.batch > 1 else None,
            "retries": phase.retries or None,
        }
    )


def _program(program: PackedProgram) -> dict[str, object]:
    """Its code is for the tasks alone."""
    return {"name": program.name, "python": program.python, "bytes": len(program.code)}


def _where(where: Where) -> dict[str, object]:
    size = _bounds(where.size_min, where.size_max, 0)
    modified = _bounds(where.modified_min_ms, where.modified_max_ms, -NUMBER_MAX)
    return _said(
        {
            "size": size or None,
            "modified": {bound: _date(at_ms) for bound, at_ms in modified.items()} or None,
            "metadata": dict(where.metadata) or None,
        }
    )


def _bounds(least: int, most: int, nothing: int) -> dict[str, int]:
    """Both are inclusive. A size below 0 cannot be written, but what is smaller than 0 can."""
    bounds = {"ge": least} if least != nothing else {}
    if most == NUMBER_MAX:
        return bounds
    return bounds | ({"le": most} if most >= 0 else {"lt": most + 1})


def _date(at_ms: int) -> str:
    first, last = _DATES_MS
    seconds, ms = divmod(min(max(at_ms, first), last), 1000)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=ms * 1000).isoformat()


def _uri(bucket: str, key: str) -> str:
    return f"s3://{bucket}/{key}"


def _size(size_bytes: int) -> str | int:
    """`256M` where it is a whole number of a unit."""
    return _in_units(size_bytes, _SIZES) or size_bytes


def _duration(seconds: float) -> str | float:
    """`10m` likewise."""
    return _in_units(seconds, _DURATIONS) or seconds


def _in_units(amount: float, units: Sequence[tuple[str, int]]) -> str:
    """In the largest of which there is a whole number; "" where there is none."""
    if not amount:
        return ""
    return next((f"{int(amount // unit)}{name}" for name, unit in units if amount % unit == 0), "")


def _said(values: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in values.items() if value is not None}
