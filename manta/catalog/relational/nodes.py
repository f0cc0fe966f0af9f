"""Nodes, what each should hold, and garbage, in tables."""

import json
from collections.abc import Iterable, Sequence

from manta.catalog.ops import Many, Op, Script
from manta.catalog.packing import pack_id, unpack_id
from manta.catalog.records import Blob, Gap, Garbage, Node, NodeState
from manta.catalog.relational.shared import Part, Shared
from manta.catalog.rules import is_id


class Nodes(Part):
    async def register_node(self, node: Node) -> None:
        await self.engine.change(lambda: _register(self.shared, node))

    async def list_nodes(self) -> list[Node]:
        return await self.engine.look(_list_nodes)

    async def due_garbage(self, now_ms: int, limit: int, *, node_id: str | None = None) -> list[Garbage]:
        if node_id is None:
            return await self.engine.look(lambda: _due(now_ms, limit))
        return await self.engine.look(lambda: _due_of_node(self.shared, node_id, now_ms, limit))

    async def forget_garbage(self, done: Iterable[Garbage]) -> None:
        rows = list(done)
        await self.shared.learn(sorted({garbage.node_id for garbage in rows}))
        await self.engine.change(lambda: _forget(self.shared, rows))

    async def born_ms(self) -> int:
        return await self.engine.look(_born)

    async def add_gap(self, gap: Gap) -> None:
        await self.engine.change(lambda: _add_gap(gap))

    async def gaps(self) -> list[Gap]:
        return await self.engine.look(_gaps)

    async def close_gaps(self) -> None:
        await self.engine.change(_close_gaps)

    async def unknown_blobs(self, node_id: str, blob_ids: Sequence[str]) -> set[str]:
        return await self.engine.look(lambda: _unknown(self.shared, node_id, blob_ids))

    async def blobs_of_node(self, node_id: str, *, after: str = "", limit: int = 1000) -> list[Blob]:
        return await self.engine.look(lambda: _blobs_of(self.shared, node_id, after, limit))


def _register(shared: Shared, node: Node) -> Script[None]:
    yield from shared.number(node.node_id)
    values = (node.node_id, node.url, node.key, node.machine_id, node.volume, node.state.value, node.registered_ms)
    yield Op("register_node", values)


def _list_nodes() -> Script[list[Node]]:
    found = []
    for node_id, url, key, machine_id, volume, state, registered_ms in (yield Op("list_nodes")):
        found.append(Node(node_id, url, key, machine_id, volume, NodeState(state), registered_ms))
    return found


def _due(now_ms: int, limit: int) -> Script[list[Garbage]]:
    rows = yield Op("due_garbage", (now_ms, limit))
    return [Garbage(unpack_id(blob_id), node_id, due_ms) for blob_id, node_id, due_ms in rows]


def _due_of_node(shared: Shared, node_id: str, now_ms: int, limit: int) -> Script[list[Garbage]]:
    number = yield from shared.known_number(node_id)
    if number is None:
        return []
    rows = yield Op("due_garbage_of_node", (number, now_ms, limit))
    return [Garbage(unpack_id(blob_id), node_id, due_ms) for blob_id, due_ms in rows]


def _forget(shared: Shared, done: Sequence[Garbage]) -> Script[None]:
    rows = []
    for garbage in done:
        number = yield from shared.number(garbage.node_id)
        rows.append((number, pack_id(garbage.blob_id)))
    yield Many("forget_garbage", sorted(rows))


def _born() -> Script[int]:
    return int((yield Op("catalog_born"))[0][0])


def _add_gap(gap: Gap) -> Script[None]:
    yield Op("add_gap", (gap.since_ms, gap.until_ms))


def _gaps() -> Script[list[Gap]]:
    return [Gap(*row) for row in (yield Op("list_gaps"))]


def _close_gaps() -> Script[None]:
    yield Op("close_gaps")


def _unknown(shared: Shared, node_id: str, blob_ids: Sequence[str]) -> Script[set[str]]:
    number = yield from shared.known_number(node_id)
    asked = [blob_id for blob_id in blob_ids if is_id(blob_id)]
    known = yield Op("known_blobs", (-1 if number is None else number, json.dumps(asked)))
    return set(blob_ids).difference(row[0] for row in known)


def _blobs_of(shared: Shared, node_id: str, after: str, limit: int) -> Script[list[Blob]]:
    number = yield from shared.known_number(node_id)
    found: list[Blob] = []
    if number is None:
        return found
    for blob_id, size, nodes in (yield Op("blobs_of_node", (number, pack_id(after) if after else b"", limit))):
        found.append(Blob(unpack_id(blob_id), size, (yield from shared.unpack_nodes(nodes))))
    return found
