"""What every engine of the catalog answers: one suite, run on each of them."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from manta.catalog.records import (
    AccessKey,
    Account,
    Attributes,
    Bucket,
    BucketKind,
    Checksum,
    ChecksumType,
    CompletedPart,
    Gap,
    Garbage,
    ListedObject,
    NodeState,
    ObjectPage,
    ObjectPart,
    ObjectVersion,
    WriteCondition,
)
from manta.catalog.store import Catalog
from manta.core.checksums import Algorithm
from manta.core.errors import (
    AlreadyExists,
    BucketAlreadyExists,
    BucketAlreadyOwnedByYou,
    BucketNotEmpty,
    Conflict,
    InvalidArgument,
    InvalidPart,
    MantaError,
    NoSuchAccount,
    NoSuchBucket,
    NoSuchKey,
    NoSuchUpload,
    PreconditionFailed,
)
from manta.core.limits import BLOCK_BYTES, COMPLETED_UPLOAD_KEEP_S, GARBAGE_DELAY_S, MIB, ORPHAN_GRACE_S
from manta.core.names import new_id
from tests.support.catalog import StandingClock, blob, completed, node, opened, part, upload, version

GONE = int(GARBAGE_DELAY_S * 1000)
CREATE = WriteCondition(if_none_match=("*",))
ALICE = Account("a1", "alice", "Alice", "alice@example.com", 1)


@pytest.fixture
async def catalog(catalog_url: str, clock: StandingClock) -> AsyncIterator[Catalog]:
    async with opened(catalog_url, clock) as catalog:
        await catalog.create_bucket("books", "alice", 7)
        yield catalog


async def garbage(catalog: Catalog, clock: StandingClock) -> set[tuple[str, str]]:
    """(blob id, node id) of everything that will be deleted."""
    return {(row.blob_id, row.node_id) for row in await catalog.due_garbage(clock.now_ms() + GONE, 1000)}


def copies(version: ObjectVersion) -> set[tuple[str, str]]:
    assert version.blob is not None
    return {(version.blob.blob_id, node_id) for node_id in version.blob.nodes}


# accounts


async def test_an_account_and_its_keys_are_found_until_removed(catalog: Catalog) -> None:
    await catalog.create_account(ALICE)
    await catalog.add_key(AccessKey("AK2", "s2", "a1"))
    await catalog.add_key(AccessKey("AK1", "s1", "a1"))
    assert await catalog.get_account("a1") == ALICE
    assert await catalog.find_key("AK1") == (AccessKey("AK1", "s1", "a1"), ALICE)
    assert [key.access_key for key in await catalog.list_keys("a1")] == ["AK1", "AK2"]
    await catalog.remove_key("AK1")
    assert await catalog.find_key("AK1") is None
    await catalog.delete_account("a1")
    assert await catalog.find_key("AK2") is None
    assert await catalog.get_account("a1") is None
    assert await catalog.list_accounts() == []


@pytest.mark.parametrize("change", [{"id": "a2"}, {"name": "other"}])
async def test_an_account_id_and_name_are_given_once(catalog: Catalog, change: dict[str, Any]) -> None:
    await catalog.create_account(ALICE)
    with pytest.raises(AlreadyExists):
        await catalog.create_account(replace(ALICE, **change))
    assert await catalog.list_accounts() == [ALICE]


@pytest.mark.invariant("S1")
async def test_the_id_of_a_removed_account_is_never_given_again(catalog: Catalog) -> None:
    """Whoever had it next could read what was shared with the one before."""
    await catalog.create_account(ALICE)
    await catalog.delete_account(ALICE.id)
    with pytest.raises(AlreadyExists, match="choose another id"):
        await catalog.create_account(replace(ALICE, name="other"))
    assert await catalog.list_accounts() == []
    again = replace(ALICE, id="a2")
    await catalog.create_account(again)
    assert await catalog.list_accounts() == [again], "its name is free"


async def test_keys_are_unique_and_belong_to_someone(catalog: Catalog) -> None:
    with pytest.raises(NoSuchAccount):
        await catalog.add_key(AccessKey("AK", "s", "a1"))
    await catalog.create_account(ALICE)
    await catalog.add_key(AccessKey("AK", "s", "a1"))
    with pytest.raises(AlreadyExists):
        await catalog.add_key(AccessKey("AK", "other", "a1"))


async def test_an_account_with_buckets_stays(catalog: Catalog) -> None:
    with pytest.raises(NoSuchAccount):
        await catalog.delete_account("alice")
    await catalog.create_account(replace(ALICE, id="alice"))
    with pytest.raises(BucketNotEmpty):
        await catalog.delete_account("alice")


async def test_a_secret_is_in_no_repr() -> None:
    assert "sesame" not in repr(AccessKey("AK", "sesame", "a1"))


# buckets


async def test_buckets_are_listed_by_owner_and_name_without_those_of_jobs(catalog: Catalog) -> None:
    for name in ("zebra", "apple", "a-b", "a.b"):
        await catalog.create_bucket(name, "bob", 1)
    await catalog.create_bucket("job-1", "bob", 1, BucketKind.JOB)
    assert [bucket.name for bucket in await catalog.list_buckets("bob")] == ["a-b", "a.b", "apple", "zebra"]
    found = await catalog.get_bucket("job-1")
    assert found == Bucket(found.id, "job-1", "bob", 1, BucketKind.JOB)


async def test_a_bucket_name_is_given_once(catalog: Catalog) -> None:
    with pytest.raises(BucketAlreadyOwnedByYou):
        await catalog.create_bucket("books", "alice", 8)
    with pytest.raises(BucketAlreadyExists):
        await catalog.create_bucket("books", "bob", 8)


async def test_only_an_empty_bucket_is_deleted_and_never_comes_back_as_itself(
    catalog: Catalog, clock: StandingClock
) -> None:
    first = await catalog.get_bucket("books")
    await catalog.put_object("books", version(clock, "k"))
    with pytest.raises(BucketNotEmpty):
        await catalog.delete_bucket("books")
    await catalog.delete_object("books", "k")
    open_upload = upload(clock, "k")
    await catalog.create_upload(open_upload)
    with pytest.raises(BucketNotEmpty):
        await catalog.delete_bucket("books")
    await catalog.abort_upload("books", "k", open_upload.upload_id)
    await catalog.delete_bucket("books")
    with pytest.raises(NoSuchBucket):
        await catalog.get_bucket("books")
    assert (await catalog.create_bucket("books", "alice", 9)).id != first.id


async def test_a_change_meant_for_one_bucket_is_not_made_in_the_next_of_its_name(
    catalog: Catalog, clock: StandingClock
) -> None:
    gone = await catalog.get_bucket("books")
    await catalog.delete_bucket("books")
    now = await catalog.create_bucket("books", "bob", 9)
    kept = version(clock, "kept")
    await catalog.put_object("books", kept, bucket_id=now.id)
    calls = [
        catalog.put_object("books", version(clock, "new"), bucket_id=gone.id),
        catalog.put_object("books", version(clock, "kept"), bucket_id=gone.id),
        catalog.put_object("books", version(clock, "new"), CREATE, bucket_id=gone.id),
        catalog.put_object("books", replace(kept, key="new"), new_blob=False, bucket_id=gone.id),
        catalog.delete_objects("books", ["kept"], bucket_id=gone.id),
        catalog.set_bucket_policy("books", "{}", bucket_id=gone.id),
    ]
    for call in calls:
        with pytest.raises(NoSuchBucket):
            await call
    assert [one.key for one in (await catalog.list_objects("books")).objects] == ["kept"]
    assert (await catalog.locate("books", "kept")).object == kept
    await catalog.set_bucket_policy("books", "{}", bucket_id=now.id)
    await catalog.delete_objects("books", ["kept"], bucket_id=now.id)
    assert (await catalog.get_bucket("books")).policy == "{}"
    assert (await catalog.locate("books", "kept")).object is None


async def test_nothing_is_done_in_a_bucket_that_does_not_exist(catalog: Catalog, clock: StandingClock) -> None:
    calls = [
        catalog.get_bucket("none"),
        catalog.delete_bucket("none"),
        catalog.locate("none", "k"),
        catalog.put_object("none", version(clock, "k")),
        catalog.delete_object("none", "k"),
        catalog.delete_objects("none", ["k"]),
        catalog.list_objects("none"),
        catalog.list_uploads("none"),
        catalog.create_upload(upload(clock, "k", bucket="none")),
    ]
    for call in calls:
        with pytest.raises(NoSuchBucket):
            await call


# objects


async def test_an_object_comes_back_as_it_was_put(catalog: Catalog, clock: StandingClock) -> None:
    attributes = Attributes(
        {"content-type": "text/plain; charset=utf-8", "cache-control": "no-store"},
        {"naïve": "Привет", "empty": ""},
        (Checksum(Algorithm.SHA256, b"\0" * 32, ChecksumType.COMPOSITE, 2), Checksum(Algorithm.CRC64NVME, b"12345678")),
        (ObjectPart(1, 5, Checksum(Algorithm.SHA256, b"\xff" * 32)), ObjectPart(2, 5)),
    )
    put = replace(version(clock, "a b/%41/ü\n.txt", nodes=("n3", "n1", "n2")), attributes=attributes)
    await catalog.put_object("books", put)
    located = await catalog.locate("books", put.key)
    assert located.object == put
    assert located.bucket == await catalog.get_bucket("books")
    assert (await catalog.locate("books", "other")).object is None


async def test_zero_bytes_need_no_blob(catalog: Catalog, clock: StandingClock) -> None:
    put = version(clock, "empty", size=0)
    await catalog.put_object("books", put)
    assert (await catalog.locate("books", "empty")).object == put
    await catalog.put_object("books", version(clock, "empty", size=0))
    assert await catalog.delete_object("books", "empty")


async def test_what_is_replaced_or_deleted_becomes_garbage_after_a_delay(
    catalog: Catalog, clock: StandingClock
) -> None:
    first, second = version(clock, "k"), version(clock, "k", nodes=("n3",))
    await catalog.put_object("books", first)
    await catalog.put_object("books", second)
    assert (await catalog.locate("books", "k")).object == second
    assert await catalog.due_garbage(clock.now_ms() + GONE - 1, 10) == []
    assert await garbage(catalog, clock) == copies(first)
    assert await catalog.delete_object("books", "k")
    assert await garbage(catalog, clock) == copies(first) | copies(second)
    assert not await catalog.delete_object("books", "k")


async def test_garbage_is_forgotten_once_it_is_gone(catalog: Catalog, clock: StandingClock) -> None:
    for key in ("a", "b"):
        await catalog.put_object("books", version(clock, key))
        await catalog.delete_object("books", key)
        clock.advance(1)
    rows = await catalog.due_garbage(clock.now_ms() + GONE, 10)
    assert [row.due_ms for row in rows] == sorted(row.due_ms for row in rows)
    assert len(rows) == 4
    of_node = await catalog.due_garbage(clock.now_ms() + GONE, 10, node_id="n2")
    assert of_node == [row for row in rows if row.node_id == "n2"]
    assert await catalog.due_garbage(clock.now_ms() + GONE, 10, node_id="stranger") == []
    assert await catalog.due_garbage(clock.now_ms() + GONE, 1) == rows[:1]
    await catalog.forget_garbage([*of_node, Garbage(new_id(0), "stranger", 0)])
    assert await catalog.due_garbage(clock.now_ms() + GONE, 10) == [row for row in rows if row.node_id == "n1"]


async def test_a_blob_lives_as_long_as_anything_refers_to_it(catalog: Catalog, clock: StandingClock) -> None:
    original = version(clock, "original")
    await catalog.put_object("books", original)
    await catalog.put_object("books", replace(version(clock, "copy"), blob=original.blob), new_blob=False)
    await catalog.delete_object("books", "original")
    assert await garbage(catalog, clock) == set()
    # a copy onto itself keeps the one reference
    await catalog.put_object("books", replace(version(clock, "copy"), blob=original.blob), new_blob=False)
    assert await garbage(catalog, clock) == set()
    await catalog.delete_object("books", "copy")
    assert await garbage(catalog, clock) == copies(original)
    with pytest.raises(Conflict):
        await catalog.put_object("books", replace(version(clock, "late"), blob=original.blob), new_blob=False)
    assert (await catalog.locate("books", "late")).object is None


async def test_a_new_blob_needs_a_new_id(catalog: Catalog, clock: StandingClock) -> None:
    first = version(clock, "k")
    await catalog.put_object("books", first)
    for key in ("k", "other"):
        with pytest.raises(Conflict):
            await catalog.put_object("books", replace(version(clock, key), blob=first.blob))
    assert (await catalog.locate("books", "k")).object == first


async def test_a_commit_that_comes_after_its_object_was_deleted_is_refused(
    catalog: Catalog, clock: StandingClock
) -> None:
    """Its blob is garbage: taking it back would leave a row whose files are deleted a minute later (D9)."""
    put = version(clock, "k")
    await catalog.put_object("books", put)
    await catalog.delete_object("books", "k")
    with pytest.raises(Conflict):
        await catalog.put_object("books", put)
    assert (await catalog.locate("books", "k")).object is None
    assert await garbage(catalog, clock) == copies(put)


async def test_a_blob_that_may_have_been_swept_is_refused(catalog: Catalog, clock: StandingClock) -> None:
    """D9: the sweeper takes files older than the grace; a commit stops at half of it."""
    late, in_time = version(clock, "late"), version(clock, "in time")
    clock.advance(ORPHAN_GRACE_S / 2)
    await catalog.put_object("books", in_time)
    clock.advance(0.001)
    with pytest.raises(Conflict):
        await catalog.put_object("books", late)
    assert (await catalog.locate("books", "late")).object is None


async def test_a_commit_that_is_sent_again_is_the_same_commit(catalog: Catalog, clock: StandingClock) -> None:
    """Its first answer was lost on the way; it must not fail on its own traces."""
    put = version(clock, "k")
    await catalog.put_object("books", put, CREATE)
    await catalog.put_object("books", put, CREATE)
    assert (await catalog.locate("books", "k")).object == put
    assert await garbage(catalog, clock) == set()


@pytest.mark.parametrize(
    ("existing", "condition", "error"),
    [
        (None, CREATE, None),
        ("e1", CREATE, PreconditionFailed),
        ("e1", WriteCondition(if_none_match=("e1",)), PreconditionFailed),
        ("e1", WriteCondition(if_none_match=("e2",)), None),
        (None, WriteCondition(if_match=("e1",)), NoSuchKey),
        (None, WriteCondition(if_match=("*",)), NoSuchKey),
        ("e1", WriteCondition(if_match=("e2", "e1")), None),
        ("e1", WriteCondition(if_match=("*",)), None),
        ("e1", WriteCondition(if_match=("e2",)), PreconditionFailed),
        ("e1", WriteCondition(if_match=("e1",), if_none_match=("*",)), PreconditionFailed),
    ],
)
async def test_conditions_of_a_put(
    catalog: Catalog,
    clock: StandingClock,
    existing: str | None,
    condition: WriteCondition,
    error: type[MantaError] | None,
) -> None:
    before = version(clock, "k", etag=existing) if existing else None
    if before:
        await catalog.put_object("books", before)
    put = version(clock, "k", etag="new")
    if error:
        with pytest.raises(error):
            await catalog.put_object("books", put, condition)
        assert (await catalog.locate("books", "k")).object == before
    else:
        await catalog.put_object("books", put, condition)
        assert (await catalog.locate("books", "k")).object == put


async def test_conditions_of_a_delete(catalog: Catalog, clock: StandingClock) -> None:
    await catalog.put_object("books", version(clock, "k", etag="e1"))
    with pytest.raises(PreconditionFailed):
        await catalog.delete_object("books", "k", WriteCondition(if_match=("e2",)))
    assert await catalog.delete_object("books", "k", WriteCondition(if_match=("e1",)))
    with pytest.raises(PreconditionFailed):
        await catalog.delete_object("books", "k", WriteCondition(if_match=("*",)))


async def test_many_keys_are_deleted_at_once(catalog: Catalog, clock: StandingClock) -> None:
    versions = [version(clock, key) for key in ("a", "b", "c")]
    for put in versions:
        await catalog.put_object("books", put)
    await catalog.delete_objects("books", ["c", "missing", "a", "a"])
    assert [row.key for row in (await catalog.list_objects("books")).objects] == ["b"]
    assert await garbage(catalog, clock) == copies(versions[0]) | copies(versions[2])


async def test_ids_are_checked_before_anything_is_stored(catalog: Catalog, clock: StandingClock) -> None:
    with pytest.raises(InvalidArgument):
        await catalog.put_object("books", replace(version(clock, "k"), version_id="../x"))


# listing


async def fill(catalog: Catalog, clock: StandingClock, keys: list[str]) -> None:
    for key in keys:
        await catalog.put_object("books", version(clock, key))


def names(page: ObjectPage) -> tuple[list[str], list[str], str | None]:
    return [row.key for row in page.objects], list(page.common_prefixes), page.next_after


async def test_a_listed_object_says_what_s3_lists(catalog: Catalog, clock: StandingClock) -> None:
    await catalog.put_object("books", version(clock, "k", size=3, etag="e"))
    page = await catalog.list_objects("books")
    assert page.objects == (ListedObject("k", 3, "e", clock.now_ms(), (Algorithm.CRC32C,)),)


@pytest.mark.invariant("C2")
async def test_keys_are_listed_in_byte_order(catalog: Catalog, clock: StandingClock) -> None:
    """C2: in the order of UTF-8 bytes, which is neither that of UTF-16 nor of any language."""
    keys = ["a", "B", "é", "z", "\U0001f600", "\uffff", "a/b", "a.b", "a!", "~"]
    await fill(catalog, clock, keys)
    listed, _, more = names(await catalog.list_objects("books"))
    assert listed == sorted(keys, key=str.encode)
    assert more is None


async def test_groups_are_listed_once_and_skipped_whole(catalog: Catalog, clock: StandingClock) -> None:
    await fill(catalog, clock, ["a", "d/1", "d/2", "d/s/3", "e/", "f", "g//x"])
    assert names(await catalog.list_objects("books", delimiter="/")) == (["a", "f"], ["d/", "e/", "g/"], None)
    assert names(await catalog.list_objects("books", delimiter="/", prefix="d/")) == (["d/1", "d/2"], ["d/s/"], None)
    assert names(await catalog.list_objects("books", delimiter="/", prefix="e/")) == (["e/"], [], None)
    assert names(await catalog.list_objects("books", delimiter="//")) == (
        ["a", "d/1", "d/2", "d/s/3", "e/", "f"],
        ["g//"],
        None,
    )


async def test_an_after_inside_a_group_still_shows_it_but_its_own_name_does_not(
    catalog: Catalog, clock: StandingClock
) -> None:
    await fill(catalog, clock, ["d/1", "d/2", "e"])
    assert names(await catalog.list_objects("books", delimiter="/", after="d/1")) == (["e"], ["d/"], None)
    assert names(await catalog.list_objects("books", delimiter="/", after="d/2")) == (["e"], [], None)
    assert names(await catalog.list_objects("books", delimiter="/", after="d/")) == (["e"], [], None)
    assert names(await catalog.list_objects("books", after="d/")) == (["d/1", "d/2", "e"], [], None)


@pytest.mark.parametrize("limit", [1, 2, 3, 7])
async def test_paging_neither_repeats_nor_skips(catalog: Catalog, clock: StandingClock, limit: int) -> None:
    """C2: whatever the size of a page."""
    await fill(catalog, clock, ["a", "b/1", "b/2", "b/3", "c", "d/1", "d/x/1", "e"])
    for prefix, delimiter in (("", ""), ("", "/"), ("b/", "/"), ("d", "")):
        whole = names(await catalog.list_objects("books", prefix=prefix, delimiter=delimiter))
        keys: list[str] = []
        groups: list[str] = []
        after: str | None = ""
        while after is not None:
            page = await catalog.list_objects("books", prefix=prefix, delimiter=delimiter, after=after, limit=limit)
            assert len(page.objects) + len(page.common_prefixes) <= limit
            after = page.next_after
            keys += [row.key for row in page.objects]
            groups += page.common_prefixes
        assert (keys, groups, None) == whole


async def test_a_page_of_nothing_is_whole(catalog: Catalog, clock: StandingClock) -> None:
    await fill(catalog, clock, ["a"])
    assert names(await catalog.list_objects("books", limit=0)) == ([], [], None)
    assert names(await catalog.list_objects("books", prefix="b")) == ([], [], None)
    assert names(await catalog.list_objects("books", limit=1)) == (["a"], [], None)


async def test_many_groups_and_many_keys_between_them(catalog: Catalog, clock: StandingClock) -> None:
    """More of each than one chunk holds, so that scanning and walking take turns."""
    groups = [f"g{number:03d}/" for number in range(150)]
    keys = [f"h{number:03d}" for number in range(150)]
    await fill(catalog, clock, [group + str(key) for group in groups for key in range(2)] + keys + ["i/1", "j"])
    assert names(await catalog.list_objects("books", delimiter="/")) == ([*keys, "j"], [*groups, "i/"], None)


# uploads


async def test_an_upload_is_found_listed_and_aborted(catalog: Catalog, clock: StandingClock) -> None:
    made = replace(upload(clock, "a/k"), checksum_algorithm=Algorithm.SHA1, checksum_type=ChecksumType.COMPOSITE)
    await catalog.create_upload(made)
    assert await catalog.get_upload("books", "a/k", made.upload_id) == made
    assert await catalog.list_uploads("books", prefix="a/") == [made]
    assert await catalog.list_uploads("books", prefix="b") == []
    for bucket, key, upload_id in (
        ("none", "a/k", made.upload_id),
        ("books", "k", made.upload_id),
        ("books", "a/k", "x"),
    ):
        with pytest.raises(NoSuchUpload):
            await catalog.get_upload(bucket, key, upload_id)
        with pytest.raises(NoSuchUpload):
            await catalog.abort_upload(bucket, key, upload_id)
    await catalog.abort_upload("books", "a/k", made.upload_id)
    assert await garbage(catalog, clock) == {(made.blob_id, "n1"), (made.blob_id, "n2")}
    with pytest.raises(NoSuchUpload):
        await catalog.get_upload("books", "a/k", made.upload_id)


async def test_uploads_are_paged_by_key_and_id(catalog: Catalog, clock: StandingClock) -> None:
    made = [upload(clock, key) for key in ("b", "a", "b", "c")]
    for one in made:
        await catalog.create_upload(one)
    ordered = sorted(made, key=lambda one: (one.key, one.upload_id))
    assert await catalog.list_uploads("books") == ordered
    first = await catalog.list_uploads("books", limit=2)
    assert first == ordered[:2]
    assert await catalog.list_uploads("books", after=(first[-1].key, first[-1].upload_id)) == ordered[2:]
    assert await catalog.list_uploads("books", after=("b", "~")) == ordered[3:]
    assert await catalog.list_uploads("books", after=("b", "")) == ordered[1:]


async def test_old_uploads_are_named_for_expiry(catalog: Catalog, clock: StandingClock) -> None:
    old, new = upload(clock, "old"), replace(upload(clock, "new"), initiated_ms=clock.now_ms() + 1)
    await catalog.create_upload(new)
    await catalog.create_upload(old)
    assert await catalog.expired_uploads(clock.now_ms() + 1, 10) == [old]
    assert await catalog.expired_uploads(clock.now_ms() + 2, 10) == [old, new]
    assert await catalog.expired_uploads(clock.now_ms() + 2, 1) == [old]


async def reserve(catalog: Catalog, upload_id: str, *wanted: tuple[int, int]) -> list[int | None]:
    return [(await catalog.reserve_part(upload_id, number, size)).offset for number, size in wanted]


async def test_equal_parts_get_their_final_offsets(catalog: Catalog, clock: StandingClock) -> None:
    made = upload(clock, "k")
    await catalog.create_upload(made)
    size = 8 * MIB
    assert await reserve(catalog, made.upload_id, (2, size), (1, size), (3, 100)) == [size, 0, 2 * size]
    assert (await catalog.get_upload("books", "k", made.upload_id)).slot_bytes == size


async def test_a_slot_is_given_once_and_only_to_what_fits(catalog: Catalog, clock: StandingClock) -> None:
    made = upload(clock, "k")
    await catalog.create_upload(made)
    # an odd size first fixes nothing, so that a last part that comes early spoils nothing
    assert await reserve(catalog, made.upload_id, (3, BLOCK_BYTES + 1), (1, 0)) == [None, None]
    assert (await catalog.get_upload("books", "k", made.upload_id)).slot_bytes is None
    assert await reserve(catalog, made.upload_id, (1, BLOCK_BYTES), (1, BLOCK_BYTES), (1, 5)) == [0, None, None]
    assert await reserve(catalog, made.upload_id, (2, BLOCK_BYTES + 1), (2, 0), (2, 1)) == [None, None, BLOCK_BYTES]
    with pytest.raises(NoSuchUpload):
        await catalog.reserve_part(new_id(0), 1, 5)


async def test_a_part_takes_the_place_of_the_earlier_one(catalog: Catalog, clock: StandingClock) -> None:
    made = upload(clock, "k")
    await catalog.create_upload(made)
    own = [blob(clock), blob(clock)]
    second = replace(part(clock, 2), checksums=(Checksum(Algorithm.CRC32, b"abcd"),))
    await catalog.commit_part(made.upload_id, second)
    await catalog.commit_part(made.upload_id, part(clock, 1, own=own[0]))
    assert await catalog.list_parts(made.upload_id) == [part(clock, 1, own=own[0]), second]
    assert await catalog.list_parts(made.upload_id, after=1) == [second]
    assert await catalog.list_parts(made.upload_id, limit=1) == [part(clock, 1, own=own[0])]
    await catalog.commit_part(made.upload_id, part(clock, 1, own=own[1], etag="b"))
    assert await garbage(catalog, clock) == {(own[0].blob_id, "n1"), (own[0].blob_id, "n2")}
    await catalog.commit_part(made.upload_id, part(clock, 1, etag="c"))
    assert {row[0] for row in await garbage(catalog, clock)} == {own[0].blob_id, own[1].blob_id}
    assert await catalog.list_parts("not an id") == []


async def test_a_part_that_is_sent_again_is_the_same_part(catalog: Catalog, clock: StandingClock) -> None:
    made = upload(clock, "k")
    await catalog.create_upload(made)
    one = part(clock, 1, own=blob(clock))
    for _ in range(2):
        await catalog.commit_part(made.upload_id, one)
    assert await catalog.list_parts(made.upload_id) == [one]
    assert await garbage(catalog, clock) == set()


async def test_parts_need_an_open_upload_and_a_young_blob(catalog: Catalog, clock: StandingClock) -> None:
    with pytest.raises(NoSuchUpload):
        await catalog.commit_part(new_id(0), part(clock, 1))
    made = upload(clock, "k")
    await catalog.create_upload(made)
    late = blob(clock)
    clock.advance(ORPHAN_GRACE_S / 2 + 1)
    with pytest.raises(Conflict):
        await catalog.commit_part(made.upload_id, part(clock, 1, own=late))
    with pytest.raises(Conflict):
        await catalog.create_upload(
            replace(upload(clock, "k"), blob_id=new_id(clock.now_ms() - int(ORPHAN_GRACE_S * 1000)))
        )


@pytest.mark.invariant("C5")
async def test_completing_is_one_step_and_may_be_retried(catalog: Catalog, clock: StandingClock) -> None:
    """C5: the object appears as the upload ends; the growing file becomes the object's, parts' own files go."""
    before, made = version(clock, "k"), upload(clock, "k")
    await catalog.put_object("books", before)
    await catalog.create_upload(made)
    own = blob(clock)
    await catalog.commit_part(made.upload_id, part(clock, 1, etag="e1"))
    await catalog.commit_part(made.upload_id, part(clock, 2, etag="e2", own=own))
    made_version = completed(made, clock)
    await catalog.complete_upload(made, [CompletedPart(1, "e1"), CompletedPart(2, "e2")], made_version)
    assert (await catalog.locate("books", "k")).object == made_version
    assert await catalog.completed_upload("books", "k", made.upload_id) == made_version
    assert await garbage(catalog, clock) == copies(before) | {(own.blob_id, "n1"), (own.blob_id, "n2")}
    assert await catalog.list_uploads("books") == []
    assert await catalog.list_parts(made.upload_id) == []
    with pytest.raises(NoSuchUpload):
        await catalog.complete_upload(made, [CompletedPart(1, "e1")], made_version)
    await catalog.delete_object("books", "k")
    assert copies(made_version) <= await garbage(catalog, clock)


async def test_a_completed_upload_is_remembered_for_a_day(catalog: Catalog, clock: StandingClock) -> None:
    made = upload(clock, "k")
    await catalog.create_upload(made)
    await catalog.commit_part(made.upload_id, part(clock, 1, etag="e1"))
    await catalog.complete_upload(made, [CompletedPart(1, "e1")], completed(made, clock))
    for bucket, key, upload_id in (("none", "k", made.upload_id), ("books", "x", made.upload_id), ("books", "k", "x")):
        assert await catalog.completed_upload(bucket, key, upload_id) is None
    clock.advance(COMPLETED_UPLOAD_KEEP_S - 1)
    assert await catalog.completed_upload("books", "k", made.upload_id) is not None
    assert await catalog.forget_completed_uploads(clock.now_ms() - int(COMPLETED_UPLOAD_KEEP_S * 1000), 10) == 0
    clock.advance(1.001)
    assert await catalog.completed_upload("books", "k", made.upload_id) is None
    assert await catalog.forget_completed_uploads(clock.now_ms() - int(COMPLETED_UPLOAD_KEEP_S * 1000), 10) == 1
    await catalog.delete_object("books", "k")
    await catalog.delete_bucket("books")


async def test_completing_into_another_blob_leaves_the_growing_one_as_garbage(
    catalog: Catalog, clock: StandingClock
) -> None:
    made, assembled = upload(clock, "k"), version(clock, "k", nodes=("n3",))
    await catalog.create_upload(made)
    await catalog.commit_part(made.upload_id, part(clock, 1, etag="e1"))
    await catalog.complete_upload(made, [CompletedPart(1, "e1")], assembled)
    assert (await catalog.locate("books", "k")).object == assembled
    assert await garbage(catalog, clock) == {(made.blob_id, "n1"), (made.blob_id, "n2")}


async def test_completing_on_other_nodes_leaves_garbage_where_it_grew(catalog: Catalog, clock: StandingClock) -> None:
    made = upload(clock, "k")
    await catalog.create_upload(made)
    await catalog.complete_upload(made, [], completed(made, clock, nodes=("n2", "n3")))
    assert await garbage(catalog, clock) == {(made.blob_id, "n1")}
    assert [held.blob_id for held in await catalog.blobs_of_node("n3")] == [made.blob_id]
    assert await catalog.blobs_of_node("n1") == []


async def test_a_completion_that_does_not_hold_changes_nothing(catalog: Catalog, clock: StandingClock) -> None:
    before, made = version(clock, "k"), upload(clock, "k")
    await catalog.put_object("books", before)
    await catalog.create_upload(made)
    await catalog.commit_part(made.upload_id, part(clock, 1, etag="e1"))
    result = completed(made, clock)
    for parts in ([CompletedPart(1, "e2")], [CompletedPart(2, "e1")]):
        with pytest.raises(InvalidPart):
            await catalog.complete_upload(made, parts, result)
    with pytest.raises(PreconditionFailed):
        await catalog.complete_upload(made, [CompletedPart(1, "e1")], result, CREATE)
    assert (await catalog.locate("books", "k")).object == before
    assert await catalog.get_upload("books", "k", made.upload_id) == made
    assert await garbage(catalog, clock) == set()


# nodes


async def test_nodes_are_registered_and_brought_up_to_date(catalog: Catalog) -> None:
    await catalog.register_node(node("n2"))
    await catalog.register_node(node("n1"))
    await catalog.register_node(replace(node("n2", NodeState.DRAINING), volume="/data", url="http://h:1", key=b"\0new"))
    n1, n2 = await catalog.list_nodes()
    assert (n1, n2) == (
        node("n1"),
        replace(node("n2", NodeState.DRAINING), volume="/data", url="http://h:1", key=b"\0new"),
    )


@pytest.mark.invariant("D9")
async def test_a_file_is_unknown_unless_something_refers_to_it_on_that_node(
    catalog: Catalog, clock: StandingClock
) -> None:
    """D9: what the sweeper may delete."""
    put, made, own = version(clock, "k"), upload(clock, "k"), blob(clock)
    assert put.blob is not None
    await catalog.put_object("books", put)
    await catalog.create_upload(made)
    await catalog.commit_part(made.upload_id, part(clock, 1, own=own))
    stranger = new_id(clock.now_ms())
    asked = [put.blob.blob_id, made.blob_id, own.blob_id, stranger, "not an id"]
    assert await catalog.unknown_blobs("n1", asked) == {stranger, "not an id"}
    assert await catalog.unknown_blobs("n3", asked) == set(asked) - {made.blob_id}, "it may be on its way there"
    assert await catalog.unknown_blobs("n1", []) == set()
    await catalog.delete_object("books", "k")
    assert await catalog.unknown_blobs("n1", asked) == {stranger, "not an id"}
    await catalog.forget_garbage(await catalog.due_garbage(clock.now_ms() + GONE, 10))
    assert await catalog.unknown_blobs("n1", asked) == {stranger, "not an id", put.blob.blob_id}


@pytest.mark.invariant("D9")
async def test_gaps_stay_until_they_are_closed(catalog: Catalog) -> None:
    assert await catalog.gaps() == []
    for gap in (Gap(50, 90), Gap(10, 20), Gap(10, 15), Gap(50, 99)):
        await catalog.add_gap(gap)
    assert await catalog.gaps() == [Gap(10, 20), Gap(50, 99)]
    await catalog.close_gaps()
    assert await catalog.gaps() == []


async def test_what_a_node_should_hold_is_paged_by_blob_id(catalog: Catalog, clock: StandingClock) -> None:
    versions = [version(clock, f"k{number}", nodes=("n1", f"m{number % 2}")) for number in range(5)]
    for put in versions:
        await catalog.put_object("books", put)
    await catalog.create_upload(upload(clock, "growing"))
    held = sorted((put.blob for put in versions if put.blob), key=lambda one: one.blob_id)
    assert await catalog.blobs_of_node("n1") == held
    assert await catalog.blobs_of_node("n1", after=held[1].blob_id, limit=2) == held[2:4]
    assert await catalog.blobs_of_node("m1") == [one for one in held if one.nodes[1] == "m1"]
    assert await catalog.blobs_of_node("stranger") == []
