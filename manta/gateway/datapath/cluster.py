"""The storage nodes as this gateway knows them: who is registered, who answers, who has room, who is on this machine.

A node is alive while it answers its probe. It is dead at once when a connection is refused or breaks, and
after NODE_DEAD_AFTER_S of silence; then calls under way end, it gets no copies, is asked last, and its files are not
read behind its back.
"""

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable, Collection, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from manta.catalog.records import Node, NodeState
from manta.catalog.store import NodeStore
from manta.core import placement
from manta.core.clock import Clock
from manta.core.errands import give_up, spawn
from manta.core.errors import InsufficientStorage, MantaError, NodeUnavailable, NotEnoughNodes, SlowDown, VolumeReadOnly
from manta.core.limits import (
    ERRANDS_MAX,
    NODE_DEAD_AFTER_S,
    NODE_PROBE_INTERVAL_S,
    NODE_REFRESH_S,
    NODE_TOKEN_TTL_S,
)
from manta.core.peers import PeerSource
from manta.core.placement import Candidate, Uniform
from storage_nodes import token
from storage_nodes.api import BlobNode, NodeStatus
from storage_nodes.disk.reader import VolumeReader

Connect = Callable[[Node], BlobNode]
OpenVolume = Callable[[Path], VolumeReader]

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Member:
    """One registered node. `status` is its last answer; `unanswered` counts the probes since."""

    node: Node
    client: BlobNode
    volume: VolumeReader | None
    same_machine: bool
    status: NodeStatus | None = None
    alive: bool = False
    unanswered: int = 0
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    watch: "asyncio.Task[None] | None" = None

    def candidate(self) -> Candidate:
        status = self.status
        return Candidate(
            self.node.node_id,
            free_bytes=status.free_bytes if status is not None else 0,
            alive=self.alive and status is not None,
            writable=status is not None and status.writable and self.node.state is NodeState.ACTIVE,
            machine_id=self.node.machine_id,
        )


