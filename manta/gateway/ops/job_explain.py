"""What a job would do: `POST /jobs/explain` takes a job document, looks its inputs up, and runs nothing."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field

from jobs.model.document import JobDocument, JobPlan, parse_document
from jobs.model.wire import TaskKind
from manta.auth.policy import Action
from manta.core import limits
from manta.core.errors import MantaError
from manta.gateway.access import authorize_owner, owner_principal, visible
from manta.gateway.context import Context
from manta.gateway.http.request import Request
from manta.gateway.http.responses import Response, json_response
from manta.gateway.long_requests import Explanations
from manta.gateway.ops.job_common import check_output, shown_work


@dataclass(slots=True)
class Estimate:
    """Sums over the inputs found. `tasks`: each task counted at the node that would have the fewest then."""

    inputs: int = 0
    all_tasks: int = 0
    size_bytes: int = 0
    unreadable: Counter[str] = field(default_factory=Counter)
    holds: Counter[str] = field(default_factory=Counter)
    holds_bytes: Counter[str] = field(default_factory=Counter)
    tasks: Counter[str] = field(default_factory=Counter)

    def add(self, size_bytes: int, nodes: tuple[str, ...], *, inputs: int) -> None:
        """A task of the first phase; `inputs`: those that begin in it."""
        self.inputs += inputs
        self.all_tasks += 1
        self.size_bytes += size_bytes
        for node in nodes:
            self.holds[node] += inputs
            self.holds_bytes[node] += size_bytes
        if nodes:
            self.tasks[min(nodes, key=lambda node: (self.tasks[node], node))] += 1

    def shown(self, plan: JobPlan, *, complete: bool) -> dict[str, object]:
        nodes = [
            {"node": node, "inputs": self.holds[node], "bytes": self.holds_bytes[node], "tasks": self.tasks[node]}
            for node in sorted(self.holds)
        ]
        return {
            "inputs": self.inputs,
            "input_bytes": self.size_bytes,
            "unreadable": dict(self.unreadable),
            "complete": complete,
            "phases": phase_tasks(plan, self.all_tasks),
            "nodes": nodes,
        }


def phase_tasks(plan: JobPlan, tasks: int) -> list[dict[str, object]]:
    """Tasks of each phase, from those of a first that maps, where each task has one small output."""
    found: list[dict[str, object]] = []
    for phase in plan.phases:
        tasks = phase.count if phase.kind is TaskKind.REDUCE else tasks
        found.append({"type": phase.kind.value, **shown_work(phase.exec, phase.program_name), "tasks": tasks})
    return found


async def missing_furniture(context: Context, owner_id: str, plan: JobPlan) -> list[dict[str, object]]:
    """The assets and images that tasks of that owner could not have: phase, object and why."""
    missing: list[dict[str, object]] = []
    for number, phase in enumerate(plan.phases):
        for bucket, key in (*phase.assets, *((phase.image,) if phase.image is not None else ())):
            try:
                located = await context.catalog.locate(bucket, key)
                authorize_owner(owner_id, Action.GET, located.bucket, key)
                visible(owner_principal(owner_id), located, key)
            except MantaError as error:
                missing.append({"phase": number, "object": f"s3://{bucket}/{key}", "message": error.message})
    return missing


async def explain_job(context: Context, request: Request) -> Response:
    """The plan and its estimate, over limits.EXPLAIN_INPUTS_MAX inputs, among limits.EXPLAIN_LOOKS_MAX objects at most;
    `complete` says whether that is all. SlowDown."""
    document = parse_document(await request.body.read(limits.JSON_MAX_BYTES))
    await check_output(context, request, document.plan)
    estimate = Estimate()
    with context.shared(Explanations).taken(request.account_id):
        complete = await _look_up(context, request, document, estimate)
        missing = await missing_furniture(context, request.account_id, document.plan)
    return json_response(estimate.shown(document.plan, complete=complete) | {"missing": missing})


async def _look_up(context: Context, request: Request, document: JobDocument, estimate: Estimate) -> bool:
    owner_id = request.account_id
    position, after, looks = 0, "", 0
    while position < len(document.inputs):
        found = estimate.all_tasks + estimate.unreadable.total()
        if found >= limits.EXPLAIN_INPUTS_MAX or looks >= limits.EXPLAIN_LOOKS_MAX or request.is_abandoned():
            return False
        looks += limits.RESOLVE_PAGE
        page = await context.catalog.jobs.find_inputs(owner_id, document.plan, document.inputs, position, after)
        for size_bytes, nodes, inputs in page.tasks:
            estimate.add(size_bytes, nodes, inputs=inputs)
        estimate.unreadable.update(page.unreadable)
        position, after = page.position, page.after
        await asyncio.sleep(0)  # a page may be read without waiting for anything
    return True
