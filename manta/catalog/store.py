"""The catalog's protocol for accounts, buckets, objects, uploads, nodes and garbage.

Every method is one transaction: when it returns, its change survives a power cut (D2); when it raises, nothing has
changed. Reads see every change acknowledged before they began (C1, C2). Engines: `sqlite`, `postgres`, `memory` (the
oracle). Jobs' tables are in `job_store`.
"""

from collections.abc import Iterable, Sequence
from typing import Protocol

from manta.catalog.job_store import JobStore
from manta.catalog.records import (
    AccessKey,
    Account,
    Blob,
    Bucket,
    BucketKind,
    CompletedPart,
    Gap,
    Garbage,
    Located,
    Node,
    ObjectPage,
    ObjectVersion,
    Part,
    SlotReservation,
    Upload,
    WriteCondition,
)


class AccountStore(Protocol):
    async def create_account(self, account: Account) -> None:
        """AlreadyExists if the id or the name is taken, or the id was: policies may still name it."""
        ...

    async def get_account(self, account_id: str) -> Account | None: ...

    async def list_accounts(self) -> list[Account]: ...

    async def delete_account(self, account_id: str) -> None:
        """With its keys. NoSuchAccount; BucketNotEmpty while it owns buckets."""
        ...

    async def add_key(self, key: AccessKey) -> None:
        """AlreadyExists if the access key is taken, NoSuchAccount."""
        ...

    async def remove_key(self, access_key: str) -> None: ...

    async def list_keys(self, account_id: str) -> list[AccessKey]: ...

    async def find_key(self, access_key: str) -> tuple[AccessKey, Account] | None: ...


class BucketStore(Protocol):
    async def create_bucket(
        self, name: str, owner_id: str, created_ms: int, kind: BucketKind = BucketKind.USER
    ) -> Bucket:
        """BucketAlreadyOwnedByYou, BucketAlreadyExists."""
        ...

    async def get_bucket(self, name: str) -> Bucket:
        """NoSuchBucket."""
        ...

    async def list_buckets(self, owner_id: str) -> list[Bucket]:
        """The owner's buckets of kind USER, by name."""
        ...

    async def set_bucket_policy(self, name: str, policy: str | None, *, bucket_id: int | None = None) -> None:
        """NoSuchBucket; see `ObjectStore` for `bucket_id`."""
        ...

    async def delete_bucket(self, name: str) -> None:
        """NoSuchBucket; BucketNotEmpty while it holds objects or open uploads."""
        ...


class ObjectStore(Protocol):
    """With `bucket_id` a change is for the very bucket that was looked up: NoSuchBucket where that is gone, though
    there be another one of its name. Whoever changes something long after it asked whose the bucket is gives it."""

    async def locate(self, bucket: str, key: str) -> Located:
        """The bucket and the key's current version. NoSuchBucket."""
        ...

    async def put_object(
        self,
        bucket: str,
        version: ObjectVersion,
        condition: WriteCondition | None = None,
        *,
        new_blob: bool = True,
        bucket_id: int | None = None,
    ) -> None:
        """Make `version` the current one; what it replaces becomes garbage when nothing else refers to it.

        `new_blob=False`: the blob is already referred to (CopyObject by reference) and gains one more reference.
        PreconditionFailed; NoSuchKey (If-Match on a missing key); NoSuchBucket; Conflict if a new blob was born
        more than half of `limits.ORPHAN_GRACE_S` before the catalog's clock (its file may have been swept).
        """
        ...

    async def delete_object(self, bucket: str, key: str, condition: WriteCondition | None = None) -> bool:
        """Whether there was one. NoSuchBucket, PreconditionFailed."""
        ...

    async def delete_objects(self, bucket: str, keys: Sequence[str], *, bucket_id: int | None = None) -> None:
        """All of them in one transaction; keys that do not exist are fine. NoSuchBucket."""
        ...

    async def list_objects(
        self, bucket: str, *, prefix: str = "", delimiter: str = "", after: str = "", limit: int = 1000
    ) -> ObjectPage:
        """Keys and common prefixes that come after `after` in byte order, `limit` of both together. NoSuchBucket.

        With a delimiter, an `after` that lies inside a common prefix skips the whole of that prefix's group
        when it was the group's own name (a page's `next_after`), as S3 does.
        """
        ...