class Cluster:
    """Holds one client per node; `start` returns after each registered node was probed once."""

    def __init__(
        self,
        catalog: NodeStore,
        clock: Clock,
        connect: Connect,
        *,
        machine_id: str = "",
        open_volume: OpenVolume | None = None,
        uniform: Uniform = random.random,
    ) -> None:
        self.clock = clock
        self._catalog = catalog
        self._connect = connect
        self._machine_id = machine_id
        self._open_volume = open_volume
        self._uniform = uniform
        self._members: dict[str, Member] = {}
        self._candidates: list[Candidate] | None = None
        self._usable: frozenset[str] = frozenset()
        self._refresher: asyncio.Task[None] | None = None
        self._refreshing = asyncio.Lock()
        self._refreshed_s = float("-inf")
        self._errands: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        await self.refresh()
        self._refresher = asyncio.create_task(self._refresh_for_ever(), name="cluster-refresh")

    async def close(self) -> None:
        await give_up(task for task in (self._refresher, *self._errands) if task is not None)
        for member in list(self._members.values()):
            await self._remove(member)

    # --- who there is

    def now_ms(self) -> int:
        return int(self.clock.wall_s() * 1000)

    def members(self) -> list[Member]:
        return list(self._members.values())

    async def know(self, nodes: Collection[str]) -> None:
        """Another gateway may have placed a blob on a node that registered a moment ago: ask the catalog then."""
        if all(node_id in self._members for node_id in nodes):
            return
        # A node that is gone for good must not cost a question to the catalog with every read.
        if self.clock.monotonic_s() - self._refreshed_s >= NODE_REFRESH_S / 4:
            await self.refresh()

    def is_alive(self, node_id: str) -> bool:
        member = self._members.get(node_id)
        return member is not None and member.alive

    def node(self, node_id: str) -> BlobNode:
        """The node's client; NodeUnavailable when it is not registered."""
        member = self._members.get(node_id)
        if member is None:
            raise NodeUnavailable(f"The storage node {node_id} is not registered.")
        return member.client

    def volume(self, node_id: str) -> VolumeReader | None:
        """Its files, if it is alive, on this machine, and direct reads are allowed."""
        member = self._members.get(node_id)
        return member.volume if member is not None and member.alive else None

    def reading_order(self, nodes: Collection[str]) -> list[str]:
        """Living nodes of this machine first, then other living ones, dead ones last: they may be back."""
        if len(nodes) == 1:
            return list(nodes)
        return sorted(nodes, key=self._distance)

    def _distance(self, node_id: str) -> float:
        member = self._members.get(node_id)
        if member is None:
            return 3.0
        # The fraction shares the load among nodes that are equally near.
        return (0.0 if member.same_machine else 1.0) + (0.0 if member.alive else 2.0) + self._uniform() / 2

    def choose(
        self, copies: int, avoid: Collection[str] = (), near: Collection[str] = (), prefer: Sequence[str] = ()
    ) -> list[str]:
        """Nodes for new copies, `prefer` before others; NotEnoughNodes, or SlowDown when enough are alive but full."""
        candidates = self._now()
        if prefer:
            usable = {node.node_id for node in candidates if node.usable and node.node_id not in avoid}
            first = [node_id for node_id in prefer if node_id in usable][:copies]
            if first:
                rest = copies - len(first)
                return first + (self.choose(rest, {*avoid, *first}, {*near, *first}) if rest else [])
        try:
            return placement.choose(candidates, copies, self._uniform, avoid, near)
        except NotEnoughNodes:
            alive = [node for node in candidates if node.alive]
            if len(alive) >= copies + len(near) and not all(node.writable for node in alive):
                raise SlowDown("Too few storage nodes take writes (full or read-only); please try again.") from None
            raise

    def has_nodes_for(self, copies: int, besides: str) -> bool:
        """Whether `choose` would find so many beside that one."""
        self._now()
        return placement.is_enough(self._usable, copies, besides)

    def shortage(self, copies: int) -> str | None:
        """Why no task can start, in a sentence: no living node could give an output so many copies. None if one can."""
        return placement.shortage(self._now(), copies)

    def _now(self) -> list[Candidate]:
        if self._candidates is None:
            self._candidates = [member.candidate() for member in self._members.values()]
            self._usable = placement.usable_ids(self._candidates)
        return self._candidates

    def source(self, node_id: str, blob_id: str, ttl_s: float = NODE_TOKEN_TTL_S) -> PeerSource:
        """Where, and with which token, a peer may read that blob for `ttl_s` seconds."""
        member = self._members[node_id]
        expires_s = self.clock.wall_s() + ttl_s
        signed = token.sign(member.node.key, "GET", token.blob_path(blob_id), expires_s)
        return PeerSource(node_id, member.node.url, signed)

    def sources(self, nodes: Iterable[str], blob_id: str, ttl_s: float = NODE_TOKEN_TTL_S) -> tuple[PeerSource, ...]:
        """Of all of these nodes that are registered, the nearest first."""
        known = [node_id for node_id in nodes if node_id in self._members]
        return tuple(self.source(node_id, blob_id, ttl_s) for node_id in self.reading_order(known))

    # --- what happened to a node

    def failed(self, node_id: str, error: BaseException) -> None:
        """A call failed: a silent node is dead until a probe, made at once, says otherwise; a full one gets none."""
        member = self._members.get(node_id)
        if member is None:
            return
        if isinstance(error, NodeUnavailable):
            member.alive = False
        elif isinstance(error, InsufficientStorage | VolumeReadOnly) and member.status is not None:
            member.status = msgspec.structs.replace(member.status, writable=False)
        self._candidates = None
        member.wake.set()

    def discard(self, blob_id: str, nodes: Collection[str]) -> None:
        """Delete copies that nothing will refer to, soon and if possible; the sweeper finds what is left."""
        for node_id in nodes:
            member = self._members.get(node_id)
            if member is None or len(self._errands) >= ERRANDS_MAX:
                continue
            spawn(self._errands, _quietly(member.client.delete([blob_id])))

    def damaged(self, node_id: str, blob_id: str) -> None:
        """A file read here does not match its checksums: let its node look, and quarantine it (D4)."""
        member = self._members.get(node_id)
        if member is not None and len(self._errands) < ERRANDS_MAX:
            spawn(self._errands, _quietly(member.client.verify(blob_id)))

    # --- keeping up to date

    async def refresh(self) -> None:
        """Take over the catalog's list of nodes; each new one is probed before this returns."""
        async with self._refreshing:
            self._refreshed_s = self.clock.monotonic_s()
            await self._take_over()

    async def _take_over(self) -> None:
        listed = {node.node_id: node for node in await self._catalog.list_nodes() if node.state is not NodeState.GONE}
        for member in list(self._members.values()):
            if listed.get(member.node.node_id) != member.node:
                await self._remove(member)
        added = [self._add(node) for node_id, node in listed.items() if node_id not in self._members]
        await asyncio.gather(*(self._probe(member) for member in added))
        for member in added:
            member.watch = asyncio.create_task(self._watch(member), name=f"probe-{member.node.node_id}")

    def _add(self, node: Node) -> Member:
        same_machine = bool(self._machine_id) and node.machine_id == self._machine_id
        volume = None
        if same_machine and node.volume and self._open_volume is not None:
            volume = self._open_volume(Path(node.volume))
        member = Member(node, self._connect(node), volume, same_machine)
        self._members[node.node_id] = member
        self._candidates = None
        return member

    async def _remove(self, member: Member) -> None:
        self._members.pop(member.node.node_id, None)
        self._candidates = None
        await give_up([member.watch] if member.watch is not None else [])
        await member.client.close()

    async def probe_now(self) -> None:
        """Ask every node how it is."""
        await asyncio.gather(*(self._probe(member) for member in self.members()))

    async def _refresh_for_ever(self) -> None:
        while True:
            await asyncio.sleep(NODE_REFRESH_S)
            # A catalog that is away for a while leaves the list as it was.
            try:
                await self.refresh()
            except (MantaError, OSError):
                continue
            except Exception:
                _log.exception("The list of nodes could not be taken over; it is tried again.")

    async def _watch(self, member: Member) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(NODE_PROBE_INTERVAL_S):
                    await member.wake.wait()
            member.wake.clear()
            await self._probe(member)

    async def _probe(self, member: Member) -> None:
        try:
            async with asyncio.timeout(NODE_PROBE_INTERVAL_S):
                member.status = await member.client.status()
        except NodeUnavailable:
            member.alive = False
        except (TimeoutError, MantaError):
            # Counted, not timed: a stall of this process must not make all nodes look dead at once.
            member.unanswered += 1
            if member.unanswered * NODE_PROBE_INTERVAL_S >= NODE_DEAD_AFTER_S:
                member.alive = False
                member.client.interrupt()
        else:
            member.alive = True
            member.unanswered = 0
        self._candidates = None


async def _quietly(call: Coroutine[None, None, None]) -> None:
    """Nobody waits for it: what fails is found again by the sweeper or the scrubber."""
    with contextlib.suppress(MantaError):
        await call
