"""Where a committed output without a name of its own goes: to the next phase, or, an object, to the job's output."""

from collections.abc import Callable

from jobs.model.outputs import phase_prefix
from jobs.model.states import PhaseCounts
from jobs.model.wire import Failure, Output, TaskKind
from manta.catalog.job_records import FoundObject
from manta.catalog.job_scripts.named import add_input, object_version
from manta.catalog.job_scripts.unit import Unit
from manta.catalog.ops import Op, Script
from manta.catalog.records import ROOT_ACCOUNT, BucketKind
from manta.catalog.task_records import TaskRow
from manta.core.errors import BadRequest
from manta.core.names import job_bucket

NewId = Callable[[], str]


def is_last(unit: Unit, phase: int) -> bool:
    return phase == len(unit.phases) - 1


def add_output(unit: Unit, task: TaskRow, output: Output, place: int, new_id: NewId, target: str) -> None:
    """A final output becomes an object; any other the input of the next phase, under the name it would have had."""
    key = output_key(unit.phases[task.phase], task, place)
    if output.inline is not None and output.size > unit.plan.inline_bytes(task.phase):
        raise BadRequest(f"Task {task.task_id} of job {task.job_id} reports an output whole that is to be stored.")
    if is_last(unit, task.phase):
        prefix = unit.plan.output[1] if unit.plan.output is not None else ""
        _add_object(unit, task, output, prefix + key, new_id(), target)
        return
    nodes = ",".join(output.nodes) if output.blob_id is not None else ""
    if output.blob_id is not None:
        unit.add_blobs.append((output.blob_id, output.size, nodes))
    found = FoundObject(key, "", output.size, output.blob_id, nodes)
    add_input(unit, task, output, found, job_bucket(unit.job.job_id))


def output_key(phase: PhaseCounts, task: TaskRow, place: int) -> str:
    """`map-0/00000012`, `reduce-1/00000000`: a map's task or a reducer's number; `-1` and so on for further outputs."""
    number = task.reducer if phase.kind is TaskKind.REDUCE else task.task_id
    return f"{phase_prefix(phase.kind, phase.number)}{number:08d}" + (f"-{place}" if place else "")


def _add_object(unit: Unit, task: TaskRow, output: Output, key: str, version_id: str, bucket: str) -> None:
    version = object_version(unit, output, key, version_id)
    unit.job.outputs += 1
    unit.objects.append((bucket, version))
    seq = unit.job.outputs + unit.job.outputs_gone
    unit.outputs.append((unit.job.job_id, seq, bucket, key, output.size, task.phase, task.task_id))


def target_bucket(unit: Unit) -> Script[str | Failure]:
    """Where final outputs go; the job's own bucket is made when first needed."""
    if unit.plan.output is None:
        bucket = job_bucket(unit.job.job_id)
        if not (yield Op("bucket_owner", (bucket,))):
            yield Op("bucket_ensure", (bucket, unit.job.owner_id, unit.now_ms, BucketKind.JOB))
        return bucket
    bucket = unit.plan.output[0]
    rows = yield Op("bucket_owner", (bucket,))
    if not rows:
        return Failure("ResourceNotFound", f"The bucket {bucket!r} of `output` does not exist any more.")
    if unit.job.owner_id not in (rows[0][0], ROOT_ACCOUNT):
        return Failure("AccessDenied", f"The bucket {bucket!r} of `output` belongs to another account now.")
    return bucket
