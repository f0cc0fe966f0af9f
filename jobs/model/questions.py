"""Messages of the calls by which an agent asks for what its tasks need, beside leases and reports (`wire`)."""

from enum import StrEnum

import msgspec

from jobs.model.wire import VERSION, AttemptRef, InputRef, OutputSlot
from manta.core.peers import PeerSource


class InputsRequest(msgspec.Struct, frozen=True):
    node_id: str
    attempt: AttemptRef
    after: int = 0
    limit: int = 1000
    version: int = VERSION


class InputsReply(msgspec.Struct, frozen=True):
    """`next_after` is None at the end. A reducer is leased only when its phase's input is complete."""

    inputs: tuple[InputRef, ...]
    next_after: int | None
    version: int = VERSION


class SlotsRequest(msgspec.Struct, frozen=True):
    """`further`: for outputs beside the task's own slot, which stays as it is. `avoid`: nodes that took no copy."""

    node_id: str
    attempt: AttemptRef
    count: int
    avoid: tuple[str, ...] = ()
    further: bool = False
    version: int = VERSION


class SlotsReply(msgspec.Struct, frozen=True):
    slots: tuple[OutputSlot, ...]
    version: int = VERSION


class Purpose(StrEnum):
    READ = "read"
    WRITE = "write"


class ObjectsRequest(msgspec.Struct, frozen=True):
    """`names` are (bucket, key). WRITE asks only whether outputs of these names would be accepted."""

    node_id: str
    attempt: AttemptRef
    purpose: Purpose
    names: tuple[tuple[str, str], ...]
    version: int = VERSION


class NamedObject(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a name stands for now; `code` and `message` say why it cannot be had."""

    size: int = 0
    blob_id: str | None = None
    version_id: str = ""
    sources: tuple[PeerSource, ...] = ()
    code: str = ""
    message: str = ""


class ObjectsReply(msgspec.Struct, frozen=True):
    """One for each name asked for, in that order."""

    objects: tuple[NamedObject, ...]
    version: int = VERSION


class ListingRequest(msgspec.Struct, frozen=True):
    node_id: str
    attempt: AttemptRef
    bucket: str
    prefix: str = ""
    after: str = ""
    limit: int = 1000
    version: int = VERSION


class ListingReply(msgspec.Struct, frozen=True):
    """(key, size) in byte order; `next_after` is None at the end. `code` and `message` say why there is no listing."""

    keys: tuple[tuple[str, int], ...] = ()
    next_after: str | None = None
    code: str = ""
    message: str = ""
    version: int = VERSION


class JobsRequest(msgspec.Struct, frozen=True):
    """At most JOBS_ASKED_MAX."""

    node_id: str
    job_ids: tuple[str, ...]
    version: int = VERSION


class JobsReply(msgspec.Struct, frozen=True):
    """`gone`: those that were removed, or never were."""

    gone: tuple[str, ...]
    version: int = VERSION


class StderrTail(msgspec.Struct, frozen=True):
    """The last of what an attempt said, of `said` bytes in all. `attempt` is 0 where the node does not know it: nothing
    was said, or the node was restarted since."""

    attempt: int
    said: int
    data: bytes
    version: int = VERSION


class StderrPiece(msgspec.Struct, frozen=True):
    """What a task said, no letter of it cut; `ended`: its attempt says no more."""

    task_id: int
    data: bytes
    ended: bool = False


class StderrNews(msgspec.Struct, frozen=True):
    """The next pieces are asked for behind `last`. `missing`: some before or among these are gone: nobody
    asked in time, or they came too fast."""

    pieces: tuple[StderrPiece, ...]
    last: int
    missing: bool = False
    version: int = VERSION
