"""Which nodes get the copies of a new blob: distinct, weighted by free space, spread over machines."""

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from manta.core.errors import NotEnoughNodes

Uniform = Callable[[], float]
"""A number in [0, 1), evenly spread."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A node as placement sees it. An empty `machine_id` is a machine of its own."""

    node_id: str
    free_bytes: int
    alive: bool = True
    writable: bool = True
    machine_id: str = ""

    @property
    def usable(self) -> bool:
        return self.alive and self.writable


def choose(
    nodes: Sequence[Candidate], copies: int, random: Uniform, avoid: Collection[str] = (), near: Collection[str] = ()
) -> list[str]:
    """`copies` distinct usable nodes outside `avoid`, in placement order; NotEnoughNodes when there are fewer.

    Weighted sampling without replacement (Efraimidis and Spirakis, 2006): the chance of a node grows with its free
    bytes. Machines that hold no copy yet come first; those of the nodes in `near` hold one already.
    """
    usable = [node for node in nodes if node.usable and node.node_id not in avoid]
    if len(usable) < copies:
        raise NotEnoughNodes
    if copies == len(usable) == 1:
        return [usable[0].node_id]
    ranked = sorted(usable, key=lambda node: _rank(node, random), reverse=True)
    taken = {node.machine_id for node in nodes if node.node_id in near and node.machine_id}
    return [node.node_id for node in _spread(ranked, taken)[:copies]]


def usable_ids(nodes: Sequence[Candidate]) -> frozenset[str]:
    return frozenset(node.node_id for node in nodes if node.usable)


def is_enough(usable: Collection[str], copies: int, besides: str) -> bool:
    """Whether `choose` finds so many of them beside that one."""
    return len(usable) - (besides in usable) >= copies


def shortage(nodes: Sequence[Candidate], copies: int) -> str | None:
    """Why no living node could give an output its copies, the first on itself and the others elsewhere; else None."""
    living = [node for node in nodes if node.alive]
    usable = sum(node.usable for node in living)
    if any(usable - node.usable >= copies - 1 for node in living):
        return None
    if len(living) < copies:
        return f"{_answering(len(living), copies)}."
    return (
        f"{usable} of the {len(living)} nodes that answer {'takes' if usable == 1 else 'take'} writes, "
        f"and copies need {copies}: no task starts before there is room."
    )


def _answering(living: int, copies: int) -> str:
    if not living:
        return f"No node answers: no task starts before {'one does' if copies == 1 else f'{copies} do'}"
    answering = f"{living} of the {copies} nodes that copies need {'answers' if living == 1 else 'answer'}"
    missing = copies - living
    return f"{answering}: no task starts before {'another one does' if missing == 1 else f'{missing} more do'}"


def _rank(node: Candidate, random: Uniform) -> float:
    return math.log(1.0 - random()) / max(node.free_bytes, 1)


def _spread(ranked: Sequence[Candidate], taken: set[str]) -> list[Candidate]:
    """The same nodes, the first of each machine not taken before all others."""
    first: list[Candidate] = []
    rest: list[Candidate] = []
    for node in ranked:
        if node.machine_id and node.machine_id in taken:
            rest.append(node)
            continue
        first.append(node)
        taken.add(node.machine_id)
    return first + rest
