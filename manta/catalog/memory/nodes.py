"""Nodes, what each should hold, and garbage, in memory."""

from collections.abc import Iterable, Sequence

from manta.catalog.memory.state import MemoryState
from manta.catalog.records import Blob, Gap, Garbage, Node


class MemoryNodes:
    state: MemoryState

    async def register_node(self, node: Node) -> None:
        self.state.nodes[node.node_id] = node

    async def list_nodes(self) -> list[Node]:
        return [self.state.nodes[node_id] for node_id in sorted(self.state.nodes)]

    async def due_garbage(self, now_ms: int, limit: int, *, node_id: str | None = None) -> list[Garbage]:
        rows = ((due_ms, blob, node) for (blob, node), due_ms in self.state.garbage.items())
        due = sorted(row for row in rows if row[0] <= now_ms and node_id in (None, row[2]))
        return [Garbage(blob, node, due_ms) for due_ms, blob, node in due[:limit]]

    async def forget_garbage(self, done: Iterable[Garbage]) -> None:
        for garbage in done:
            self.state.garbage.pop((garbage.blob_id, garbage.node_id), None)

    async def born_ms(self) -> int:
        return self.state.born_ms

    async def add_gap(self, gap: Gap) -> None:
        before = self.state.gaps.get(gap.since_ms, gap.until_ms)
        self.state.gaps[gap.since_ms] = max(before, gap.until_ms)

    async def gaps(self) -> list[Gap]:
        return [Gap(*span) for span in sorted(self.state.gaps.items())]

    async def close_gaps(self) -> None:
        self.state.gaps.clear()

    async def unknown_blobs(self, node_id: str, blob_ids: Sequence[str]) -> set[str]:
        return {blob_id for blob_id in blob_ids if not self._knows(node_id, blob_id)}

    def _knows(self, node_id: str, blob_id: str) -> bool:
        row = self.state.blobs.get(blob_id)
        return (blob_id, node_id) in self.state.garbage or (
            row is not None and (row.size is None or node_id in row.nodes)
        )

    async def blobs_of_node(self, node_id: str, *, after: str = "", limit: int = 1000) -> list[Blob]:
        held = sorted(blob_id for blob_id, row in self.state.blobs.items() if blob_id > after and node_id in row.nodes)
        rows = ((blob_id, self.state.blobs[blob_id]) for blob_id in held)
        return [Blob(blob_id, row.size, row.nodes) for blob_id, row in rows if row.size is not None][:limit]
