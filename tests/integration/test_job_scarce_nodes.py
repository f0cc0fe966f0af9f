"""Too few nodes for the wanted copies of an output: tasks wait, and what runs is left alone."""

from collections.abc import Collection

import pytest

from jobs.model.questions import SlotsRequest
from jobs.model.wire import AttemptRef, LeaseRequest
from jobs.scheduler.scheduler import Scheduler
from manta.catalog.memory import MemoryCatalog
from manta.core.errors import NotEnoughNodes
from manta.core.peers import PeerSource
from tests.support.catalog import StandingClock
from tests.support.jobs import MAP, NoPlacement, new_job, stored


class ScarcePlacement(NoPlacement):
    """A cluster whose other nodes come and go."""

    alone = False

    def takes_tasks(self, node_id: str) -> bool:
        return not self.alone


@pytest.mark.invariant("J4")
async def test_a_node_alone_keeps_its_tasks_and_is_given_no_new_ones() -> None:
    clock, placement = StandingClock(), ScarcePlacement()
    catalog = MemoryCatalog(clock)
    await catalog.create_bucket("books", "alice", 7)
    for key in ("a", "b"):
        await catalog.put_object("books", stored(clock.now_ms(), key, ("n1",)))
    scheduler = Scheduler(catalog.jobs, clock, placement)
    job = await catalog.jobs.create_job(new_job(clock.now_ms(), [MAP], ["s3://books/"]))
    await catalog.jobs.tend(job.job_id)

    async def poll(*held: AttemptRef) -> list[AttemptRef]:
        reply = await scheduler.lease(LeaseRequest("n1", "e", free_lanes=1, wait_s=0.0, held=held))
        assert reply.lost == ()
        return [AttemptRef(task.job_id, task.task_id, task.attempt) for task in reply.tasks]

    (first,) = await poll()
    placement.alone = True
    assert await poll(first) == [], "an answer: without one for the time of a lease, the node would end its task"
    assert len(await catalog.jobs.running("n1")) == 1, "nothing is given that the node never hears of"
    placement.alone = False
    (second,) = await poll(first)
    assert second.attempt == 1


async def _with_a_job(placement: NoPlacement) -> tuple[Scheduler, MemoryCatalog]:
    """One map task is ready on n1."""
    clock = StandingClock()
    catalog = MemoryCatalog(clock)
    await catalog.create_bucket("books", "alice", 7)
    await catalog.put_object("books", stored(clock.now_ms(), "a", ("n1",)))
    scheduler = Scheduler(catalog.jobs, clock, placement)
    job = await catalog.jobs.create_job(new_job(clock.now_ms(), [MAP], ["s3://books/"]))
    await catalog.jobs.tend(job.job_id)
    return scheduler, catalog


class BreakingPlacement(NoPlacement):
    """A cluster that has room when it is asked first, and none when the reply is made."""

    left = 0

    def copies(self, blob_id: str, node_id: str, ttl_s: float, avoid: Collection[str] = ()) -> tuple[PeerSource, ...]:
        self.left -= 1
        if self.left < 0:
            raise NotEnoughNodes
        return ()


@pytest.mark.invariant("J4")
async def test_what_was_leased_but_not_told_is_offered_again_at_once() -> None:
    placement = BreakingPlacement()
    scheduler, catalog = await _with_a_job(placement)
    with pytest.raises(NotEnoughNodes):
        await scheduler.lease(LeaseRequest("n1", "e", free_lanes=1, wait_s=0.0))
    assert len(await catalog.jobs.running("n1")) == 1
    placement.left = 9
    (task,) = (await scheduler.lease(LeaseRequest("n1", "e", free_lanes=1, wait_s=0.0))).tasks
    assert task.attempt == 2


class NotingPlacement(NoPlacement):
    """Remembers what was to be avoided, the last time."""

    avoided: Collection[str] = ()

    def copies(self, blob_id: str, node_id: str, ttl_s: float, avoid: Collection[str] = ()) -> tuple[PeerSource, ...]:
        self.avoided = avoid
        return ()


@pytest.mark.parametrize("further", [False, True])
async def test_a_new_slot_avoids_the_nodes_that_took_no_copy(further: bool) -> None:
    placement = NotingPlacement()
    scheduler, _ = await _with_a_job(placement)
    (task,) = (await scheduler.lease(LeaseRequest("n1", "e", free_lanes=1, wait_s=0.0))).tasks
    held = AttemptRef(task.job_id, task.task_id, task.attempt)
    await scheduler.places.slots(SlotsRequest("n1", held, 1, avoid=("n2",), further=further))
    assert placement.avoided == ("n2",)
