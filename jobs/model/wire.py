"""Messages between the scheduler (in a gateway) and the agents (on nodes): msgpack bodies over HTTP.

Calls, all `POST`, all signed with the node's own key (see `storage_nodes.token`):

    /_manta/node/v1/lease    LeaseRequest  → LeaseReply    long poll
    /_manta/node/v1/report   ReportRequest → ReportReply   batched
    /_manta/node/v1/inputs   InputsRequest → InputsReply   a reducer's inputs, in pages
    /_manta/node/v1/slots    SlotsRequest  → SlotsReply    new output slots, for further outputs or after a dead peer
    /_manta/node/v1/objects  ObjectsRequest → ObjectsReply  objects that a task's programs name, by its owner's rights
    /_manta/node/v1/jobs     JobsRequest → JobsReply       which jobs are gone, whose stderr a node keeps
    /_manta/node/v1/listing  ListingRequest → ListingReply  a page of a bucket's keys, by its owner's rights

The messages of the first two are here, those of the others in `jobs.model.questions`. Every message carries a version.
A receiver ignores fields it does not know, so that neighbours one version apart work together.
"""

from enum import StrEnum
from typing import TypeVar

import msgpack
import msgspec

from jobs.model.program import PackedProgram
from jobs.model.resources import Capacity, Used
from manta.core.errors import BadRequest
from manta.core.peers import PeerSource

VERSION = 1


class TaskKind(StrEnum):
    MAP = "map"
    REDUCE = "reduce"


class PhaseSpec(msgspec.Struct, frozen=True):
    """What every task of a phase shares. `tenant` is the owner's account id: zones are never shared across tenants.

    `assets` are (bucket, key), as is `image`. With a `program`, `exec` is what runs it.
    """

    job_id: str
    phase: int
    tenant: str
    kind: TaskKind
    exec: str
    init: str | None
    memory_bytes: int
    scratch_bytes: int
    timeout_s: float
    env: dict[str, str]
    reducers: int
    assets: tuple[tuple[str, str], ...] = ()
    image: tuple[str, str] | None = None
    cpus: float | None = None
    program: PackedProgram | None = None
    inline_bytes: int = 0
    """Outputs without a name and up to this size are reported whole, instead of being stored here."""


class InputRef(msgspec.Struct, frozen=True):
    """One pinned object version. `blob_id` is None for zero bytes. `sources` are the nodes that hold a copy.

    `range` is nominal (jobs.model.ranges): the task reads the lines that begin in it. `inline` is the whole input.
    """

    bucket: str
    key: str
    size: int
    blob_id: str | None
    sources: tuple[PeerSource, ...] = ()
    range: tuple[int, int] | None = None
    inline: bytes | None = None


class OutputSlot(msgspec.Struct, frozen=True):
    """Where one output goes: written here first under `blob_id`, then to each of `copies` (tokens allow just that)."""

    blob_id: str
    copies: tuple[PeerSource, ...] = ()


class BatchInput(msgspec.Struct, frozen=True):
    """One input of a batch: run, reported and named by its own number."""

    number: int
    input: InputRef
    slot: OutputSlot


class TaskLease(msgspec.Struct, frozen=True):
    """One attempt of one task, granted to this node. `input` is for map tasks; reducers page theirs by /inputs."""

    job_id: str
    phase: int
    task_id: int
    attempt: int
    slot: OutputSlot
    input: InputRef | None = None
    reducer: int = 0
    """Number of this reducer, from 0."""
    batch: tuple[BatchInput, ...] = ()
    """With these, the task runs for each of them, one after another; `input` is the first of them."""

    @property
    def weight(self) -> int:
        """How many inputs it counts for."""
        return max(1, len(self.batch))


class AttemptRef(msgspec.Struct, frozen=True):
    job_id: str
    task_id: int
    attempt: int


class Standing(msgspec.Struct, frozen=True):
    """How things stand in a node's lanes, told with its polls and its reports.

    `queued` are (job id, phase, how many inputs) that wait for a lane, for room, or for a zone that takes long to
    build: leased, but not running. What is about to begin counts as if it had: beside it `used` of the node's capacity
    is promised, and `lanes` are free for any task, and the one in `reserve` for a job of which nothing runs. `jobs`
    are those of which something does.
    So many tasks more as there is `room` for are welcome, but none of `blocked_jobs`, whose zones take long to build,
    or for whose tasks there is too little left.
    `heard` are the first tasks of the last answers with any: of each gateway, to ordinary polls and to the others.
    The higher `number` is newer.
    """

    queued: tuple[tuple[str, int, int], ...] = ()
    used: Used = Used()
    lanes: int = 0
    reserve: bool = False
    jobs: tuple[str, ...] = ()
    room: int | None = None
    blocked_jobs: tuple[str, ...] = ()
    heard: tuple[AttemptRef, ...] = ()
    number: int = 0

    @property
    def longest(self) -> int:
        """The length of its longest list."""
        return max(len(self.queued), len(self.jobs), len(self.blocked_jobs), len(self.heard))


