"""What tasks' programs ask through their node: objects and listings, by the rights of the job's owner (S4).

A node signs with its own key and names an attempt; the answer is for the owner of that attempt, and only while it is
current: a node can ask no more than the tasks it runs may.
"""

from jobs.model.document import JobPlan
from jobs.model.outputs import base_key
from jobs.model.questions import ListingReply, ListingRequest, NamedObject, ObjectsReply, ObjectsRequest, Purpose
from jobs.scheduler.places import Placement
from manta.auth.policy import Action
from manta.catalog.task_records import TaskRow
from manta.core.errors import AccessDenied, BadRequest, MantaError
from manta.core.limits import NODE_TOKEN_TTL_S, PROGRAM_NAMES_MAX
from manta.core.names import JOB_BUCKET_PREFIX, check_bucket, check_key, job_bucket
from manta.gateway.access import authorize_owner, owner_principal, visible
from manta.gateway.context import Context

_LISTING_MAX = 1000


class TaskCalls:
    """Answers for the tasks of one gateway's nodes."""

    def __init__(self, placement: Placement) -> None:
        self._placement = placement

    async def objects(self, context: Context, request: ObjectsRequest) -> ObjectsReply:
        """For each name what it stands for, or why not. StaleAttempt; BadRequest for too many names."""
        if len(request.names) > PROGRAM_NAMES_MAX:
            raise BadRequest(f"At most {PROGRAM_NAMES_MAX} names are looked up at once.")
        task, owner_id, plan = await context.catalog.jobs.attempt_rights(request.node_id, request.attempt)
        asked = _Asked(context, self._placement, task, owner_id, plan)
        find = asked.readable if request.purpose is Purpose.READ else asked.writable
        found = []
        for bucket, key in request.names:
            try:
                found.append(await find(check_bucket(bucket), check_key(key)))
            except MantaError as error:
                _pass_on_our_own(error)
                found.append(NamedObject(code=error.code, message=f"s3://{bucket}/{key}: {error.message}"))
        return ObjectsReply(tuple(found))

    async def listing(self, context: Context, request: ListingRequest) -> ListingReply:
        """A page of keys, or why there is none. StaleAttempt."""
        _, owner_id, _ = await context.catalog.jobs.attempt_rights(request.node_id, request.attempt)
        limit = min(max(request.limit, 1), _LISTING_MAX)
        try:
            bucket = await context.catalog.get_bucket(check_bucket(request.bucket))
            authorize_owner(owner_id, Action.LIST, bucket)
        except MantaError as error:
            _pass_on_our_own(error)
            return ListingReply(code=error.code, message=f"s3://{request.bucket}: {error.message}")
        page = await context.catalog.list_objects(
            bucket.name, prefix=request.prefix, after=request.after, limit=limit
        )  # fmt: skip
        return ListingReply(tuple((one.key, one.size) for one in page.objects), page.next_after)


def _pass_on_our_own(error: MantaError) -> None:
    """The store's own trouble is no answer about a name: told as one, it would be the task's failure."""
    if error.status >= 500:
        raise error


class _Asked:
    """One attempt's rights."""

    def __init__(self, context: Context, placement: Placement, task: TaskRow, owner_id: str, plan: JobPlan) -> None:
        self._context = context
        self._placement = placement
        self._task = task
        self._owner_id = owner_id
        self._plan = plan

    async def readable(self, bucket: str, key: str) -> NamedObject:
        """The current version; of the task's own input the version that it reads."""
        for own in self._task.inputs:
            if own.bucket and (bucket, key) == (own.bucket, own.key):
                return self._object(own.size, own.blob_id, own.version_id, own.nodes)
        located = await self._context.catalog.locate(bucket, key)
        authorize_owner(self._owner_id, Action.GET, located.bucket, key)
        version = visible(owner_principal(self._owner_id), located, key)
        nodes = list(version.blob.nodes) if version.blob is not None else []
        return self._object(
            version.size, version.blob.blob_id if version.blob is not None else None, version.version_id, nodes
        )  # fmt: skip

    def _object(self, size: int, blob_id: str | None, version_id: str, nodes: list[str]) -> NamedObject:
        if blob_id is None:
            return NamedObject(size, None, version_id)
        ttl_s = self._plan.phases[self._task.phase].task_timeout_s + NODE_TOKEN_TTL_S
        return NamedObject(size, blob_id, version_id, self._placement.sources(blob_id, nodes, ttl_s))

    async def writable(self, bucket: str, key: str) -> NamedObject:
        """Nothing, when an output of that name would be accepted. The commit asks again."""
        if bucket.startswith(JOB_BUCKET_PREFIX):
            self._check_own(bucket, key)
        else:
            authorize_owner(self._owner_id, Action.WRITE, await self._context.catalog.get_bucket(bucket))
        return NamedObject()

    def _check_own(self, bucket: str, key: str) -> None:
        """Of buckets of jobs a task has its own names in its own job's: the bucket itself may still be to be made."""
        task = self._task
        own = job_bucket(task.job_id)
        kind = self._plan.phases[task.phase].kind
        bases = tuple(base_key(kind, task.phase, one.task_id) for one in task.inputs)
        if bucket != own or not key.startswith(bases):
            here = f", here {own}/{bases[0]}" if len(bases) == 1 else ""
            raise AccessDenied(
                f"In a job's bucket a task writes only names that begin with its $MANTA_OUTPUT_BASE{here}, "
                "as in `mpipe ${MANTA_OUTPUT_BASE}NAME`."
            )
