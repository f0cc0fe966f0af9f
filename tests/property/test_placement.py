"""Placement: distinct usable nodes, spread over machines, more often where there is more room."""

import random as random_module
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manta.core.errors import NotEnoughNodes
from manta.core.placement import Candidate, choose, is_enough, shortage, usable_ids

_candidates = st.lists(
    st.builds(
        Candidate,
        node_id=st.sampled_from([f"n{number}" for number in range(12)]),
        free_bytes=st.integers(0, 1 << 50),
        alive=st.booleans(),
        writable=st.booleans(),
        machine_id=st.sampled_from(["", "m1", "m2", "m3"]),
    ),
    max_size=12,
    unique_by=lambda node: node.node_id,
)
_avoid = st.sets(st.sampled_from([f"n{number}" for number in range(12)]), max_size=4)


@given(_candidates, st.integers(1, 5), st.randoms(use_true_random=False), _avoid)
def test_choice_is_distinct_usable_and_complete(
    nodes: list[Candidate], copies: int, random: random_module.Random, avoid: set[str]
) -> None:
    usable = {node.node_id: node for node in nodes if node.alive and node.writable and node.node_id not in avoid}
    if len(usable) < copies:
        with pytest.raises(NotEnoughNodes):
            choose(nodes, copies, random.random, avoid)
        return
    chosen = choose(nodes, copies, random.random, avoid)
    assert len(chosen) == len(set(chosen)) == copies
    assert set(chosen) <= usable.keys()


@given(_candidates, st.integers(1, 5), st.randoms(use_true_random=False))
def test_copies_are_spread_over_as_many_machines_as_there_are(
    nodes: list[Candidate], copies: int, random: random_module.Random
) -> None:
    usable = {node.node_id: node for node in nodes if node.usable}
    if len(usable) < copies:
        return
    chosen = choose(nodes, copies, random.random)

    def machines(ids: list[str]) -> int:
        return len({usable[one].machine_id or one for one in ids})

    assert machines(chosen) == min(copies, machines(list(usable)))


@given(st.randoms(use_true_random=False))
def test_a_fresh_copy_avoids_the_machines_that_hold_one(random: random_module.Random) -> None:
    nodes = [Candidate("a", 1, machine_id="m1"), Candidate("b", 1 << 40, machine_id="m1"), Candidate("c", 1)]
    assert choose(nodes, 1, random.random, avoid={"a"}, near={"a"}) == ["c"]


def test_share_grows_with_free_space() -> None:
    random = random_module.Random(7)
    nodes = [Candidate("big", 3 << 40), Candidate("small", 1 << 40), Candidate("full", 0)]
    counts = Counter(choose(nodes, 1, random.random)[0] for _ in range(4000))
    assert 0.70 < counts["big"] / 4000 < 0.80
    assert counts["full"] == 0


@given(_candidates, st.integers(1, 5))
def test_a_shortage_is_told_while_no_living_node_finds_others_for_its_copies(
    nodes: list[Candidate], copies: int
) -> None:
    def finds(node: Candidate) -> bool:
        try:
            choose(nodes, copies - 1, random_module.random, {node.node_id})
        except NotEnoughNodes:
            return False
        return True

    found = {node.node_id: finds(node) for node in nodes}
    assert (shortage(nodes, copies) is None) == any(found[node.node_id] for node in nodes if node.alive)
    assert found == {node.node_id: is_enough(usable_ids(nodes), copies - 1, node.node_id) for node in nodes}


@pytest.mark.parametrize(
    ("living", "full", "copies", "told"),
    [
        (0, 0, 2, "No node answers: no task starts before 2 do."),
        (0, 0, 1, "No node answers: no task starts before one does."),
        (1, 0, 2, "1 of the 2 nodes that copies need answers: no task starts before another one does."),
        (1, 1, 3, "1 of the 3 nodes that copies need answers: no task starts before 2 more do."),
        (3, 2, 3, "1 of the 3 nodes that answer takes writes, and copies need 3: no task starts before there is room."),
    ],
)
def test_a_shortage_says_what_is_missing(living: int, full: int, copies: int, told: str) -> None:
    nodes = [Candidate(f"n{number}", 1, alive=number < living, writable=number >= full) for number in range(4)]
    assert shortage(nodes, copies) == told
