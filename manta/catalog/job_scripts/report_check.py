"""What no agent of ours reports is refused before anything of it is looked up."""

from collections.abc import Sequence

from jobs.model.wire import AttemptRef, TaskResult, Usage
from manta.catalog.job_scripts.named import check_names
from manta.core.errors import BadRequest
from manta.core.limits import (
    BATCH_INPUTS_MAX,
    OBJECT_MAX_BYTES,
    REPORT_OUTPUTS_MAX,
    TASK_COUNTER_MAX,
    TASK_OUTPUTS_MAX,
)
from manta.core.names import check_id, check_node_id


def check_results(results: Sequence[TaskResult]) -> None:
    """BadRequest for what no agent of ours reports: a node runs strangers' code, and is believed in little."""
    if sum(result.output_count for result in results) > REPORT_OUTPUTS_MAX:
        raise BadRequest(f"A report has at most {REPORT_OUTPUTS_MAX} outputs: send its results one by one.")
    for result in results:
        _check_result(result)


def _check_result(result: TaskResult) -> None:
    check_usage(result.attempt, result.usage)
    if len(result.outputs) > TASK_OUTPUTS_MAX:
        raise BadRequest(f"A task has at most {TASK_OUTPUTS_MAX} outputs.")
    for output in result.outputs:
        nodes = output.nodes
        fits = 0 < output.size <= OBJECT_MAX_BYTES and bool(nodes)
        elsewhere = output.size == 0 or output.version_id is not None
        whole = fits if output.blob_id is not None else elsewhere or output.inline is not None
        if output.inline is not None:
            alone = output.blob_id is None and output.version_id is None and not output.bucket and not nodes
            whole = alone and 0 < len(output.inline) == output.size
        if not whole or len(set(nodes)) != len(nodes) or len(output.md5) != 16 or len(output.crc64nvme) != 8:
            raise BadRequest(f"Task {result.attempt.task_id} of job {result.attempt.job_id} reports an odd output.")
        for node_id in nodes:
            check_node_id(node_id)
        if output.blob_id is not None:
            check_id(output.blob_id)
    check_names(result)
    if result.members and (result.outputs or len(result.members) > BATCH_INPUTS_MAX):
        raise BadRequest(f"A batch has at most {BATCH_INPUTS_MAX} inputs, and no outputs but theirs.")
    for member in result.members:
        if member.members:
            raise BadRequest("An input of a batch is no batch.")
        _check_result(member)


def check_usage(attempt: AttemptRef, usage: Usage) -> None:
    """BadRequest unless every number is one that the catalog can add up. (A comparison with NaN never holds.)"""
    numbers = (
        usage.started_ms,
        usage.ended_ms,
        usage.task_seconds,
        usage.in_place_bytes,
        usage.moved_bytes,
        usage.shuffled_bytes,
        usage.copied_bytes,
    )
    if not all(0 <= number <= TASK_COUNTER_MAX for number in numbers):
        raise BadRequest(f"Task {attempt.task_id} of job {attempt.job_id} reports an odd usage.")
