"""What a job's owner may do with buckets, as they are in this transaction: asked for each input and named output."""

from collections.abc import Iterable

from jobs.model.wire import Failure
from manta.auth.policy import Action, Principal, Resource, allows
from manta.catalog.job_scripts.job_row import JobRow
from manta.catalog.job_scripts.unit import Unit
from manta.catalog.ops import Op, Script
from manta.catalog.records import ROOT_ACCOUNT
from manta.catalog.task_records import TaskRow
from manta.core.names import JOB_BUCKET_PREFIX, job_bucket


def denied_inputs(unit: Unit, tasks: Iterable[TaskRow]) -> Script[dict[int, Failure]]:
    """By number, the inputs of these tasks that the owner may not read any more. A bucket that is gone denies nothing:
    what is pinned stays readable when its owner removes its name."""
    denied: dict[int, Failure] = {}
    if unit.job.owner_id == ROOT_ACCOUNT:
        return denied
    buckets: dict[str, Resource | None] = {job_bucket(unit.job.job_id): None}
    for one in (one for task in tasks for one in task.inputs if one.bucket):
        if one.bucket not in buckets:
            buckets[one.bucket] = yield from find_bucket(one.bucket)
        bucket = buckets[one.bucket]
        refused = None if bucket is None else unreadable(unit.job.owner_id, bucket, one.key)
        if refused is not None:
            denied[one.task_id] = refused
    return denied


def find_bucket(name: str) -> Script[Resource | None]:
    """The bucket as rights see it; None where there is none."""
    rows = yield Op("bucket_owner", (name,))
    if not rows:
        return None
    owner_id, policy = rows[0]
    return Resource(owner_id, name.startswith(JOB_BUCKET_PREFIX), name, policy)


def is_going(bucket: str) -> Script[bool]:
    """Whether the job that the bucket belongs to is being removed: its objects go page by page, and what is left of
    them is not what it made. To be asked after they were listed: they go only once it says so."""
    rows = yield Op("job_get", (bucket.removeprefix(JOB_BUCKET_PREFIX),))
    return not rows or bool(JobRow(*rows[0]).doomed)


def may(owner_id: str, action: Action, bucket: Resource, key: str = "") -> bool:
    asked = Resource(bucket.owner_id, bucket.is_job, bucket.bucket, bucket.policy, key) if key else bucket
    return allows(Principal(owner_id, is_root=owner_id == ROOT_ACCOUNT), action, asked)


def unreadable(owner_id: str, bucket: Resource, key: str) -> Failure | None:
    """Why the owner may not read that object."""
    if may(owner_id, Action.GET, bucket, key):
        return None
    where = f"s3://{bucket.bucket}/{key}"
    return Failure("AccessDenied", f"The bucket of {where} belongs to another account, whose policy does not share it.")
