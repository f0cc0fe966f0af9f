"""What all parts of a relational catalog share: the engine, the clock, and the numbers of nodes.

A node's number never changes its meaning, so it may be remembered; but only when read in a `look`, which sees nothing
that could still be rolled back.
"""

from collections.abc import Sequence

from manta.catalog.ops import Engine, Op, Script
from manta.catalog.packing import pack_numbers, unpack_numbers
from manta.catalog.rules import now_ms
from manta.core.clock import Clock

_TUPLES_MAX = 65_536


class Shared:
    def __init__(self, engine: Engine, clock: Clock, births: Clock | None = None) -> None:
        """`births` judges the age of new blobs, where another clock than the gateway's own is to."""
        self.engine = engine
        self.clock = clock
        self._births = births or clock
        self._numbers: dict[str, int] = {}
        self._names: dict[int, str] = {}
        self._tuples: dict[bytes, tuple[str, ...]] = {}

    def now_ms(self) -> int:
        return now_ms(self.clock)

    def births_now_ms(self) -> int:
        """By the clock that all gateways share, if there is one."""
        return now_ms(self._births)

    async def learn(self, nodes: Sequence[str]) -> None:
        """Remember the numbers that these nodes have; a change that follows then need not ask for them."""
        for node in nodes:
            if node not in self._numbers:
                await self.engine.look(lambda node=node: self.known_number(node))  # type: ignore[misc]

    def known_number(self, node: str) -> Script[int | None]:
        """The node's number, None if it has none. Only in a `look`."""
        number = self._numbers.get(node)
        if number is None:
            rows = yield Op("node_number", (node,))
            if not rows:
                return None
            number = int(rows[0][0])
            self._numbers[node] = number
            self._names[number] = node
        return number

    def number(self, node: str) -> Script[int]:
        """The node's number, given now if it has none."""
        known = self._numbers.get(node)
        if known is not None:
            return known
        while not (rows := (yield Op("node_number", (node,)))):
            yield Op("number_node", (node,))  # gives none when another gateway takes the number first
        return int(rows[0][0])

    def remembered(self, nodes: Sequence[str]) -> list[int] | None:
        """Their numbers, if all of them are remembered."""
        numbers = [self._numbers.get(node) for node in nodes]
        return None if None in numbers else [number for number in numbers if number is not None]

    def pack_nodes(self, nodes: Sequence[str]) -> Script[bytes]:
        numbers = []
        for node in nodes:
            numbers.append((yield from self.number(node)))
        return pack_numbers(numbers)

    def unpack_nodes(self, packed: bytes) -> Script[tuple[str, ...]]:
        """Only in a `look`."""
        nodes = self._tuples.get(packed)
        if nodes is None:
            names = []
            for number in unpack_numbers(packed):
                names.append((yield from self._name(number)))
            nodes = tuple(names)
            if len(self._tuples) >= _TUPLES_MAX:
                self._tuples.clear()
            self._tuples[packed] = nodes
        return nodes

    def _name(self, number: int) -> Script[str]:
        name = self._names.get(number)
        if name is None:
            rows = yield Op("node_name", (number,))
            name = str(rows[0][0])
            self._names[number] = name
            self._numbers[name] = number
        return name


class Part:
    """A part of the catalog: `shared` and shorthands to it."""

    def __init__(self, shared: Shared) -> None:
        self.shared = shared
        self.engine = shared.engine

    async def close(self) -> None:
        await self.engine.close()
