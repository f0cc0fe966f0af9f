"""Jobs without nodes: documents, objects to compute on, and agents that answer at once."""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec

from jobs.model.document import parse_document
from jobs.model.wire import AttemptRef, Failure, Output, TaskResult, Usage
from jobs.scheduler.expiry import Expiry
from manta.catalog.job_chunks import encode_chunks
from manta.catalog.job_records import NewJob, Stirred
from manta.catalog.job_scripts.loss import merge
from manta.catalog.job_store import JobStore
from manta.catalog.records import Attributes, Blob, ObjectVersion
from manta.catalog.task_records import TaskRow
from manta.core.limits import TASK_TIMEOUT_DEFAULT_S
from manta.core.names import new_id, new_job_id
from manta.core.peers import PeerSource

MAP = {"type": "map", "exec": "wc"}
REDUCE = {"type": "reduce", "exec": "cat"}


def new_job(now_ms: int, phases: Sequence[dict[str, Any]], inputs: Sequence[object], **more: Any) -> NewJob:
    """A job of `alice`; `owner`, `idempotency` and properties of the document may be given."""
    owner = more.pop("owner", "alice")
    once = more.pop("idempotency", None)
    document = parse_document(msgspec.json.encode({"phases": list(phases), "inputs": list(inputs), **more}))
    chunks = tuple(encode_chunks(document.inputs))
    return NewJob(new_job_id(now_ms), owner, document.plan, now_ms, chunks, document.end, once)


def stored(now_ms: int, key: str, nodes: tuple[str, ...] = ("n1", "n2"), size: int = 10) -> ObjectVersion:
    """An object whose bytes lie on `nodes`; without a blob for size 0."""
    blob = Blob(new_id(now_ms), size, nodes) if size else None
    return ObjectVersion(key, new_id(now_ms), size, "e" * 32, now_ms, blob, Attributes())


def further_slot(now_ms: int, timeout_s: float = TASK_TIMEOUT_DEFAULT_S) -> str:
    """A blob id as a gateway gives it for an output beside the task's own: born at the end of the task's time."""
    return new_id(now_ms + int(timeout_s * 1000))


def ref(task: TaskRow) -> AttemptRef:
    return AttemptRef(task.job_id, task.task_id, task.attempt)


def output(blob_id: str | None, nodes: tuple[str, ...], size: int = 3, reducer: int | None = None) -> Output:
    data = b"x" * size
    return Output(blob_id if size else None, size, hashlib.md5(data).digest(), bytes(8), nodes if size else (), reducer)


def success(attempt: AttemptRef, outputs: Sequence[Output] = ()) -> TaskResult:
    return TaskResult(attempt, Usage(1, 2, 0.5, in_place_bytes=10), tuple(outputs))


def failure(attempt: AttemptRef, *, retryable: bool = False, code: str = "UserTaskError") -> TaskResult:
    return TaskResult(attempt, Usage(1, 2, 0.5), failure=Failure(code, "It failed.", 1, None, retryable))


async def expire(jobs: JobStore, alive: Collection[str], dead: Mapping[str, float]) -> Stirred:
    """One round of the scheduler's, by a process that just began."""
    return merge([part async for part in Expiry(jobs).round(alive, dead)])


class NoPlacement:
    """Implements the scheduler's Placement for nodes that hold everything themselves."""

    def copies(self, blob_id: str, node_id: str, ttl_s: float, avoid: Collection[str] = ()) -> tuple[PeerSource, ...]:
        return ()

    def takes_tasks(self, node_id: str) -> bool:
        return True

    def sources(self, blob_id: str, nodes: Sequence[str], ttl_s: float) -> tuple[PeerSource, ...]:
        return tuple(PeerSource(node, f"http://{node}", "token") for node in nodes)
