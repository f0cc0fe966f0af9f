"""The agent of a node, composed: leases come in, tasks run in the sandbox, results go out."""

import asyncio
import logging
import secrets
from collections.abc import Collection, Coroutine, Sequence
from pathlib import Path

from jobs.agent.counters import Counters
from jobs.agent.furnishing.furnisher import Furnisher
from jobs.agent.furnishing.image_cache import ImageCache
from jobs.agent.furnishing.object_cache import ObjectCache
from jobs.agent.furnishing.scarcity import yield_when_scarce
from jobs.agent.lanes.lanes import Lanes
from jobs.agent.login.sessions import Sessions
from jobs.agent.output_limit import output_share
from jobs.agent.peer_meter import MeteredPeers
from jobs.agent.ports import Gateway, LocalStore, Peers
from jobs.agent.resources import Resources, machine_capacity
from jobs.agent.stderr.expiry import Expiry
from jobs.agent.stderr.store import StderrStore
from jobs.agent.streams.inputs import ReduceInputs
from jobs.agent.streams.outputs import Outputs
from jobs.agent.tasks.batches import BatchRunner
from jobs.agent.tasks.runner import Runner
from jobs.agent.uplink.gateways import Gateways
from jobs.agent.uplink.link import Link
from jobs.agent.uplink.reports import Reports
from jobs.agent.zones.doors import SandboxWithDoors
from jobs.model.resources import Capacity
from jobs.model.wire import TaskResult
from jobs.programs.python_runtime import PythonRuntime, python_runtime
from jobs.sandbox.api import Sandbox
from manta.core.clock import Clock, SystemClock
from manta.core.errands import give_up
from manta.core.errors import SandboxUnavailable

_LOG = logging.getLogger("manta.agent")
_SANDBOX_RETRY_S = 30.0
_STOPPED = "The node is being stopped."


