"""What was kept of jobs' stderr goes with the jobs: a gateway is asked, now and then, which of them are gone (O2)."""

import asyncio

from jobs.agent.ports import Caller
from jobs.agent.stderr.store import StderrStore
from jobs.model.questions import JobsReply, JobsRequest
from manta.core.errors import MantaError
from manta.core.limits import JOBS_ASKED_MAX, STDERR_ASK_S


class Expiry:
    """Only a gateway knows when a job is removed: by its owner, or so long after its end as is configured there."""

    def __init__(self, node_id: str, store: StderrStore, caller: Caller) -> None:
        self._node_id = node_id
        self._store = store
        self._caller = caller

    async def run(self) -> None:
        """For ever; first at once, since jobs went while this node was away."""
        while True:
            await self.round()
            await asyncio.sleep(STDERR_ASK_S)

    async def round(self) -> None:
        """Asks for all jobs of which something is kept. What no gateway answers for is kept."""
        jobs = self._store.jobs()
        for start in range(0, len(jobs), JOBS_ASKED_MAX):
            page = jobs[start : start + JOBS_ASKED_MAX]
            try:
                reply = await self._caller.call("jobs", JobsRequest(self._node_id, page), JobsReply)
            except MantaError:
                return
            self._store.forget_jobs(reply.gone)
