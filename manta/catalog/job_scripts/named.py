"""Outputs that name objects: looked up before a report is applied, then committed with their task or refused."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from jobs.model.outputs import META_PREFIX, base_key, check_output_headers
from jobs.model.wire import Failure, Output, TaskKind, TaskResult
from manta.auth.policy import Action, Resource
from manta.catalog.job_records import FoundObject
from manta.catalog.job_scripts.map_tasks import add_map_input
from manta.catalog.job_scripts.rights import find_bucket, may, unreadable
from manta.catalog.job_scripts.unit import Unit
from manta.catalog.ops import Op, Script
from manta.catalog.records import Attributes, Blob, BucketKind, Checksum, ObjectVersion
from manta.catalog.task_records import TaskRow
from manta.core.checksums import Algorithm
from manta.core.errors import BadRequest
from manta.core.limits import REDUCER_NUMBER_MAX
from manta.core.names import JOB_BUCKET_PREFIX, check_bucket, check_id, check_key, job_bucket


@dataclass(slots=True)
class Names:
    """What the outputs of one report name, in this transaction. `buckets`: None for one that is not there."""

    buckets: dict[str, Resource | None] = field(default_factory=dict)
    objects: dict[tuple[str, str], FoundObject] = field(default_factory=dict)


def check_names(result: TaskResult) -> None:
    """BadRequest for what no agent of ours reports."""
    targets: set[tuple[str, str]] = set()
    for output in result.outputs:
        if output.reducer is not None and not 0 <= output.reducer <= REDUCER_NUMBER_MAX:
            raise BadRequest(f"Task {result.attempt.task_id} of job {result.attempt.job_id} names an odd reducer.")
        if not output.bucket:
            if output.key or output.headers or output.side or output.version_id is not None:
                raise BadRequest("An output without a bucket has no key, headers or version.")
            continue
        check_bucket(output.bucket)
        check_key(output.key)
        if output.version_id is not None:
            _check_reference(output)
        elif (output.bucket, output.key) in targets:
            raise BadRequest("A task has the same name for two outputs.")
        else:
            targets.add((output.bucket, output.key))
            check_output_headers(output.headers)


def _check_reference(output: Output) -> None:
    if output.version_id:
        check_id(output.version_id)
    if output.blob_id is not None or output.nodes or output.headers or output.side:
        raise BadRequest("An output by reference has nothing but its name and version.")


def look_up(unit: Unit, batch: Sequence[TaskResult]) -> Script[Names]:
    """The buckets and the objects that the batch names; the job's own bucket is made when first named."""
    names = Names()
    named = [output for result in batch if result.failure is None for output in result.outputs if output.bucket]
    own = job_bucket(unit.job.job_id)
    if any(output.bucket == own and output.version_id is None for output in named):
        yield Op("bucket_ensure", (own, unit.job.owner_id, unit.now_ms, BucketKind.JOB))
    for bucket in sorted({output.bucket for output in named}):
        names.buckets[bucket] = yield from find_bucket(bucket)
        keys = sorted({one.key for one in named if one.bucket == bucket and one.version_id})
        if keys:
            found = yield Op("objects_find", (bucket, keys))
            names.objects.update({(bucket, row[0]): FoundObject(*row) for row in found})
    return names


def refusal(unit: Unit, task: TaskRow, outputs: Iterable[Output], names: Names) -> Failure | None:
    """Why the outputs cannot be committed with the owner's rights; an object that changed meanwhile is tried again."""
    for output in outputs:
        if output.bucket:
            refused = _unreadable if output.version_id is not None else _unwritable
            failure = refused(unit, task, output, names)
            if failure is not None:
                return failure
    return None


def _unreadable(unit: Unit, task: TaskRow, output: Output, names: Names) -> Failure | None:
    where = f"s3://{output.bucket}/{output.key}"
    if _is_input(task, output):
        if output.version_id or not _is_last(unit, task):
            return None
        return Failure("ResourceNotFound", f"{where} vanishes with the job: put it out by mpipe, not by mcat.")
    bucket = names.buckets[output.bucket]
    if bucket is not None and (refused := unreadable(unit.job.owner_id, bucket, output.key)):
        return refused
    found = names.objects.get((output.bucket, output.key))
    if found is None or found.version_id != output.version_id:
        return Failure("ResourceNotFound", f"{where} changed while a task put it out by reference.", retryable=True)
    return None