class Agent:
    """Runs from `start` to `close`; tasks only until `give_back`. `epoch` is new at every start.

    In-task programs need `doors_folder`, for the sockets by which they reach this agent; `no_programs` says why tasks
    have none.
    """

    def __init__(  # noqa: PLR0913 - composed once, by name where it matters
        self,
        node_id: str,
        lanes: int,
        store: LocalStore,
        peers: Peers,
        gateways: Sequence[Gateway],
        sandbox: Sandbox,
        stderr_folder: Path,
        cache_folder: Path,
        clock: Clock | None = None,
        doors_folder: Path | None = None,
        capacity: Capacity | None = None,
        python: PythonRuntime | None = None,
        no_programs: str = "",
    ) -> None:
        clock = clock or SystemClock()
        if doors_folder is not None:
            sandbox = SandboxWithDoors(sandbox, doors_folder)
        self.counters = Counters()
        self._no_programs = no_programs
        self.stderr = StderrStore(stderr_folder, clock)
        self._sandbox = sandbox
        self._gateways = gateways
        self.peers = MeteredPeers(peers, self.counters)
        caller = Gateways(gateways)
        self._expiry = Expiry(node_id, self.stderr, caller)
        self._outputs = Outputs(node_id, store, self.peers, caller, output_share(lanes))
        inputs = ReduceInputs(node_id, store, self.peers, caller)
        self._cache_folder = cache_folder
        self._objects = ObjectCache(cache_folder / "objects", inputs)
        self._images = ImageCache(cache_folder / "images", sandbox, self._objects)
        furnisher = Furnisher(node_id, caller, self._objects, self._images, python or python_runtime())
        runner = Runner(node_id, store, inputs, self._outputs, caller, self.stderr, clock, self.peers)
        resources = Resources(lanes, capacity or machine_capacity())
        epoch = secrets.token_hex(8)
        self._reports = Reports(
            node_id, epoch, caller, self._are_awaited, lambda: self._link.standing(), self._discard, self._on_change
        )
        self._lanes = Lanes(
            resources, sandbox, furnisher, BatchRunner(runner, self._outputs, self.peers), clock, self.counters,
            self._reports, self._on_change,
        )  # fmt: skip
        self.sessions = Sessions(sandbox, store, self._objects, clock, resources, lambda: self._lanes.unavailable)
        self._link = Link(node_id, epoch, caller, self._lanes, self._reports, clock)
        self._tasks: set[asyncio.Task[None]] = set()
        self._failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._gives_back = False

    async def start(self) -> None:
        """Ask for work. Without a sandbox the agent refuses every task with the reason, and tries again at times."""
        await asyncio.to_thread(self.stderr.load)
        await asyncio.to_thread(self._objects.load)
        await asyncio.to_thread(self._images.load)
        if not await self._start_sandbox():
            self._spawn(self._retry_sandbox())
        self._spawn(self._expiry.run())
        self._spawn(yield_when_scarce(self._cache_folder, self._images, self._objects))
        self._spawn(self._link.run())

    async def failed(self) -> None:
        """Never returns; raises what broke the agent, so that its process ends and is started anew."""
        await asyncio.shield(self._failed)

    async def give_back(self) -> None:
        """Once: ask for no more work, kill what runs, report what is done, give the rest back. Login sessions go on."""
        if self._gives_back:
            return
        self._gives_back = True
        await give_up(self._tasks)
        self._failed.cancel()
        held, begun = self._link.held(), self._link.begun()
        await self._lanes.close()
        if held or self._link.has_returned or self._reports.has_stopped:
            await self._link.give_back(held, begun)
        self._lanes.unavailable = _STOPPED
        await self._hang_up()

    async def close(self) -> None:
        """Give back what runs, and end all else."""
        await self.give_back()
        await self.sessions.close()
        await self._sandbox.close()
        await self.peers.close()
        await self._hang_up()

    def status(self) -> dict[str, object]:
        """The agent's part of the node's status."""
        return {
            "lanes": self._lanes.count,
            "running": self._lanes.running,
            "waiting": self._lanes.waiting,
            "zones": self._lanes.zones,
            "unreported": len(self._reports),
            "gateway_reachable": self._link.reachable,
            "refusing": self._lanes.unavailable or "",
            "no_programs": self._no_programs,
            "sandbox": self._sandbox.describe(),
            "cached_object_bytes": self._objects.used_bytes,
            "cached_image_bytes": self._images.used_bytes,
            "stderr_bytes": self.stderr.total_bytes,
            "stderr_dropped": self.stderr.dropped,
            **self.sessions.status(),
            **self.counters.as_dict(),
        }

    async def _hang_up(self) -> None:
        """A gateway that is to end waits for connections on which more might come."""
        for gateway in self._gateways:
            await gateway.close()

    def _on_change(self) -> None:
        self._link.changed()

    def _are_awaited(self, job_ids: Collection[str]) -> bool:
        """Whether results of these jobs may be all that a lane, or a whole job, waits for."""
        return self._lanes.hungry or any(not self._lanes.works_for(job_id) for job_id in job_ids)

    def _discard(self, result: TaskResult) -> None:
        outputs = (*result.outputs, *(output for one in result.members for output in one.outputs))
        if blob_ids := [output.blob_id for output in outputs if output.blob_id is not None]:
            self._spawn(self._outputs.discard(*blob_ids))

    async def _start_sandbox(self) -> bool:
        try:
            await self._sandbox.start()
        except SandboxUnavailable as error:
            self._lanes.unavailable = error.message
            _LOG.error("Tasks are refused: %s", error.message)
            return False
        self._lanes.unavailable = None
        return True

    async def _retry_sandbox(self) -> None:
        while True:
            await asyncio.sleep(_SANDBOX_RETRY_S)
            if await self._start_sandbox():
                return

    def _spawn(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None and not self._failed.done():
            self._failed.set_exception(error)
