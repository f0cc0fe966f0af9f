"""A job store with a node n1 and a bucket of alice's, on each engine: for tests of how inputs become tasks."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from jobs.model.wire import TaskResult
from manta.catalog.job_records import Granted, JobView, Line
from manta.catalog.store import Catalog
from manta.core.names import new_id
from tests.support.catalog import StandingClock, opened
from tests.support.jobs import new_job, output, ref, stored, success


class InputRig:
    def __init__(self, catalog: Catalog, clock: StandingClock) -> None:
        self.catalog, self.clock, self.jobs = catalog, clock, catalog.jobs

    async def put(self, key: str, size: int = 10, *, nodes: tuple[str, ...] = ("n1",), bucket: str = "books") -> str:
        """Its blob; "" without one."""
        version = stored(self.clock.now_ms(), key, nodes, size)
        await self.catalog.put_object(bucket, version)
        return version.blob.blob_id if version.blob is not None else ""

    async def begin(self, *inputs: object, phases: Sequence[dict[str, Any]], **more: Any) -> str:
        """A job with its inputs resolved."""
        job = (await self.jobs.create_job(new_job(self.clock.now_ms(), phases, inputs, **more))).job_id
        await self.tend(job)
        return job

    async def tend(self, job: str) -> None:
        while (await self.jobs.tend(job)).more:
            pass

    async def lease(self, lanes: int = 10, node: str = "n1") -> list[Granted]:
        return await self.jobs.lease(node, "e", [new_id(self.clock.now_ms()) for _ in range(lanes)])

    async def report(self, *results: TaskResult) -> None:
        await self.jobs.report("n1", results)

    async def view(self, job: str) -> JobView:
        """Once it has ended, J3 holds: every input has, and as many lines say so."""
        view = await self.jobs.get_job(job)
        if view.ended_ms is not None:
            lines = await self.jobs.inputs(job, 0, 10_000)
            states = [line.fields["state"] for line in lines]
            counted = view.phases[0].tasks
            for state in ("committed", "failed", "cancelled"):
                assert states.count(state) == counted[state]
            assert sum(counted[state] for state in ("waiting", "ready", "running")) == 0
        return view

    async def lines(self, job: str, limit: int = 1000) -> list[Line]:
        """All lines of the inputs, page by page."""
        found: list[Line] = []
        while page := await self.jobs.inputs(job, found[-1].seq if found else 0, limit):
            found += page
        return found

    def done(self, grant: Granted) -> TaskResult:
        return success(ref(grant.task), [output(grant.task.slot, ("n1",))])


@pytest.fixture
async def rig(catalog_url: str, clock: StandingClock) -> AsyncIterator[InputRig]:
    async with opened(catalog_url, clock) as catalog:
        await catalog.create_bucket("books", "alice", 7)
        await catalog.jobs.renew("n1", "e", clock.now_ms() + 10_000_000)
        yield InputRig(catalog, clock)
