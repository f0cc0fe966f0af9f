"""Transactions of several gateways take their rows in one order: PostgreSQL never finds them waiting in a circle.

It looks for circles after a second only, and runs one of those in it again: no data is lost, but that second is.
"""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest

from jobs.model.wire import TaskResult
from manta.catalog.job_records import Granted
from manta.catalog.store import Catalog
from manta.core.limits import LEASE_S
from manta.core.names import new_id
from tests.support.catalog import StandingClock, opened, version
from tests.support.jobs import MAP, new_job, output, ref, stored, success
from tests.support.postgres import Server

GATEWAYS = 3
OBJECTS = 60
RACERS = 8
NODES = ("n1", "n2")


@pytest.fixture
def clock() -> StandingClock:
    return StandingClock()


@pytest.fixture
async def gateways(postgres_server: Server, clock: StandingClock) -> AsyncIterator[list[Catalog]]:
    """Three on one catalog. No test here may add to the server's deadlocks."""
    before = postgres_server.deadlocks()
    url = postgres_server.new_schema()
    async with AsyncExitStack() as stack:
        catalogs = [await stack.enter_async_context(opened(url, clock)) for _ in range(GATEWAYS)]
        await catalogs[0].create_bucket("books", "alice", 1)
        for node in NODES:
            await catalogs[0].jobs.renew(node, "e", clock.now_ms() + int(LEASE_S * 1000))
        yield catalogs
    assert postgres_server.deadlocks() == before


async def _job(catalog: Catalog, clock: StandingClock, inputs: list[str], owner: str = "alice") -> str:
    made = await catalog.jobs.create_job(new_job(clock.now_ms(), [MAP], inputs, owner=owner))
    while (await catalog.jobs.tend(made.job_id)).more:
        pass
    return made.job_id


async def _lease_all(catalog: Catalog, clock: StandingClock) -> list[Granted]:
    grants: list[Granted] = []
    while more := await catalog.jobs.lease("n1", "e", [new_id(clock.now_ms()) for _ in range(64)]):
        grants += more
    return grants


def _done(grants: list[Granted]) -> list[TaskResult]:
    return [success(ref(one.task), [output(one.task.slot, NODES)]) for one in grants]


async def test_reports_of_jobs_over_the_same_objects(gateways: list[Catalog], clock: StandingClock) -> None:
    """Each report ends tasks of two jobs, in which the same inputs are in another order."""
    order = random.Random(3)
    keys = [f"k{number:02d}" for number in range(OBJECTS)]
    for key in keys:
        await gateways[0].put_object("books", stored(clock.now_ms(), key, NODES))
    pairs: list[list[str]] = []
    for _ in range(RACERS):
        wanted = [[f"s3://books/{key}" for key in order.sample(keys, OBJECTS // 2)] for _ in range(2)]
        pairs.append([await _job(gateways[0], clock, inputs) for inputs in wanted])
    grants = await _lease_all(gateways[0], clock)
    reports = [_done([one for one in grants if one.task.job_id in pair]) for pair in pairs]
    assert [len(report) for report in reports] == [OBJECTS] * RACERS
    await asyncio.gather(*(gateways[n % GATEWAYS].jobs.report("n1", report) for n, report in enumerate(reports)))
    for pair in pairs:
        for job_id in pair:
            assert (await gateways[0].jobs.get_job(job_id)).state == "done"


async def test_copies_in_both_directions(gateways: list[Catalog], clock: StandingClock) -> None:
    """Each gains the blob that the other lets go of."""
    for key in ("a", "b", "x", "y"):
        await gateways[0].put_object("books", version(clock, key))
    for _ in range(20):
        await _copy(gateways[0], clock, "a", "x")
        await _copy(gateways[0], clock, "b", "y")
        await asyncio.gather(_copy(gateways[0], clock, "x", "y"), _copy(gateways[1], clock, "y", "x"))


async def _copy(catalog: Catalog, clock: StandingClock, key: str, to: str) -> None:
    found = (await catalog.locate("books", key)).object
    assert found is not None
    await catalog.put_object("books", replace(version(clock, to), blob=found.blob), new_blob=False)


async def test_leases_by_turns_beside_reports(gateways: list[Catalog], clock: StandingClock) -> None:
    """The least busy account's job comes first, whatever its id; a report takes jobs by their ids."""
    await gateways[0].create_bucket("notes", "bob", 1)
    for number in range(8):
        for bucket in ("books", "notes"):
            await gateways[0].put_object(bucket, stored(clock.now_ms(), str(number), NODES))
    await _job(gateways[0], clock, ["s3://books/"])
    await _lease_all(gateways[0], clock)  # alice is busy
    for _ in range(8):
        clock.advance(1.0)
        early = await _job(gateways[0], clock, ["s3://books/"])
        clock.advance(1.0)
        late = await _job(gateways[0], clock, ["s3://notes/"], owner="bob")
        slots = [new_id(clock.now_ms()) for _ in range(20)]
        held = await gateways[0].jobs.lease("n2", "e", slots[:2], without=[late])
        held += await gateways[0].jobs.lease("n2", "e", slots[2:4], without=[early])
        assert [one.task.job_id for one in held] == [early, early, late, late]
        granted, stirred = await asyncio.gather(
            gateways[0].jobs.lease("n1", "e", slots[4:11]), gateways[1].jobs.report("n2", _done(held))
        )
        assert stirred.stale == ()
        granted += await _lease_all(gateways[0], clock)
        assert len(granted) == 12
        await gateways[0].jobs.report("n1", _done(granted))
