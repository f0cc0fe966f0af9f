"""Several gateways on one catalog at once: conditional writes, linearizable keys, buckets that vanish under a PUT."""

import asyncio
import itertools
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest

from manta.catalog.records import CompletedPart, ObjectVersion, WriteCondition
from manta.catalog.store import Catalog
from manta.core.errors import BucketNotEmpty, InvalidPart, NoSuchBucket, NoSuchUpload, PreconditionFailed
from manta.core.limits import GARBAGE_DELAY_S
from tests.support.catalog import StandingClock, completed, opened, part, upload, version

GATEWAYS = 3
RACERS = 24


@pytest.fixture
async def gateways(shared_catalog_url: str, clock: StandingClock) -> AsyncIterator[list[Catalog]]:
    """Catalogs that share nothing but the database; on SQLite two processes overlap during a replacement."""
    async with AsyncExitStack() as stack:
        catalogs = [await stack.enter_async_context(opened(shared_catalog_url, clock)) for _ in range(GATEWAYS)]
        await catalogs[0].create_bucket("books", "alice", 1)
        yield catalogs


@pytest.mark.invariant("C3")
async def test_of_racing_creations_exactly_one_wins(gateways: list[Catalog], clock: StandingClock) -> None:
    """C3"""

    async def creates(gateway: Catalog, made: ObjectVersion) -> bool:
        try:
            await gateway.put_object("books", made, WriteCondition(if_none_match=("*",)))
        except PreconditionFailed:
            return False
        return True

    for key in ("one", "two", "three"):
        versions = [version(clock, key, etag=f"e{number}") for number in range(RACERS)]
        won = await asyncio.gather(*map(creates, itertools.cycle(gateways), versions))
        assert won.count(True) == 1
        for catalog in gateways:
            assert (await catalog.locate("books", key)).object == versions[won.index(True)]


@pytest.mark.invariant("C4")
async def test_a_counter_kept_by_if_match_counts_every_success(gateways: list[Catalog], clock: StandingClock) -> None:
    """C4: the ETag is the counter's value."""
    await gateways[0].put_object("books", version(clock, "counter", etag="0"))

    async def count(number: int) -> int:
        catalog, done = gateways[number % GATEWAYS], 0
        while done < 4:
            current = (await catalog.locate("books", "counter")).object
            assert current is not None
            after = version(clock, "counter", etag=str(int(current.etag) + 1))
            try:
                await catalog.put_object("books", after, WriteCondition(if_match=(current.etag,)))
            except PreconditionFailed:
                continue
            done += 1
        return done

    successes = sum(await asyncio.gather(*(count(number) for number in range(6))))
    final = (await gateways[-1].locate("books", "counter")).object
    assert final is not None
    assert int(final.etag) == successes == 24


@pytest.mark.invariant("C1", "C2")
async def test_what_one_gateway_acknowledged_every_gateway_shows(gateways: list[Catalog], clock: StandingClock) -> None:
    """C1, C2: reads after an acknowledgement show it, also when many write beside it."""
    order = random.Random(5)

    async def work(number: int) -> None:
        for step in range(15):
            key = f"k{number}"
            put = version(clock, key, etag=str(step))
            await order.choice(gateways).put_object("books", put)
            seen = await order.choice(gateways).locate("books", key)
            assert seen.object == put
            page = await order.choice(gateways).list_objects("books", prefix=key)
            assert [(row.key, row.etag) for row in page.objects] == [(key, str(step))]
            if step % 3 == 2:
                assert await order.choice(gateways).delete_object("books", key)
                assert (await order.choice(gateways).locate("books", key)).object is None
                assert (await order.choice(gateways).list_objects("books", prefix=key)).objects == ()

    await asyncio.gather(*(work(number) for number in range(8)))


@pytest.mark.invariant("D9")
async def test_racing_overwrites_leave_one_object_and_the_rest_as_garbage(
    gateways: list[Catalog], clock: StandingClock
) -> None:
    """D9: no copy is forgotten, none is deleted that is still wanted."""
    versions = [version(clock, "k", etag=str(number)) for number in range(RACERS)]
    await asyncio.gather(*(gateways[n % GATEWAYS].put_object("books", made) for n, made in enumerate(versions)))
    current = (await gateways[0].locate("books", "k")).object
    assert current in versions
    due = await gateways[0].due_garbage(clock.now_ms() + int(GARBAGE_DELAY_S * 1000), 1000)
    discarded = {made.blob.blob_id for made in versions if made.blob and made != current}
    assert {(row.blob_id, row.node_id) for row in due} == {(one, node) for one in discarded for node in ("n1", "n2")}


async def test_a_bucket_never_goes_with_an_object_in_it(gateways: list[Catalog], clock: StandingClock) -> None:
    for _ in range(12):
        put = version(clock, "k")
        outcome = await asyncio.gather(
            gateways[0].put_object("books", put), gateways[1].delete_bucket("books"), return_exceptions=True
        )
        if outcome[0] is None:
            assert isinstance(outcome[1], BucketNotEmpty)
            assert (await gateways[2].locate("books", "k")).object == put
            await gateways[2].delete_object("books", "k")
        else:
            assert isinstance(outcome[0], NoSuchBucket)
            assert outcome[1] is None
            await gateways[2].create_bucket("books", "alice", 1)


@pytest.mark.invariant("C5")
async def test_completing_aborting_and_uploading_at_once_end_in_one_of_them(
    gateways: list[Catalog], clock: StandingClock
) -> None:
    """C5"""
    for _ in range(8):
        made = upload(clock, "k")
        await gateways[0].create_upload(made)
        await gateways[0].commit_part(made.upload_id, part(clock, 1, etag="e1"))
        result = completed(made, clock)
        done = await asyncio.gather(
            gateways[0].complete_upload(made, [CompletedPart(1, "e1")], result),
            gateways[1].abort_upload("books", "k", made.upload_id),
            gateways[2].commit_part(made.upload_id, part(clock, 1, etag="e2")),
            gateways[2].complete_upload(made, [CompletedPart(1, "e1")], replace(result, etag="again")),
            return_exceptions=True,
        )
        assert all(one is None or isinstance(one, NoSuchUpload | InvalidPart) for one in done)
        ended = [done[0], done[1], done[3]]
        assert ended.count(None) == 1
        current = (await gateways[1].locate("books", "k")).object
        assert (current is None) == (done[1] is None)
        if current is not None:
            await gateways[0].delete_object("books", "k")