def _unwritable(unit: Unit, task: TaskRow, output: Output, names: Names) -> Failure | None:
    where = f"s3://{output.bucket}/{output.key}"
    if output.bucket.startswith(JOB_BUCKET_PREFIX):
        if output.bucket == job_bucket(unit.job.job_id) and output.key.startswith(_base(unit, task)):
            return None
        return Failure("AccessDenied", f"In a job's bucket a task has the names below its MANTA_OUTPUT_BASE: {where}.")
    bucket = names.buckets[output.bucket]
    if bucket is None:
        return Failure("ResourceNotFound", f"The bucket of the output {where} does not exist.")
    if not may(unit.job.owner_id, Action.WRITE, bucket):
        return Failure("AccessDenied", f"The job's owner may not write {where}.")
    return None


def _base(unit: Unit, task: TaskRow) -> str:
    return base_key(unit.phases[task.phase].kind, task.phase, task.task_id)


def _is_input(task: TaskRow, output: Output) -> bool:
    """A task's own input is pinned as long as it runs, whatever became of its name."""
    return bool(task.bucket) and (task.bucket, task.key, task.version_id) == (
        output.bucket,
        output.key,
        output.version_id,
    )


def add_named(unit: Unit, task: TaskRow, output: Output, names: Names, version_id: str) -> None:
    """The outputs of a task that `refusal` has let through: an object for each name, and input of the next phase."""
    if output.version_id is not None:
        found = names.objects.get((output.bucket, output.key))
        if _is_input(task, output):
            found = FoundObject(task.key, task.version_id, task.size, task.blob_id, task.holders)
        assert found is not None, "refusal was asked"
        if not _is_last(unit, task):
            _retain(unit, found.blob_id)
            add_input(unit, task, output, found, output.bucket)
        else:
            _line(unit, task, output, found.size)
        return
    version = object_version(unit, output, output.key, version_id)
    if _is_last(unit, task) or output.side:
        unit.objects.append((output.bucket, version))
        if not output.side:
            _line(unit, task, output, output.size)
        return
    nodes = ",".join(output.nodes) if output.blob_id is not None else ""
    if output.blob_id is not None:
        unit.add_blobs.append((output.blob_id, output.size, nodes))
    unit.links.append((output.bucket, version))
    found = FoundObject(output.key, version_id, output.size, output.blob_id, nodes)
    add_input(unit, task, output, found, output.bucket)


def add_input(unit: Unit, task: TaskRow, output: Output, found: FoundObject, bucket: str) -> None:
    """An input of the next phase; its blob's reference is the caller's."""
    following = unit.phases[task.phase + 1]
    if following.kind is TaskKind.REDUCE:
        unit.add_shuffle(following.number, output.reducer, bucket, found, output.inline)
        return
    add_map_input(unit, following.number, bucket, found, task.first_input)


def object_version(unit: Unit, output: Output, key: str, version_id: str) -> ObjectVersion:
    """The object that an output becomes."""
    blob = None if output.blob_id is None else Blob(output.blob_id, output.size, tuple(output.nodes))
    plain = {name: value for name, value in output.headers.items() if not name.startswith(META_PREFIX)}
    metadata = {name[len(META_PREFIX) :]: output.headers[name] for name in output.headers if name not in plain}
    crc = Checksum(Algorithm.CRC64NVME, output.crc64nvme)
    return ObjectVersion(
        key=key,
        version_id=version_id,
        size=output.size,
        etag=output.md5.hex(),
        modified_ms=unit.now_ms,
        blob=blob,
        attributes=Attributes(headers=plain, metadata=metadata, checksums=(crc,)),
    )


def _retain(unit: Unit, blob_id: str | None) -> None:
    if blob_id is not None:
        unit.retain.append((blob_id,))


def _line(unit: Unit, task: TaskRow, output: Output, size: int) -> None:
    unit.job.outputs += 1
    seq = unit.job.outputs + unit.job.outputs_gone
    unit.outputs.append((unit.job.job_id, seq, output.bucket, output.key, size, task.phase, task.task_id))


def _is_last(unit: Unit, task: TaskRow) -> bool:
    return task.phase == len(unit.phases) - 1
