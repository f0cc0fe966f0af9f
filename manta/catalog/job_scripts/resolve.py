"""The script that turns written inputs into tasks, one page of the catalog at a time, each pinned to a version."""

from collections.abc import Sequence
from itertools import takewhile

import msgspec

from jobs.model.inputs import InputSpec, why_malformed
from jobs.model.states import TaskState
from jobs.model.where import Where
from jobs.model.wire import Failure, TaskKind
from manta.auth.policy import Action, Resource
from manta.catalog.job_chunks import decode_chunk
from manta.catalog.job_records import FoundObject
from manta.catalog.job_scripts.map_tasks import add_map_input
from manta.catalog.job_scripts.rights import find_bucket, is_going, may, unreadable
from manta.catalog.job_scripts.unit import Unit
from manta.catalog.ops import Op, Row, Script
from manta.catalog.packing import unpack_attributes
from manta.catalog.task_records import INPUT_ONLY, TaskRow
from manta.core.limits import RESOLVE_PAGE
from manta.core.names import JOB_BUCKET_PREFIX


def resolve_page(unit: Unit) -> Script[bool]:
    """One page; whether there may be more. The first phase is complete when there is no more and the input is ended."""
    budget = RESOLVE_PAGE
    while budget > 0:
        chunks = yield Op("chunk_next", (unit.job.job_id,))
        if not chunks:
            copying = unit.job.clone_of is not None
            unit.phases[0].complete = bool(unit.job.input_ended) and not copying
            return copying
        budget = yield from _resolve_chunk(unit, chunks[0], budget)
    return True


def _resolve_chunk(unit: Unit, chunk: Row, budget: int) -> Script[int]:
    """As much of the chunk as the budget allows; what is left of that."""
    number, data, position, after = chunk
    specs = decode_chunk(data)
    position, after, budget = yield from resolve_specs(unit, specs, position, after, budget)
    yield Op("chunk_save", (position, after, int(position >= len(specs)), unit.job.job_id, number))
    return budget


def resolve_specs(
    unit: Unit, specs: Sequence[InputSpec], position: int, after: str, budget: int
) -> Script[tuple[int, str, int]]:
    """From that spec and key on, as far as the budget allows: where to go on from, and what is left of it."""
    while position < len(specs) and budget > 0:
        keys = list(takewhile(lambda spec: spec.key is not None or spec.malformed is not None, specs[position:]))
        if keys:
            resolved, spent = yield from _resolve_keys(unit, keys[:budget], budget)
            position, after, budget = position + resolved, "", budget - spent
            continue
        spent, after = yield from _resolve_listing(unit, specs[position], after, budget)
        budget -= max(spent, 1)
        position += not after
    return position, after, budget


def _resolve_keys(unit: Unit, specs: Sequence[InputSpec], budget: int) -> Script[tuple[int, int]]:
    """Exact keys, in the order in which they were written, looked up bucket by bucket: (how many, tasks made).

    A page ends when its tasks are as many as the budget: the last input may be split into many.
    """
    found: dict[tuple[str, str], FoundObject] = {}
    buckets: dict[str, Resource | None] = {}
    if not unit.stopped:
        by_bucket: dict[str, list[str]] = {}
        for spec in specs:
            if spec.key is not None:
                by_bucket.setdefault(spec.bucket, []).append(spec.key)
        for bucket, keys in by_bucket.items():
            buckets[bucket] = yield from find_bucket(bucket)
            if buckets[bucket] is None:
                continue
            rows = yield Op("objects_find", (bucket, list(dict.fromkeys(keys))))
            found.update({(bucket, row[0]): FoundObject(*row) for row in rows})
    made = 0
    for place, spec in enumerate(specs):
        if made >= budget:
            return place, budget
        made += _add_key(unit, spec, found.get((spec.bucket, spec.key or "")), buckets.get(spec.bucket))
    return len(specs), made


def _add_key(unit: Unit, spec: InputSpec, found: FoundObject | None, bucket: Resource | None) -> int:
    """How many tasks it is."""
    if unit.stopped:
        _add_failed(unit, spec, Failure("JobCancelled", unit.job.cancel_reason or ""), TaskState.CANCELLED)
    elif spec.malformed is not None:
        _add_failed(unit, spec, Failure("InvalidInput", why_malformed(spec.malformed)))
    elif bucket is None:
        _add_failed(unit, spec, _no_bucket(spec.bucket))
    elif refused := unreadable(unit.job.owner_id, bucket, spec.key or ""):
        _add_failed(unit, spec, refused)
    elif found is None:
        _add_failed(
            unit, spec, Failure("ResourceNotFound", f"The object s3://{spec.bucket}/{spec.key} does not exist.")
        )
    else:
        return _add_found(unit, spec.bucket, found)
    return 1


