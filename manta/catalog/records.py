"""What the catalog records: plain frozen values, the same for every engine. Times are ms since the epoch."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from manta.core.checksums import Algorithm

ROOT_ACCOUNT = "root"


@dataclass(frozen=True, slots=True)
class Account:
    """A tenant. `id` is S3's canonical id (up to 64 characters), the root account's is `ROOT_ACCOUNT`."""

    id: str
    name: str
    display_name: str
    email: str
    created_ms: int

    @property
    def is_root(self) -> bool:
        return self.id == ROOT_ACCOUNT


@dataclass(frozen=True, slots=True, repr=False)
class AccessKey:
    """`repr` is left out so that a secret never reaches a log (S7)."""

    access_key: str
    secret_key: str
    account_id: str


class BucketKind(StrEnum):
    USER = "user"
    JOB = "job"


@dataclass(frozen=True, slots=True)
class Bucket:
    """`id` is a number of the catalog's own; a bucket made again under the same name has another one."""

    id: int
    name: str
    owner_id: str
    created_ms: int
    kind: BucketKind = BucketKind.USER
    policy: str | None = None
    """As its owner wrote it (manta.auth.bucket_policy); without one nobody else reads it."""


@dataclass(frozen=True, slots=True)
class Blob:
    """Immutable bytes on `nodes`, in placement order."""

    blob_id: str
    size: int
    nodes: tuple[str, ...]


class ChecksumType(StrEnum):
    FULL_OBJECT = "FULL_OBJECT"
    COMPOSITE = "COMPOSITE"


@dataclass(frozen=True, slots=True)
class Checksum:
    """`parts` > 0 for a composite one (a digest of the parts' digests), shown as `<base64>-<parts>`."""

    algorithm: Algorithm
    digest: bytes
    type: ChecksumType = ChecksumType.FULL_OBJECT
    parts: int = 0


@dataclass(frozen=True, slots=True)
class ObjectPart:
    """One part of a completed upload, for `partNumber` reads."""

    number: int
    size: int
    checksum: Checksum | None = None


@dataclass(frozen=True, slots=True)
class Attributes:
    """What a client gave with an object: lower-case standard headers (content-type …) and user metadata."""

    headers: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    checksums: tuple[Checksum, ...] = ()
    parts: tuple[ObjectPart, ...] = ()


@dataclass(frozen=True, slots=True)
class ObjectVersion:
    """One version of an object. `etag` without quotes; `blob` is None for zero bytes."""

    key: str
    version_id: str
    size: int
    etag: str
    modified_ms: int
    blob: Blob | None
    attributes: Attributes


@dataclass(frozen=True, slots=True)
class Located:
    """The bucket, and the object's current version if there is one."""

    bucket: Bucket
    object: ObjectVersion | None


@dataclass(frozen=True, slots=True)
class ListedObject:
    key: str
    size: int
    etag: str
    modified_ms: int
    checksum_algorithms: tuple[Algorithm, ...] = ()


@dataclass(frozen=True, slots=True)
class ObjectPage:
    """Keys in byte order. `next_after` is given when there is more: pass it as `after` of the next page."""

    objects: tuple[ListedObject, ...]
    common_prefixes: tuple[str, ...]
    next_after: str | None


@dataclass(frozen=True, slots=True)
class WriteCondition:
    """Checked in the transaction that commits (C3, C4). Both hold ETags without quotes, or `*`."""

    if_match: tuple[str, ...] | None = None
    if_none_match: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Upload:
    """An open multipart upload. `blob_id` is its growing file on `nodes`; the first part fixes `slot_bytes`."""

    bucket: str
    key: str
    upload_id: str
    blob_id: str
    nodes: tuple[str, ...]
    slot_bytes: int | None
    attributes: Attributes
    initiated_ms: int
    owner_id: str
    checksum_algorithm: Algorithm | None = None
    checksum_type: ChecksumType | None = None


@dataclass(frozen=True, slots=True)
class SlotReservation:
    """Where a part's bytes go: into the growing file at `offset`, or (None) into a blob of their own."""

    offset: int | None


@dataclass(frozen=True, slots=True)
class Part:
    """A committed part. `in_slot`: its bytes lie at (number - 1) × slot_bytes of the growing file; else in `blob`."""

    number: int
    size: int
    etag: str
    modified_ms: int
    in_slot: bool
    blob: Blob | None
    checksums: tuple[Checksum, ...] = ()


@dataclass(frozen=True, slots=True)
class CompletedPart:
    """What the client names in CompleteMultipartUpload."""

    number: int
    etag: str
    checksum: Checksum | None = None


class NodeState(StrEnum):
    ACTIVE = "active"
    DRAINING = "draining"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Node:
    """A storage node. `url` is `http://host:port` or `unix:/path`.

    `volume` is its folder, given where a gateway with the same `machine_id` may read files directly.
    """

    node_id: str
    url: str
    key: bytes = field(repr=False)
    machine_id: str
    volume: str | None
    state: NodeState
    registered_ms: int


@dataclass(frozen=True, slots=True)
class Garbage:
    """A blob nothing refers to any more, to be deleted on that node once `due_ms` has passed."""

    blob_id: str
    node_id: str
    due_ms: int


@dataclass(frozen=True, slots=True)
class Gap:
    """A span of time, ends included, whose commits the catalog lost when it was restored from a backup.

    Blobs born in it may be whole objects that only the lost rows named: they are kept until the operator decides.
    """

    since_ms: int
    until_ms: int

    def covers(self, at_ms: int) -> bool:
        return self.since_ms <= at_ms <= self.until_ms
