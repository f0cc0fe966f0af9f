"""The in-memory catalog's tables, and how blobs in them gain and lose references."""

from dataclasses import dataclass, field, replace

from manta.catalog.records import (
    AccessKey,
    Account,
    Blob,
    Bucket,
    Node,
    ObjectVersion,
    Part,
    Upload,
)
from manta.catalog.rules import GARBAGE_DELAY_MS, blob_gone, blob_taken, check_birth, now_ms
from manta.core.clock import Clock
from manta.core.errors import NoSuchBucket


@dataclass(slots=True)
class BlobRow:
    """`size` is None while the blob is growing."""

    size: int | None
    nodes: tuple[str, ...]
    refs: int = 1


@dataclass(slots=True)
class UploadRow:
    upload: Upload
    bucket_id: int
    taken_slots: set[int] = field(default_factory=set)
    parts: dict[int, Part] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CompletedRow:
    key: str
    version: ObjectVersion
    completed_ms: int


class MemoryState:
    """Everything the catalog holds. No method awaits, so each caller's change is atomic on its event loop.

    A caller checks everything first and changes last: nothing here can be rolled back.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.born_ms = now_ms(clock)
        self.gaps: dict[int, int] = {}
        self.accounts: dict[str, Account] = {}
        self.former_accounts: set[str] = set()
        self.keys: dict[str, AccessKey] = {}
        self.buckets: dict[str, Bucket] = {}
        self.last_bucket_id = 0
        self.objects: dict[int, dict[bytes, ObjectVersion]] = {}
        self.blobs: dict[str, BlobRow] = {}
        self.garbage: dict[tuple[str, str], int] = {}
        """(blob id, node id) → due_ms."""
        self.uploads: dict[str, UploadRow] = {}
        self.completed: dict[tuple[int, str], CompletedRow] = {}
        self.nodes: dict[str, Node] = {}

    def now_ms(self) -> int:
        return now_ms(self.clock)

    def bucket(self, name: str, wanted: int | None = None) -> Bucket:
        """With that id, if one is given. NoSuchBucket."""
        found = self.buckets.get(name)
        if found is None or wanted not in (None, found.id):
            raise NoSuchBucket(f"The bucket {name!r} does not exist.")
        return found

    def current(self, version: ObjectVersion) -> ObjectVersion:
        """`version` with its blob as it lies now."""
        if version.blob is None:
            return version
        row = self.blobs[version.blob.blob_id]
        return replace(version, blob=Blob(version.blob.blob_id, row.size or 0, row.nodes))

    def check_new_blob(self, blob: Blob) -> None:
        check_birth(blob.blob_id, self.now_ms())
        self.check_free(blob.blob_id)

    def check_free(self, blob_id: str) -> None:
        """Conflict when the id is in use, or was and is garbage: its files are about to be deleted."""
        if blob_id in self.blobs or any(blob_id == garbage for garbage, _ in self.garbage):
            raise blob_taken(blob_id)

    def check_blob(self, blob_id: str) -> None:
        if blob_id not in self.blobs:
            raise blob_gone(blob_id)

    def add_blob(self, blob_id: str, size: int | None, nodes: tuple[str, ...]) -> None:
        """A blob with one reference; `size` is None for a growing one."""
        self.blobs[blob_id] = BlobRow(size, nodes)

    def finish_blob(self, blob: Blob) -> None:
        """The growing blob is whole, on these nodes; on others it is garbage."""
        row = self.blobs[blob.blob_id]
        self._discard(blob.blob_id, tuple(node for node in row.nodes if node not in blob.nodes))
        row.size, row.nodes = blob.size, blob.nodes

    def retain_blob(self, blob_id: str) -> None:
        """One more reference. Conflict when the blob is gone."""
        self.check_blob(blob_id)
        self.blobs[blob_id].refs += 1

    def release_blob(self, blob_id: str) -> None:
        """One reference less; without any, each of its copies becomes garbage."""
        row = self.blobs[blob_id]
        row.refs -= 1
        if row.refs == 0:
            del self.blobs[blob_id]
            self._discard(blob_id, row.nodes)

    def _discard(self, blob_id: str, nodes: tuple[str, ...]) -> None:
        for node in nodes:
            self.garbage[blob_id, node] = self.now_ms() + GARBAGE_DELAY_MS