def _resolve_listing(unit: Unit, spec: InputSpec, after: str, budget: int) -> Script[tuple[int, str]]:
    """(keys looked at or tasks made, the last key, or "" when the listing is through)."""
    if unit.stopped:
        return 0, ""
    bucket = yield from find_bucket(spec.bucket)
    if bucket is None or not may(unit.job.owner_id, Action.LIST, bucket):
        _add_failed(unit, spec, _no_bucket(spec.bucket) if bucket is None else _not_listed(spec.bucket))
        return 1, ""
    rows = yield Op("objects_page", (spec.bucket, spec.listing_prefix, after, budget))
    if bucket.is_job and (yield from is_going(spec.bucket)):
        _add_failed(unit, spec, _going(spec.bucket))
        return 1, ""
    made = 0
    for row in rows:
        found = FoundObject(*row)
        made += _add_listed(unit, spec, bucket, found)
        if made >= budget:
            return budget, found.key
    return len(rows), rows[-1][0] if len(rows) == budget else ""


def _add_listed(unit: Unit, spec: InputSpec, bucket: Resource, found: FoundObject) -> int:
    """How many tasks, or failed inputs, it is: none if it is not meant."""
    if not spec.matches(found.key):
        return 0
    refused = unreadable(unit.job.owner_id, bucket, found.key)
    if not _is_chosen(spec.where, found, may_read=refused is None):
        return 0
    if refused is None:
        return _add_found(unit, spec.bucket, found)
    _add_failed(unit, InputSpec(spec.bucket, key=found.key), refused)
    return 1


def _is_chosen(where: Where | None, found: FoundObject, *, may_read: bool) -> bool:
    """Who may list but not read hears of sizes and dates, as in a listing, and nothing of metadata."""
    if where is None:
        return True
    asked = where if may_read else msgspec.structs.replace(where, metadata=())
    return asked.matches(found.size, found.modified_ms, lambda: unpack_attributes(found.attributes).metadata)


def _no_bucket(bucket: str) -> Failure:
    said = f"The bucket {bucket!r} does not exist"
    if bucket.startswith(JOB_BUCKET_PREFIX):
        said += ": its job has put nothing out yet, or is gone; what a job with `output` puts out lies under that"
    return Failure("ResourceNotFound", f"{said}.")


def _going(bucket: str) -> Failure:
    job_id = bucket.removeprefix(JOB_BUCKET_PREFIX)
    return Failure("ResourceNotFound", f"The job {job_id} is being removed, and its outputs with it.")


def _not_listed(bucket: str) -> Failure:
    return Failure(
        "AccessDenied", f"The bucket {bucket!r} belongs to another account, which does not let yours list it."
    )


def _add_found(unit: Unit, bucket: str, found: FoundObject) -> int:
    """How many tasks it is."""
    unit.job.inputs += 1
    if found.blob_id is not None:
        unit.retain.append((found.blob_id,))
    if unit.phases[0].kind is TaskKind.REDUCE:
        reducer = unit.add_shuffle(0, None, bucket, found)
        unit.new_task(
            INPUT_ONLY,
            TaskState.WAITING,
            bucket=bucket,
            key=found.key,
            version_id=found.version_id,
            reducer=reducer,
            first_input=f"{bucket}/{found.key}",
        )
        return 1
    return add_map_input(unit, 0, bucket, found, f"{bucket}/{found.key}")


def _add_failed(unit: Unit, spec: InputSpec, failure: Failure, state: TaskState = TaskState.FAILED) -> None:
    """An input that never becomes a task to run is still an input that ends (J3).

    A negative size tells `as_written` that the key is a listing's, and where its prefix ends; `slot`, which only tasks
    that run have, holds its `where`.
    """
    unit.job.inputs += 1
    key = spec.key or spec.malformed or spec.prefix + (spec.glob or "")
    phase = INPUT_ONLY if unit.phases[0].kind is TaskKind.REDUCE else 0
    listed = spec.key is None and spec.malformed is None
    task = unit.new_task(
        phase,
        state,
        bucket=spec.bucket,
        key=key,
        size=-1 - len(spec.prefix) if listed else 0,
        first_input=f"{spec.bucket}/{key}" if spec.bucket else key,
        slot=None if spec.where is None else msgspec.json.encode(spec.where).decode(),
    )
    unit.error(task, failure)


def as_written(task: TaskRow) -> InputSpec:
    """The input of a task that `_add_failed` made, to be looked up once more."""
    if not task.bucket:
        return InputSpec("", malformed=task.key)
    if task.size >= 0:
        return InputSpec(task.bucket, key=task.key)
    prefix_chars = -1 - task.size
    where = None if task.slot is None else msgspec.json.decode(task.slot, type=Where)
    return InputSpec(task.bucket, prefix=task.key[:prefix_chars], glob=task.key[prefix_chars:] or None, where=where)
