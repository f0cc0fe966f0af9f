"""What every engine decides alike: conditions, the age of a new blob, which part gets a slot, ids at the edge."""

from manta.catalog.records import CompletedPart, WriteCondition
from manta.core.clock import Clock
from manta.core.errors import (
    AlreadyExists,
    Conflict,
    InvalidArgument,
    InvalidPart,
    NoSuchKey,
    NoSuchUpload,
    PreconditionFailed,
)
from manta.core.limits import (
    BLOCK_BYTES,
    COMPLETED_UPLOAD_KEEP_S,
    GARBAGE_DELAY_S,
    ORPHAN_GRACE_S,
    OUTPUT_BIRTH_SLACK_S,
)
from manta.core.names import birth_ms, check_id

GARBAGE_DELAY_MS = int(GARBAGE_DELAY_S * 1000)
COMPLETED_KEEP_MS = int(COMPLETED_UPLOAD_KEEP_S * 1000)
_BLOB_AGE_MAX_MS = int(ORPHAN_GRACE_S * 1000) // 2


def now_ms(clock: Clock) -> int:
    return int(clock.wall_s() * 1000)


def check_condition(condition: WriteCondition | None, current_etag: str | None) -> None:
    """PreconditionFailed, or NoSuchKey for If-Match on a missing key; `current_etag` is None when there is none.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html
    """
    if condition is None:
        return
    if condition.if_match is not None:
        if current_etag is None:
            raise NoSuchKey
        if not _names(condition.if_match, current_etag):
            raise PreconditionFailed(None, Condition="If-Match")
    if (
        condition.if_none_match is not None
        and current_etag is not None
        and _names(condition.if_none_match, current_etag)
    ):
        raise PreconditionFailed(None, Condition="If-None-Match")


def check_delete_condition(condition: WriteCondition | None, current_etag: str | None) -> None:
    """As `check_condition`, but a missing key is a failed precondition: a delete never answers NoSuchKey."""
    try:
        check_condition(condition, current_etag)
    except NoSuchKey:
        raise PreconditionFailed(None, Condition="If-Match") from None


def _names(wanted: tuple[str, ...], etag: str) -> bool:
    return "*" in wanted or etag in wanted


def is_young(blob_id: str, catalog_now_ms: int) -> bool:
    """Whether a blob of that id may still be committed as new."""
    return birth_ms(check_id(blob_id)) >= catalog_now_ms - _BLOB_AGE_MAX_MS


def gap_begin_ms(backed_up_ms: int) -> int:
    """The birth of the oldest blob that may have been committed after a backup."""
    return backed_up_ms - _BLOB_AGE_MAX_MS


def check_birth(blob_id: str, catalog_now_ms: int) -> None:
    """Conflict when the sweeper may already have taken the new blob's file for an orphan."""
    if not is_young(blob_id, catalog_now_ms):
        raise Conflict("The upload took longer than the store keeps unfinished data; please send it again.")


def check_output(blob_id: str, slot: str | None, window_ms: tuple[int, int]) -> None:
    """Conflict for a blob that the attempt was not given to write its output into.

    That is its slot, or a further one: those are born at the end of the task's time, `window_ms`, and nothing else is.
    """
    earliest_ms, latest_ms = window_ms
    slack_ms = int(OUTPUT_BIRTH_SLACK_S * 1000)
    if blob_id != slot and not earliest_ms - slack_ms <= birth_ms(check_id(blob_id)) <= latest_ms + slack_ms:
        raise Conflict(f"The blob {blob_id} is none of those that the attempt was given for its outputs.")


def blob_taken(blob_id: str) -> Conflict:
    return Conflict(f"The blob {blob_id} is recorded or deleted already; a new blob needs a new id.")


def blob_gone(blob_id: str) -> Conflict:
    return Conflict(f"The blob {blob_id} to refer to was deleted meanwhile; please try again.")


def former_account(account_id: str) -> AlreadyExists:
    return AlreadyExists(
        f"An account with the id {account_id!r} was removed, and bucket policies may still name it: choose another id."
    )


def slot_size(slot_bytes: int | None, size: int) -> int | None:
    """The upload's slot size once a part of `size` bytes has asked for a slot (None: still open)."""
    if slot_bytes is None and size > 0 and size % BLOCK_BYTES == 0:
        return size
    return slot_bytes


def fits_slot(slot_bytes: int | None, size: int) -> bool:
    """Whether a part may lie in a slot; a smaller one is taken for the last part."""
    return slot_bytes is not None and 0 < size <= slot_bytes


def check_parts(wanted: list[CompletedPart], etags: dict[int, str]) -> None:
    """InvalidPart unless each part is still the one the client named."""
    for part in wanted:
        if etags.get(part.number) != part.etag:
            raise InvalidPart(f"Part {part.number} could not be found, or its entity tag does not match.")


def is_id(text: str) -> bool:
    try:
        check_id(text)
    except InvalidArgument:
        return False
    return True


def check_upload_id(text: str) -> str:
    """An upload id comes from clients: one that cannot exist is one that does not exist."""
    if not is_id(text):
        raise NoSuchUpload
    return text