class LeaseRequest(msgspec.Struct, frozen=True):
    """`held` names every attempt the node still works on or has not reported; what it does not name is offered again.

    `epoch` is made anew at each start of the agent: attempts of an earlier epoch are lost at once.
    `known_phases` are (job id, phase) whose spec the agent has, so that it is not sent again. A poll with `reserve`
    asks beside the ordinary ones, for the lane a node keeps for jobs that have no task running (J8); it renews nothing,
    and names no more than what `arrived` with the last such poll that was answered: other answers got lost.
    `started` are those of `held` whose task runs now; `returned` are others, handed back: they never ran here, or,
    if they are among `started`, the agent stopped them itself, at its end or for want of word from any gateway.
    `idle_lanes` have nothing to do at all: they may try again what runs too long elsewhere.
    `ends`: the agent's last, in an epoch of its own; what it does not hand back never reached it.
    """

    node_id: str
    epoch: str
    free_lanes: int
    wait_s: float
    held: tuple[AttemptRef, ...] = ()
    known_phases: tuple[tuple[str, int], ...] = ()
    reserve: bool = False
    arrived: tuple[AttemptRef, ...] = ()
    started: tuple[AttemptRef, ...] = ()
    returned: tuple[AttemptRef, ...] = ()
    capacity: Capacity | None = None
    idle_lanes: int = 0
    standing: Standing = Standing()
    ends: bool = False
    version: int = VERSION


class LeaseReply(msgspec.Struct, frozen=True):
    """`lost`: attempts of `held` that are no longer this node's (cancelled, expired): kill and forget them.

    `recalled` are to be handed back if they still wait: another node could begin them at once.
    """

    tasks: tuple[TaskLease, ...] = ()
    phases: tuple[PhaseSpec, ...] = ()
    lost: tuple[AttemptRef, ...] = ()
    recalled: tuple[AttemptRef, ...] = ()
    ended_jobs: tuple[str, ...] = ()
    version: int = VERSION


class Output(msgspec.Struct, frozen=True, omit_defaults=True):
    """A durable output on `nodes`. `blob_id` is None for zero bytes; `md5` and `crc64nvme` are of the whole.

    One with `inline` is on no node: that is the whole of it, durable with the report.

    A named output becomes the object `bucket`/`key`, with `headers`; a `side` one is stored without being an output of
    the task. With `version_id` it is that very version of an existing object, by reference: nothing was written.
    """

    blob_id: str | None
    size: int
    md5: bytes
    crc64nvme: bytes
    nodes: tuple[str, ...] = ()
    reducer: int | None = None
    bucket: str = ""
    key: str = ""
    headers: dict[str, str] = {}
    side: bool = False
    version_id: str | None = None
    inline: bytes | None = None


class Usage(msgspec.Struct, frozen=True):
    """`in_place`: map input read on this node. `moved` (map), `shuffled` (reduce): input that came from others.

    `copied`: what was sent to further nodes of the attempt's outputs.
    """

    started_ms: int
    ended_ms: int
    task_seconds: float
    in_place_bytes: int = 0
    moved_bytes: int = 0
    shuffled_bytes: int = 0
    copied_bytes: int = 0


class Failure(msgspec.Struct, frozen=True):
    """Why an attempt failed; `code` is one of docs/jobs.md's. `retryable`: the store's fault, not the user's."""

    code: str
    message: str
    exit_status: int | None = None
    signal: int | None = None
    retryable: bool = False


class TaskResult(msgspec.Struct, frozen=True):
    """`failure` is None for success. `stderr` is the tail for the error record; the whole stays on the node.

    Of a batch `members` are the results of its inputs, by their numbers, and `failure` is what kept all from running.
    """

    attempt: AttemptRef
    usage: Usage
    outputs: tuple[Output, ...] = ()
    failure: Failure | None = None
    stderr: bytes = b""
    members: tuple["TaskResult", ...] = ()

    @property
    def weight(self) -> int:
        return max(1, len(self.members))

    @property
    def output_count(self) -> int:
        return len(self.outputs) + sum(len(member.outputs) for member in self.members)


class StoppedAttempt(msgspec.Struct, frozen=True):
    """One that was taken away, and what it had used: for its job's cost, if it ended with the job."""

    attempt: AttemptRef
    usage: Usage


class ReportRequest(msgspec.Struct, frozen=True):
    """`stopped` are told until a gateway has heard of them: it counts each once. `returned` are handed back, and never
    ran. `standing` is without all these."""

    node_id: str
    epoch: str
    results: tuple[TaskResult, ...]
    stopped: tuple[StoppedAttempt, ...] = ()
    standing: Standing | None = None
    returned: tuple[AttemptRef, ...] = ()
    version: int = VERSION


class ReportReply(msgspec.Struct, frozen=True):
    """`stale` results were not committed: their outputs are to be deleted here (the sweeper would, later). What the
    report handed back `is_taken`, but by a gateway of an earlier build, which does not know of it."""

    stale: tuple[AttemptRef, ...] = ()
    is_taken: bool = False
    version: int = VERSION


Message = TypeVar("Message", bound=msgspec.Struct)


def pack(message: msgspec.Struct) -> bytes:
    """The message as msgpack."""
    return bytes(msgpack.packb(msgspec.to_builtins(message, builtin_types=(bytes,)), use_bin_type=True))


def unpack(body: bytes, kind: type[Message]) -> Message:
    """The message of that kind, every field checked; `BadRequest` if it does not fit."""
    try:
        return msgspec.convert(msgpack.unpackb(body, raw=False, strict_map_key=True), kind)
    except (ValueError, msgspec.ValidationError, msgpack.UnpackException) as error:
        raise BadRequest(f"Not a {kind.__name__}: {error}.") from None