class UploadStore(Protocol):
    async def create_upload(self, upload: Upload) -> None:
        """NoSuchBucket."""
        ...

    async def get_upload(self, bucket: str, key: str, upload_id: str) -> Upload:
        """NoSuchUpload."""
        ...

    async def reserve_part(self, upload_id: str, number: int, size: int) -> SlotReservation:
        """Claim slot `number` of the growing file for `size` bytes.

        The first reservation that fixes the slot size must be a whole number of limits.BLOCK_BYTES, else parts go to
        blobs of their own. A slot is given once: never again to a re-upload, since the first writer may still be at it.
        The last part may be smaller than the slot. NoSuchUpload.
        """
        ...

    async def commit_part(self, upload_id: str, part: Part) -> None:
        """Record the part in place of any earlier one of its number (whose own blob becomes garbage). NoSuchUpload."""
        ...

    async def list_parts(self, upload_id: str, *, after: int = 0, limit: int = 1000) -> list[Part]: ...

    async def list_uploads(
        self, bucket: str, *, prefix: str = "", after: tuple[str, str] = ("", ""), limit: int = 1000
    ) -> list[Upload]:
        """By (key, upload id), strictly after `after`. NoSuchBucket."""
        ...

    async def complete_upload(
        self,
        upload: Upload,
        parts: Sequence[CompletedPart],
        version: ObjectVersion,
        condition: WriteCondition | None = None,
    ) -> None:
        """The object appears and the upload ends in one transaction (C5). Its parts' own blobs become garbage.

        Refused with InvalidPart when a part changed since the caller planned. A completed upload is remembered for a
        day, so that a retry gets the same answer: see `completed_upload`.
        """
        ...

    async def completed_upload(self, bucket: str, key: str, upload_id: str) -> ObjectVersion | None:
        """What that upload became, if it was completed within the last day."""
        ...

    async def expired_uploads(self, initiated_before_ms: int, limit: int) -> list[Upload]:
        """Open uploads of any bucket that are older than that, for the worker that aborts them (O2)."""
        ...

    async def forget_completed_uploads(self, completed_before_ms: int, limit: int) -> int:
        """Drop that many answers kept for `completed_upload`; how many were dropped (O2)."""
        ...

    async def abort_upload(self, bucket: str, key: str, upload_id: str) -> None:
        """Its parts become garbage, its growing file too. NoSuchUpload."""
        ...


class NodeStore(Protocol):
    async def register_node(self, node: Node) -> None:
        """Insert, or bring up to date, by node id."""
        ...

    async def list_nodes(self) -> list[Node]: ...

    async def due_garbage(self, now_ms: int, limit: int, *, node_id: str | None = None) -> list[Garbage]:
        """The longest due first; of that node only, so that a dead node's rows never stand before the others'."""
        ...

    async def forget_garbage(self, done: Iterable[Garbage]) -> None: ...

    async def unknown_blobs(self, node_id: str, blob_ids: Sequence[str]) -> set[str]:
        """Those that no object, part, open upload, task or garbage row of that node refers to.

        The growing blob of an open upload is known on every node.
        """
        ...

    async def born_ms(self) -> int:
        """When this catalog was made: older files are another one's, and not to be judged by this one."""
        ...

    async def add_gap(self, gap: Gap) -> None:
        """From now on no worker deletes what was born in it and is unknown here."""
        ...

    async def gaps(self) -> list[Gap]: ...

    async def close_gaps(self) -> None:
        """The operator has what was wanted: what is unknown is an orphan again."""
        ...

    async def blobs_of_node(self, node_id: str, *, after: str = "", limit: int = 1000) -> list[Blob]:
        """What the node should hold, by blob id: for fsck, and later for repair."""
        ...


class Catalog(AccountStore, BucketStore, ObjectStore, UploadStore, NodeStore, Protocol):
    """Everything; what concerns jobs is in `jobs`."""

    @property
    def jobs(self) -> JobStore: ...

    async def close(self) -> None: ...
