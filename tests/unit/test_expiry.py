"""What dead nodes leave behind is taken from them job by job, and page by page."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, cast

import pytest

from jobs.model.wire import AttemptRef
from jobs.scheduler.expiry import Expiry
from manta.catalog.job_records import QUEUE_BEGIN, QueuePlace, Stirred, Stranded
from manta.catalog.job_store import JobStore
from manta.core.limits import EXPIRY_PAGES

PAGES = 2 * EXPIRY_PAGES + 3
POISONED = "a"


class DeadNode:
    """n1 is dead. Job `a` can be changed by nobody; a page of the queue has a task of it and one of another job."""

    def __init__(self, pages: int = 1) -> None:
        self.pages = pages
        self.lost: list[str] = []
        self.offered: list[str] = []
        self.freed: list[str] = []

    async def running(self, node_id: str) -> list[AttemptRef]:
        return [AttemptRef(job_id, 1, 1) for job_id in ("b", POISONED)] if node_id == "n1" else []

    async def release(self, node_id: str, attempts: Sequence[AttemptRef], *, delivered: bool) -> Stirred:
        assert delivered
        (job_id,) = {attempt.job_id for attempt in attempts}
        return self._change(self.lost, job_id)

    async def stranded(
        self, queue: str, after: QueuePlace, alive: Collection[str], dead: Mapping[str, float]
    ) -> Stranded:
        page = after[2]
        jobs = {POISONED: {1: 0}, f"p{page}": {2: 0}}
        return Stranded(jobs, ("o", "j", page + 1) if page + 1 < self.pages else None)

    async def requeue(
        self, job_id: str, since: Mapping[int, int], alive: Collection[str], dead: Mapping[str, float]
    ) -> Stirred:
        return self._change(self.offered, job_id)

    async def late_reducers(self) -> dict[str, dict[int, int]]:
        return {POISONED: {3: 0}, "r": {4: 0}}

    async def free_reducers(self, job_id: str, since: Mapping[int, int]) -> Stirred:
        return self._change(self.freed, job_id)

    @staticmethod
    def _change(done: list[str], job_id: str) -> Stirred:
        if job_id == POISONED:
            raise ValueError("unforeseen")
        done.append(job_id)
        return Stirred(jobs=frozenset([job_id]))


async def _round(expiry: Expiry, dead: Mapping[str, float]) -> set[str]:
    return {job_id async for stirred in expiry.round(["n2"], dead) for job_id in stirred.jobs}


@pytest.mark.invariant("J4")
async def test_a_job_that_fails_keeps_no_other_from_being_taken_over(caplog: pytest.LogCaptureFixture) -> None:
    node = DeadNode()
    assert await _round(Expiry(cast("JobStore", cast("Any", node))), {"n1": 1.0}) == {"b", "p0", "r"}
    assert (node.lost, node.offered, node.freed) == (["b"], ["p0"], ["r"])
    assert sum("job a " in record.getMessage() for record in caplog.records) == 3


async def test_a_long_queue_goes_on_where_the_last_round_stopped() -> None:
    node = DeadNode(PAGES)
    expiry = Expiry(cast("JobStore", cast("Any", node)))
    lengths = []
    for _ in range(3):
        await _round(expiry, {"n1": 1.0})
        lengths.append(len(node.offered))
    assert lengths == [EXPIRY_PAGES, 2 * EXPIRY_PAGES, PAGES]
    assert node.offered == [f"p{page}" for page in range(PAGES)]
    await _round(expiry, {"n1": 1.0})
    assert node.offered[PAGES] == "p0", "from its beginning again"


async def test_a_node_that_lives_again_is_forgotten() -> None:
    node = DeadNode(PAGES)
    expiry = Expiry(cast("JobStore", cast("Any", node)))
    await _round(expiry, {"n1": 1.0})
    await _round(expiry, {})
    await _round(expiry, {"n1": 1.0})
    assert node.offered[EXPIRY_PAGES] == f"p{QUEUE_BEGIN[2]}"
